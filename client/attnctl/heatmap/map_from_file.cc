#include "client/attnctl/heatmap/map_from_file.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/attnctl/heatmap/map_grid.h"
#include "client/attnctl/heatmap/map_labels.h"
#include "client/attnctl/heatmap/map_rollout.h"
#include "client/attnctl/heatmap/map_tokens.h"
#include "client/attnctl/heatmap/weights_array.h"
#include "client/attnctl/heatmap/weights_pool.h"
#include "client/attnctl/heatmap/weights_reader.h"
#include "client/attnctl/heatmap/weights_statistics.h"
#include "client/attnctl/option_values.h"
#include "core/attention/diagnostics.h"

namespace attnd::attnctl {
namespace {

constexpr std::string_view kHeatmap = "heatmap.";

absl::Status Bad(const std::string& where, const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", problem));
}

std::string Metadata(const WeightsArray& array, const std::string& name) {
  const auto found = array.metadata().find(name);
  return found == array.metadata().end() ? "" : found->second;
}

SourceTokens TokensIn(const WeightsArray& array, bool cut) {
  const auto where = [&](const char* name) { return absl::StrCat(array.title(), ": metadata '", name, "'"); };
  return {where("tokens"), TokensOf(Metadata(array, "tokens"), array.batch()), where("key_tokens"),
          TokensOf(Metadata(array, "key_tokens"), array.batch()), cut};
}

// "all_heads.safetensors: attn".
std::string TitleOf(const MapFile& file, const WeightsArray& array, const MapOptions& options) {
  const std::string base = file.path.substr(file.path.find_last_of('/') + 1);
  return options.title.value_or(array.name().empty() ? base : absl::StrCat(base, ": ", array.name()));
}

std::vector<float> FloatsOf(const StoredTensor& tensor) {
  std::vector<double> numbers(tensor.bytes.size() / StoredTypeSize(tensor.dtype));
  ReadNumbersAt(tensor, 0, numbers);
  std::vector<float> floats(numbers.size());
  std::transform(numbers.begin(), numbers.end(), floats.begin(), [](double n) { return static_cast<float>(n); });
  return floats;
}

std::vector<float> FloatsNamed(const WeightsArray& array, const std::string& name) {
  const StoredTensor* tensor = array.Find(name);
  return tensor != nullptr && tensor->dtype == StoredType::kF32 ? FloatsOf(*tensor) : std::vector<float>();
}

// What a server found out about the weights that it wrote.
HeadLabels LabelsIn(const WeightsArray& array) {
  HeadLabels labels;
  labels.patterns = absl::StrSplit(Metadata(array, "diagnostics.patterns"), ',', absl::SkipEmpty());
  labels.scores = FloatsNamed(array, "diagnostics.pattern_scores");
  labels.entropies = FloatsNamed(array, absl::StrCat("diagnostics.", std::string(NameOf(Statistic::kEntropy))));
  const auto heads = static_cast<size_t>(array.layers() * array.batches() * array.heads());
  // A mean over heads has other labels than they.
  return labels.patterns.size() == heads ? labels : HeadLabels();
}

absl::Status CheckLength(const MapFile& file, const WeightsArray& array) {
  const int64_t longest = std::max(array.q_len(), array.kv_len());
  if (!file.length.has_value() || *file.length <= longest) return absl::OkStatus();
  return Bad("--length", absl::StrCat(*file.length, " is more than the ", longest, " of ", array.title()));
}

// A head from all its weights.
picture::HeadMap DrawHead(WeightsReader* reader, std::optional<int64_t> offset, int64_t cells, int64_t layer,
                          int64_t head) {
  WeightsPool pool(reader->q_len(), reader->kv_len(), cells);
  WeightsStatistics statistics(reader->kv_len(), offset);
  for (int64_t query = 0; query < reader->q_len(); ++query) {
    const WeightsRow& row = reader->Read(layer, head, query);
    pool.Add(query, row);
    statistics.Add(query, row);
  }
  picture::HeadMap map;
  pool.Finish(&map);
  const HeadFindings findings = statistics.Find();
  map.pattern = std::string(NameOf(findings.pattern.pattern));
  if (findings.pattern.pattern == Pattern::kEmpty) return map;
  map.pattern_score = static_cast<double>(findings.pattern.score);
  map.entropy = findings.entropy;
  return map;
}

absl::StatusOr<DrawnMap> DrawHeads(const MapFile& file, const WeightsArray& array, const WeightsVisibility& visibility,
                                   const MapGrid& grid, const MapOptions& options) {
  WeightsReader reader(array, visibility, file.length);
  const int64_t cells = options.cells.value_or(kMaxCells);
  if (auto status = CheckCells(grid, std::min(reader.q_len(), cells), std::min(reader.kv_len(), cells)); !status.ok()) {
    return Bad(array.title(), std::string(status.message()));
  }
  const bool as_computed =
      !file.length.has_value() && !file.visibility.causal.has_value() && !file.visibility.zeros_hidden;
  const HeadLabels labels = as_computed ? LabelsIn(array) : HeadLabels();
  DrawnMap drawn;
  drawn.map.q_len = reader.q_len();
  drawn.map.kv_len = reader.kv_len();
  for (const int64_t layer : grid.layers) {
    for (const int64_t head : grid.heads) {
      drawn.map.heads.push_back(DrawHead(&reader, visibility.offset(), cells, layer, head));
      const int64_t index = (layer * array.batches() + array.batch()) * array.heads() + head;
      LabelHead(labels, static_cast<size_t>(index), &drawn.map.heads.back());
    }
  }
  if (reader.OnlyNan()) return Bad(array.title(), "every row has a NaN");
  drawn.notes = reader.Notes();
  ArrangeGrid(grid, options, &drawn);
  return drawn;
}

absl::StatusOr<DrawnMap> DrawWeights(const MapFile& file, const WeightsArray& array, const MapOptions& options) {
  if (auto status = CheckLength(file, array); !status.ok()) return status;
  const auto visibility = WeightsVisibility::Make(array, file.visibility);
  if (!visibility.ok()) return visibility.status();
  const auto grid = ChooseGrid(options, array.layers(), array.has_layers(), array.heads());
  if (!grid.ok()) return grid.status();
  if (!file.rollout) return DrawHeads(file, array, *visibility, *grid, options);
  WeightsReader reader(array, *visibility, file.length);
  auto drawn = DrawRollout(&reader, *visibility, *grid, options.cells.value_or(kMaxCells));
  return drawn.ok() ? std::move(drawn) : Bad(array.title(), std::string(drawn.status().message()));
}

// Lengths of queries and keys, which a heatmap does not tell.
int64_t LengthOf(const WeightsArray& array, const std::string& name, int64_t cells) {
  return std::max(ToInteger(Metadata(array, name)).value_or(cells), cells);
}

absl::Status CheckPooled(const MapFile& file, const WeightsArray& array, const MapOptions& options) {
  const bool fits =
      !file.rollout && !file.length.has_value() && !file.visibility.causal.has_value() && !file.visibility.zeros_hidden;
  if (!fits) return Bad(array.title(), "a heatmap; --rollout, --length, --causal and --zeros go with weights");
  if (!options.cells.has_value() || *options.cells >= std::max(array.q_len(), array.kv_len())) return absl::OkStatus();
  return Bad(array.title(), "a heatmap; its cells stay as they are: ask the server for fewer");
}

// The maxima beside the means.
absl::StatusOr<std::vector<float>> MaximaOf(const WeightsArray& array) {
  const StoredTensor* max = array.Find("heatmap.max");
  if (max == nullptr) return Bad(array.title(), "its tensor 'heatmap.max' is missing");
  const StoredTensor* mean = array.Find(array.name());
  if (max->shape == mean->shape && max->dtype == StoredType::kF32) return FloatsOf(*max);
  return Bad(array.title(), absl::StrCat("its tensor 'heatmap.max' ", ShapeString(max->shape), " of ",
                                         StoredTypeName(max->dtype), " does not fit"));
}

absl::StatusOr<DrawnMap> DrawPooled(const MapFile& file, const WeightsArray& array, const MapOptions& options) {
  if (auto status = CheckPooled(file, array, options); !status.ok()) return status;
  const auto grid = ChooseGrid(options, array.layers(), array.has_layers(), array.heads());
  if (!grid.ok()) return grid.status();
  if (auto status = CheckCells(*grid, array.q_len(), array.kv_len()); !status.ok()) return status;
  const std::vector<float> mean = FloatsNamed(array, array.name());
  if (mean.empty()) return Bad(array.title(), "a heatmap is float32");
  const auto max = MaximaOf(array);
  if (!max.ok()) return max.status();
  const HeadLabels labels = LabelsIn(array);
  DrawnMap drawn;
  drawn.map.q_len = LengthOf(array, "q_len", array.q_len());
  drawn.map.kv_len = LengthOf(array, "kv_len", array.kv_len());
  const auto cells = static_cast<size_t>(array.q_len() * array.kv_len());
  for (const int64_t layer : grid->layers) {
    for (const int64_t head : grid->heads) {
      const auto at = static_cast<size_t>(array.RowAt(layer, head, 0));
      const PooledHead pooled{array.q_len(), array.kv_len(), std::span(mean).subspan(at, cells),
                              std::span(*max).subspan(at, cells)};
      drawn.map.heads.push_back(MapOf(pooled, drawn.map.q_len, drawn.map.kv_len));
      LabelHead(labels, at / cells, &drawn.map.heads.back());
    }
  }
  ArrangeGrid(*grid, options, &drawn);
  return drawn;
}

}  // namespace

absl::StatusOr<DrawnMap> MapFromFile(const MapFile& file, const MapOptions& options) {
  const auto array = WeightsArray::Open({file.path, file.tensor, options.batch, !options.layers.empty()});
  if (!array.ok()) return array.status();
  auto drawn =
      array->name().starts_with(kHeatmap) ? DrawPooled(file, *array, options) : DrawWeights(file, *array, options);
  if (!drawn.ok()) return drawn;
  if (array->batches() > 1) absl::StrAppend(&drawn->summary, ", entry ", array->batch(), " of ", array->batches());
  drawn->map.title = TitleOf(file, *array, options);
  if (auto status = SetTokens(options, TokensIn(*array, file.length.has_value()), &drawn->map); !status.ok()) {
    return status;
  }
  return drawn;
}

}  // namespace attnd::attnctl
