// Statistics of a tile of strips in one pass: what the softmax made of a block of scores is
// kept, and becomes weights once the maximum and the sum of all blocks are known.
#ifndef ATTND_CORE_ATTENTION_STRIP_STATISTICS_H_
#define ATTND_CORE_ATTENTION_STRIP_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/engine.h"
#include "core/attention/plan.h"
#include "core/attention/scratch.h"
#include "core/attention/simd_strip.h"
#include "core/attention/tile_visibility.h"
#include "core/attention/weight_statistics.h"

namespace attnd {

// Thread-compatible.
class StripStatistics {
 public:
  // Whether an entry's statistics are made this way: unless it has so many keys that the blocks
  // of a strip would take more than a worker's scratch may.
  static bool Serve(const AttentionPlan& plan, int64_t batch);
  // Rows of a tile whose blocks take no more than that, for the longest entry.
  static int64_t MostRows(const AttentionPlan& plan);

  // Turns to a tile of `strips` strips, each of which is given at most `blocks` blocks that have
  // `keys` keys together, but for whole bytes of visibility. The arguments must outlive the use.
  // REQUIRES: Serve.
  absl::Status Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile, int64_t strips,
                     int64_t blocks, int64_t keys);

  // What the tile's rows see: of a block, by which `visible` tells, or as their ranges say.
  void AddVisible(const BlockVisibility& visible, KeyRange block);
  void AddVisible(const TileVisibility& visibility);

  // Where the block of scores [keys, width] of rows [row, row + rows) shall be, until End: aligned
  // as strips are.
  float* Place(int64_t row, int64_t rows, int64_t width, KeyRange keys);
  // They have become p = exp(score - max), max being [width].
  void Keep(const float* max);

  // Maximum and sum of a softmax.
  struct State {
    float max;
    float sum;
  };
  // Row `r`, with the state of its keys alone, what StripSoftmaxMoment says of them, and the
  // final state, in which a sink takes part.
  void AddEntropy(int64_t r, State keys, float moment, State end);

  // All strips have been added; final maximum and sum of each row.
  absl::Status End(const float* max, const float* sum);

 private:
  struct Block {
    int64_t row = 0;
    int64_t rows = 0;
    int64_t width = 0;
    KeyRange keys;
    const float* p = nullptr;
    size_t max_at = 0;
  };

  void AddBlock(const Block& block, const float* max, const float* sum);
  // exp(block_max - max) / sum.
  float FactorOf(int64_t r, float block_max, float max, float sum);

  WeightStatistics statistics_;
  Tile tile_;
  Scratch kept_;
  int64_t kept_floats_ = 0;
  int64_t most_kept_ = 0;
  std::vector<Block> blocks_;
  // Of the blocks, one after the other.
  std::vector<float> block_max_;
  int64_t group_ = 1;
  // Per row, the block's maximum that was met last, and its factor.
  std::vector<float> last_max_;
  std::vector<float> last_factor_;
  // Of the block at hand, as simd::StripWeights and StripColumns have them.
  std::vector<float> heads_;
  alignas(64) float factor_[simd::kMaxStripWidth] = {};
  alignas(64) float distance_[simd::kMaxStripWidth] = {};
  alignas(64) float total_[simd::kMaxStripWidth] = {};
  alignas(64) float moment_[simd::kMaxStripWidth] = {};
  alignas(64) float largest_[simd::kMaxStripWidth] = {};
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_STRIP_STATISTICS_H_
