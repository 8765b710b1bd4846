// Projection weights for tests, owned.
#ifndef ATTND_TESTS_SUPPORT_WEIGHTS_CASE_H_
#define ATTND_TESTS_SUPPORT_WEIGHTS_CASE_H_

#include <cstdint>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "core/linear/projection_weights.h"
#include "core/linear/weights_id.h"

namespace attnd {

// Owns what its weights refer to. Neither copied nor moved.
class WeightsCase {
 public:
  WeightsCase() = default;
  explicit WeightsCase(Orientation orientation) { weights_.orientation = orientation; }
  WeightsCase(const WeightsCase&) = delete;
  WeightsCase& operator=(const WeightsCase&) = delete;

  // Adds a tensor of these floats, or replaces it.
  WeightsCase& Set(WeightRole role, std::vector<int64_t> shape, std::vector<float> values) {
    values_.push_back(std::move(values));
    weights_.tensors[role] = {DataType::kFloat32, std::move(shape),
                              Fragments(std::as_bytes(std::span(values_.back())))};
    return *this;
  }

  // The same with values that follow from `seed` and the role.
  WeightsCase& Fill(WeightRole role, std::vector<int64_t> shape, uint32_t seed = 1) {
    std::vector<float> values(static_cast<size_t>(*Product(shape)));
    uint32_t state = seed * 2654435761U + static_cast<uint32_t>(role);
    for (float& value : values) {
      state = state * 1664525U + 1013904223U;
      value = static_cast<float>(state >> 8) * 0x1p-24F - 0.5F;
    }
    return Set(role, std::move(shape), std::move(values));
  }

  WeightsCase& Remove(WeightRole role) {
    weights_.tensors[role].reset();
    return *this;
  }

  [[nodiscard]] ProjectionWeights& weights() { return weights_; }
  [[nodiscard]] const ProjectionWeights& weights() const { return weights_; }
  // REQUIRES: they are right.
  [[nodiscard]] std::string Id() const { return *WeightsId(weights_); }
  [[nodiscard]] WeightShapes Shapes() const { return *CheckWeights(weights_, ""); }

 private:
  std::list<std::vector<float>> values_;
  ProjectionWeights weights_{.orientation = Orientation::kOutIn, .tensors = {}};
};

// w_query, w_key and w_value, `width` x `width` each.
inline void FillSquare(WeightsCase& weights, int64_t width, uint32_t seed) {
  for (const WeightRole role : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue}) {
    weights.Fill(role, {width, width}, seed);
  }
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_WEIGHTS_CASE_H_
