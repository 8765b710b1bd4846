// Good requests for multi-head attention, to be spoiled, and what is expected of the errors.
#ifndef ATTND_TESTS_UNIT_BAD_MULTIHEAD_H_
#define ATTND_TESTS_UNIT_BAD_MULTIHEAD_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "core/linear/multihead_plan.h"

namespace attnd {

using Role = WeightRole;
using I64s = std::vector<int64_t>;

inline constexpr int64_t kHuge = int64_t{1} << 62;
inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline TensorView Zeros(I64s shape, DataType dtype = DataType::kFloat32) {
  static const std::vector<std::byte> bytes(size_t{1} << 16);
  const auto n = static_cast<size_t>(TensorBytes(dtype, shape).value());
  EXPECT_LE(n, bytes.size());
  return {dtype, std::move(shape), Fragments(std::span(bytes).first(n))};
}

// What a server plans: a request and the weights that came inline.
struct Asked {
  MultiHeadRequest request;
  ProjectionWeights weights;

  Asked& Put(Role role, I64s shape, DataType dtype = DataType::kFloat32) {
    weights.tensors[role] = Zeros(std::move(shape), dtype);
    return *this;
  }
  Asked& Drop(Role role) {
    weights.tensors[role].reset();
    return *this;
  }
};

inline absl::StatusOr<MultiHeadPlan> Plan(const Asked& asked, const AttentionLimits& limits) {
  const auto shapes = CheckWeights(asked.weights, "inline");
  if (!shapes.ok()) return shapes.status();
  return PlanMultiHead(asked.request, *shapes, limits);
}

// Refuses spoiled copies of a good request.
class BadMultiHeadTest : public testing::Test {
 protected:
  using Spoil = std::function<void(Asked&)>;

  // batch 2, heads 4, kv_heads 2, q_len 3, kv_len 5, head_dim 8, value_dim 6, widths 6, 7, 9
  // and 10.
  BadMultiHeadTest() {
    good_.request.query = Zeros({2, 3, 6});
    good_.request.key = Zeros({2, 5, 7});
    good_.request.value = Zeros({2, 5, 9});
    good_.request.heads = 4;
    good_.request.kv_heads = 2;
    good_.weights.orientation = Orientation::kInOut;
    good_.Put(Role::kQuery, {6, 32}).Put(Role::kKey, {7, 16}).Put(Role::kValue, {9, 12}).Put(Role::kOutput, {24, 10});
  }

  // `message` is "field: problem".
  void Expect(const std::string& message, const Spoil& spoil) {
    SCOPED_TRACE(message);
    EXPECT_TRUE(Plan(good_, limits_).ok()) << Plan(good_, limits_).status();
    Asked asked = good_;
    spoil(asked);
    const absl::Status status = Plan(asked, limits_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(std::string(status.message()), message);
    EXPECT_EQ(FieldOf(status), message.substr(0, message.find(": ")));
    EXPECT_TRUE(messages_.insert(message).second) << "the same message for another mistake";
  }

  Asked good_;
  AttentionLimits limits_;

 private:
  std::set<std::string> messages_;
};

// Query, key and value from one matrix: batch 2, heads 4, kv_heads 2, len 3, head_dim 8,
// value_dim 6, width 6, and no output projection.
class BadQkvTest : public BadMultiHeadTest {
 protected:
  BadQkvTest() {
    good_.request.key.reset();
    good_.request.value.reset();
    good_.request.value_dim = 6;
    good_.weights = {.orientation = Orientation::kOutIn, .tensors = {}};
    good_.Put(Role::kQkv, {60, 6});
  }
};

// A layer: batch 2, heads 2, len 3, model_dim 8, ffn_dim 16.
class BadBlockTest : public BadMultiHeadTest {
 protected:
  BadBlockTest() {
    good_.request = {};
    good_.request.query = Zeros({2, 3, 8});
    good_.request.heads = 2;
    good_.request.block = {NormPlacement::kPre, NormKind::kLayerNorm, Activation::kSwiglu, {}};
    good_.weights = {.orientation = Orientation::kInOut, .tensors = {}};
    good_.Put(Role::kQkv, {8, 24}).Put(Role::kQkvBias, {24}).Put(Role::kOutput, {8, 8}).Put(Role::kOutputBias, {8});
    good_.Put(Role::kAttentionNormScale, {8}).Put(Role::kAttentionNormShift, {8});
    good_.Put(Role::kFfnNormScale, {8}).Put(Role::kFfnNormShift, {8});
    good_.Put(Role::kUp, {8, 16}).Put(Role::kUpBias, {16}).Put(Role::kGate, {8, 16}).Put(Role::kGateBias, {16});
    good_.Put(Role::kDown, {16, 8}).Put(Role::kDownBias, {8});
  }
};

}  // namespace attnd

#endif  // ATTND_TESTS_UNIT_BAD_MULTIHEAD_H_
