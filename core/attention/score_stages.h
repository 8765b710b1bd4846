// Brings a block of raw scores QK^T through the stages of the formula: scale, softcap,
// biases and ALiBi. Shared by engines; a plain problem needs none of it but the scale,
// which the softmax applies itself.
#ifndef ATTND_CORE_ATTENTION_SCORE_STAGES_H_
#define ATTND_CORE_ATTENTION_SCORE_STAGES_H_

#include <cstdint>
#include <vector>

#include "core/attention/engine.h"
#include "core/attention/plan.h"

namespace attnd {

// Whether anything but the scale comes between the product and the softmax.
bool HasScoreStages(const AttentionPlan& plan);

// Thread-compatible.
class ScoreStages {
 public:
  // Turns to a tile. The arguments must outlive the use.
  void Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);

  // Brings row `r`'s scores of keys [begin, end) from UNSCALED to `stage`; BIASED without
  // hiding anything. REQUIRES: begin is a multiple of 8.
  void Apply(ScoreStage stage, int64_t r, int64_t begin, int64_t end, float* scores);

 private:
  void AddBiases(int64_t head, int64_t query, int64_t begin, int64_t end, float* scores);

  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  Tile tile_;
  std::vector<float> bias_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_SCORE_STAGES_H_
