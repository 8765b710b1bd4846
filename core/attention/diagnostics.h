// What the weights of heads are like, in words and numbers: what proto/attnd/v1/attention.proto
// calls Statistics and Diagnostics.
#ifndef ATTND_CORE_ATTENTION_DIAGNOSTICS_H_
#define ATTND_CORE_ATTENTION_DIAGNOSTICS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/attention/result_tensor.h"

namespace attnd {

// In the order of the contract's field numbers.
enum class Statistic { kEntropy, kEvenness, kDistance, kLargest, kSelf, kPrevious, kNext, kFirst, kWindow };
inline constexpr size_t kStatistics = 9;

// "entropy", "evenness", "distance", "largest", "self_mass", ...
std::string_view NameOf(Statistic statistic);

enum class Pattern { kEmpty, kDiagonal, kPrevious, kNext, kSink, kColumn, kUniform, kBroad, kLocal, kMixed };

// "empty", "diagonal", ...
std::string_view NameOf(Pattern pattern);

// What decides on a head's pattern, as means over the rows that count.
struct PatternMasses {
  double self = 0;
  double previous = 0;
  double next = 0;
  // Of the strongest key, and whether that is the first one used.
  double column = 0;
  bool column_is_first = false;
  // 1 where every row sees one key.
  double evenness = 0;
  double window = 0;
  // What `window` would be if every row weighed its visible keys equally.
  double window_share = 0;
  // No row counts.
  bool empty = false;
};

struct HeadPattern {
  Pattern pattern = Pattern::kEmpty;
  // The mass or the evenness that decided; of a mixed head the largest mass; 0 of an empty one.
  float score = 0;
};

// The contract's rules for Diagnostics.patterns. Of equal masses the one named first decides.
[[nodiscard]] HeadPattern ClassifyHead(const PatternMasses& masses);

// By Statistic, all of one shape.
using StatisticTensors = std::array<ResultTensor, kStatistics>;

struct DiagnosticsResult {
  // [batch, heads].
  StatisticTensors heads;
  // As lse, if asked for.
  std::optional<StatisticTensors> rows;
  // [batch, heads, columns].
  ResultTensor column_mass;
  std::vector<int64_t> column_keys;
  // [batch, heads].
  std::vector<Pattern> patterns;
  ResultTensor pattern_scores;
};

struct TopKResult {
  // [batch, heads, rows, k]; packed [heads, rows, k].
  ResultTensor weights;
  // Of the same shape.
  std::vector<int64_t> keys;
};

struct HeatmapResult {
  ResultTensor mean;
  ResultTensor max;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_DIAGNOSTICS_H_
