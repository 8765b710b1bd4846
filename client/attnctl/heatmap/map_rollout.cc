#include "client/attnctl/heatmap/map_rollout.h"

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/attnctl/heatmap/weights_pool.h"
#include "client/rollout.h"

namespace attnd::attnctl {
namespace {

// The mean over the grid's heads, [len, len].
std::vector<double> MeanOverHeads(WeightsReader* reader, const MapGrid& grid, int64_t layer) {
  const auto len = static_cast<size_t>(reader->q_len());
  std::vector<double> mean(len * len);
  for (const int64_t head : grid.heads) {
    for (size_t query = 0; query < len; ++query) {
      const WeightsRow& row = reader->Read(layer, head, static_cast<int64_t>(query));
      for (size_t key = 0; key < len; ++key) mean[query * len + key] += row.weights[key];
    }
  }
  for (double& weight : mean) weight /= static_cast<double>(grid.heads.size());
  return mean;
}

// Where layers are causal, nothing flows from later tokens.
picture::HeadMap Pool(const std::vector<double>& rollout, int64_t len, bool causal, int64_t cells) {
  WeightsPool pool(len, len, cells);
  const auto width = static_cast<size_t>(len);
  std::vector<uint8_t> visible(width, causal ? 0 : 1);
  for (size_t query = 0; query < width; ++query) {
    visible[query] = 1;
    pool.Add(static_cast<int64_t>(query), {std::span(rollout).subspan(query * width, width), visible});
  }
  picture::HeadMap head;
  pool.Finish(&head);
  return head;
}

}  // namespace

absl::StatusOr<DrawnMap> DrawRollout(WeightsReader* reader, const WeightsVisibility& visibility, const MapGrid& grid,
                                     int64_t cells) {
  const int64_t len = reader->q_len();
  if (reader->kv_len() != len) {
    return absl::InvalidArgumentError(
        absl::StrCat("rollout: ", len, " queries and ", reader->kv_len(), " keys; as many are needed"));
  }
  std::vector<std::vector<double>> means;
  means.reserve(grid.layers.size());
  for (const int64_t layer : grid.layers) means.push_back(MeanOverHeads(reader, grid, layer));
  std::vector<RolloutLayer> layers;
  layers.reserve(means.size());
  for (size_t i = 0; i < means.size(); ++i) layers.push_back({1, len, means[i], grid.layers[i]});
  auto rollout = AttentionRollout(layers);
  if (!rollout.ok()) return rollout.status();

  const bool causal = visibility.causal() && visibility.offset().value_or(0) <= 0;
  DrawnMap drawn;
  drawn.map.q_len = drawn.map.kv_len = len;
  drawn.map.heads.push_back(Pool(*rollout, len, causal, cells));
  drawn.map.heads.front().title = "attention rollout";
  drawn.shape = {len, len};
  drawn.rollout = *std::move(rollout);
  const auto counted = [](size_t n, const char* what) { return absl::StrCat(n, " ", what, n == 1 ? "" : "s"); };
  drawn.summary = absl::StrCat("rollout of ", counted(layers.size(), "layer"), " x ",
                               counted(grid.heads.size(), "head"), ", ", DescribeCells(drawn.map));
  drawn.notes = reader->Notes();
  return drawn;
}

}  // namespace attnd::attnctl
