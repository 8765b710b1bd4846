#include "client/attnctl/heatmap/map_from_reply.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/attnctl/case_extent.h"
#include "client/attnctl/heatmap/map_grid.h"
#include "client/attnctl/heatmap/map_labels.h"
#include "client/attnctl/heatmap/map_tokens.h"
#include "client/attnctl/results.h"

namespace attnd::attnctl {
namespace {

absl::Status NotSo(const std::string& problem) {
  return absl::InternalError(absl::StrCat("the server's heatmap ", problem));
}

// Where the cells of an entry's heads are in a heatmap.
struct Block {
  int64_t rows = 0;
  int64_t columns = 0;
  size_t begin = 0;
  [[nodiscard]] size_t cells() const { return static_cast<size_t>(rows * columns); }
};

// [batch, heads, rows, columns].
absl::StatusOr<Block> FindBlock(const codec::ReplyTensor& mean, const CaseExtent& extent, int64_t entry) {
  const auto& shape = mean.shape;
  if (shape.size() != 4 || shape[0] != extent.batch || shape[1] != extent.heads) {
    return NotSo(
        absl::StrCat("is ", ShapeString(shape), ", not of ", extent.batch, " entries and ", extent.heads, " heads"));
  }
  Block block{shape[2], shape[3], 0};
  block.begin = static_cast<size_t>(entry * extent.heads) * block.cells();
  return block;
}

// Sequences' [heads, rows, columns], one after the other.
absl::StatusOr<Block> FindPackedBlock(const codec::ReplyTensor& mean, const CaseExtent& extent, int64_t entry,
                                      int64_t cells) {
  Block found;
  size_t at = 0;
  for (int64_t i = 0; i < extent.batch; ++i) {
    const EntryLengths& lengths = extent.Lengths(i);
    Block block{std::min(lengths.q_len, cells), std::min(lengths.kv_len, cells), at};
    if (i == entry) found = block;
    at += static_cast<size_t>(extent.heads) * block.cells();
  }
  return at == mean.values.size() ? absl::StatusOr<Block>(found) : NotSo("has not as many cells as the sequences");
}

HeadLabels LabelsOf(const std::optional<codec::DiagnosticsReply>& diagnostics) {
  if (!diagnostics.has_value()) return {};
  return {diagnostics->patterns, diagnostics->pattern_scores.values,
          diagnostics->heads[static_cast<size_t>(Statistic::kEntropy)].values};
}

absl::StatusOr<int64_t> ChooseEntry(const CaseExtent& extent, const MapOptions& options) {
  const int64_t entry = options.batch.value_or(0);
  if (entry >= 0 && entry < extent.batch) return entry;
  return absl::InvalidArgumentError(
      absl::StrCat("--batch: ", entry, " is not one of the ", extent.batch, " entries, counted from 0"));
}

}  // namespace

void AskForMap(const MapOptions& options, Case* input) {
  AttentionOutputs outputs;
  outputs.heatmap = HeatmapOutput{.cells = options.cells};
  outputs.diagnostics.emplace();
  input->multihead.request.outputs = outputs;
  input->request.outputs = std::move(outputs);
  input->multihead.request.explain = false;
}

absl::StatusOr<DrawnMap> MapFromReply(const Case& input, const codec::AttendReply& reply, const MapOptions& options) {
  if (!reply.heatmap.has_value()) return NotSo("is not there");
  const auto extent = ExtentOf(input);
  if (!extent.ok()) return extent.status();
  const auto entry = ChooseEntry(*extent, options);
  if (!entry.ok()) return entry.status();
  const codec::HeatmapReply& heatmap = *reply.heatmap;
  const auto block = extent->packed ? FindPackedBlock(heatmap.mean, *extent, *entry, options.cells.value_or(kMaxCells))
                                    : FindBlock(heatmap.mean, *extent, *entry);
  if (!block.ok()) return block.status();
  if (heatmap.max.values.size() != heatmap.mean.values.size()) return NotSo("has not as many maxima as means");
  const auto grid = ChooseGrid(options, /*layers=*/1, /*names_layers=*/false, extent->heads);
  if (!grid.ok()) return grid.status();
  if (auto status = CheckCells(*grid, block->rows, block->columns); !status.ok()) return status;

  DrawnMap drawn;
  picture::AttentionMap& map = drawn.map;
  map.title = options.title.value_or(input.title.empty() ? "" : TitleOf(input));
  map.q_len = extent->Lengths(*entry).q_len;
  map.kv_len = extent->Lengths(*entry).kv_len;
  const HeadLabels labels = LabelsOf(reply.diagnostics);
  for (const int64_t head : grid->heads) {
    const size_t at = block->begin + static_cast<size_t>(head) * block->cells();
    const PooledHead pooled{block->rows, block->columns, std::span(heatmap.mean.values).subspan(at, block->cells()),
                            std::span(heatmap.max.values).subspan(at, block->cells())};
    map.heads.push_back(MapOf(pooled, map.q_len, map.kv_len));
    LabelHead(labels, static_cast<size_t>(*entry * extent->heads + head), &map.heads.back());
  }
  ArrangeGrid(*grid, options, &drawn);
  if (reply.non_finite_rows > 0) {
    drawn.notes.push_back(absl::StrCat("rows with NaN or Inf: ", reply.non_finite_rows,
                                       "; those with NaN are passed over, as if they saw nothing"));
  }
  if (extent->batch > 1) absl::StrAppend(&drawn.summary, ", entry ", *entry, " of ", extent->batch);
  auto status = SetTokens(options, {"the case", input.tokens, "the case", input.key_tokens}, &map);
  if (!status.ok()) return status;
  return drawn;
}

}  // namespace attnd::attnctl
