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

  // How many things are added to CAPPED scores, one after the other, to make them BIASED.
  [[nodiscard]] int64_t addends() const;
  // The i-th of them for row `r` and keys [begin, end).
  void Addend(int64_t i, int64_t r, int64_t begin, int64_t end, float* addend) const;

 private:
  void LoadBias(size_t i, const RowPlace& place, int64_t begin, int64_t end, float* row) const;

  const AttentionPlan* plan_ = nullptr;
  const AttentionData* data_ = nullptr;
  Tile tile_;
  std::vector<float> addend_;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_SCORE_STAGES_H_
