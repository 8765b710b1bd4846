// Merging by LSE: against attention over all keys, the formula in float64, and bad parts.
#include "core/attention/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/runtime/buffer_pool.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Owns parts of float32 and a pool.
class Parts {
 public:
  Parts(std::vector<int64_t> output_shape, std::vector<int64_t> lse_shape)
      : output_shape_(std::move(output_shape)), lse_shape_(std::move(lse_shape)) {}

  Parts& Add(std::vector<float> output, std::vector<float> lse) {
    outputs.push_back(std::move(output));
    lses.push_back(std::move(lse));
    return *this;
  }

  [[nodiscard]] MergeInputs Inputs() const {
    MergeInputs inputs;
    for (size_t i = 0; i < outputs.size(); ++i) {
      inputs.parts.push_back({{DataType::kFloat32, output_shape_, Fragments(std::as_bytes(std::span(outputs[i])))},
                              {DataType::kFloat32, lse_shape_, Fragments(std::as_bytes(std::span(lses[i])))}});
    }
    if (!sinks.empty()) {
      inputs.sinks = {
          DataType::kFloat32, {static_cast<int64_t>(sinks.size())}, Fragments(std::as_bytes(std::span(sinks)))};
    }
    inputs.layout = layout;
    return inputs;
  }

  Layout layout = Layout::kHeadsFirst;
  std::vector<std::vector<float>> outputs;
  std::vector<std::vector<float>> lses;
  std::vector<float> sinks;

 private:
  std::vector<int64_t> output_shape_;
  std::vector<int64_t> lse_shape_;
};

struct Merged {
  std::vector<float> output;
  std::vector<float> lse;
};

std::vector<float> FloatsOf(const ResultTensor& tensor) {
  const float* data = tensor.data.floats();
  return {data, data + tensor.data.size() / sizeof(float)};
}

Merged MergeAll(const MergeInputs& inputs) {
  static auto& pool = *new BufferPool(BufferPool::Options());
  const auto result = Merge(inputs, &pool);
  EXPECT_THAT(result, IsOk());
  return result.ok() ? Merged{FloatsOf(result->output), FloatsOf(result->lse)} : Merged{};
}

TEST(MergeTest, FollowsTheFormula) {
  Random random(7);
  constexpr int64_t kRows = 6;
  constexpr int64_t kDim = 37;
  Parts parts({1, 2, 3, kDim}, {1, 2, 3});
  for (int p = 0; p < 5; ++p) {
    std::vector<float> output(kRows * kDim);
    std::vector<float> lse(kRows);
    for (float& x : output) x = random.Normal();
    for (float& x : lse) x = 20 * random.Normal();
    parts.Add(output, lse);
  }
  parts.sinks = {3, -kInf};
  const Merged merged = MergeAll(parts.Inputs());
  for (int64_t row = 0; row < kRows; ++row) {
    double sum = std::exp(static_cast<double>(parts.sinks[static_cast<size_t>(row / 3)]));
    for (const auto& lse : parts.lses) sum += std::exp(static_cast<double>(lse[static_cast<size_t>(row)]));
    EXPECT_NEAR(merged.lse[static_cast<size_t>(row)], std::log(sum), 1e-5);
    for (int64_t d = 0; d < kDim; ++d) {
      const auto at = static_cast<size_t>(row * kDim + d);
      double exact = 0;
      for (size_t p = 0; p < 5; ++p) {
        exact += std::exp(static_cast<double>(parts.lses[p][static_cast<size_t>(row)])) / sum *
                 static_cast<double>(parts.outputs[p][at]);
      }
      EXPECT_NEAR(merged.output[at], exact, 1e-6);
    }
  }
}

TEST(MergeTest, LeavesOnePartAsItIs) {
  const Parts parts = Parts({2, 3}, {1, 1, 2}).Add({-0.0F, 1e-42F, 3, 4, kInf, 6}, {-100, 88});
  const Merged merged = MergeAll(parts.Inputs());
  EXPECT_EQ(std::memcmp(merged.output.data(), parts.outputs[0].data(), 6 * sizeof(float)), 0);
  EXPECT_EQ(merged.lse, parts.lses[0]);
}

TEST(MergeTest, TakesAnEmptyPartForNothingWhateverItHolds) {
  const Parts parts =
      Parts({3, 1}, {1, 1, 3}).Add({kNan, 5, kNan}, {-kInf, 2, -kInf}).Add({7, kNan, kInf}, {1, -kInf, -kInf});
  const Merged merged = MergeAll(parts.Inputs());
  EXPECT_THAT(merged.output, ElementsAre(7, 5, 0));
  EXPECT_THAT(merged.lse, ElementsAre(1, 2, -kInf));
}

TEST(MergeTest, KeepsNanToItsRow) {
  const Parts parts = Parts({3, 1}, {1, 1, 3}).Add({1, kNan, 3}, {0, 0, kNan}).Add({1, 2, 3}, {0, 0, 0});
  const Merged merged = MergeAll(parts.Inputs());
  EXPECT_EQ(merged.output[0], 1.0F);
  EXPECT_TRUE(std::isnan(merged.output[1]));
  EXPECT_FALSE(std::isnan(merged.lse[1]));
  EXPECT_TRUE(std::isnan(merged.output[2]));
  EXPECT_TRUE(std::isnan(merged.lse[2]));
}

TEST(MergeTest, CountsTheSinkOnce) {
  Parts parts = Parts({1, 1}, {1, 1, 1}).Add({4}, {0}).Add({8}, {0});
  parts.sinks = {std::log(2.0F)};
  const Merged merged = MergeAll(parts.Inputs());
  EXPECT_NEAR(merged.output[0], 3, 1e-6);
  EXPECT_NEAR(merged.lse[0], std::log(4.0), 1e-6);
  parts.lses = {{-kInf}, {-kInf}};
  const Merged empty = MergeAll(parts.Inputs());
  EXPECT_EQ(empty.output[0], 0.0F);
  EXPECT_NEAR(empty.lse[0], std::log(2.0), 1e-6);
}

TEST(MergeTest, KnowsEveryLayout) {
  // Two heads, two rows, one number each; the second head's part counts three times as much.
  const std::vector<float> lse = {0, 0, std::log(3.0F), std::log(3.0F)};
  struct Case {
    Layout layout;
    std::vector<int64_t> output_shape;
    std::vector<int64_t> lse_shape;
    std::vector<float> first;
    std::vector<float> expected;
  };
  const Case cases[] = {{Layout::kHeadsFirst, {1, 2, 2, 1}, {1, 2, 2}, {4, 4, 4, 4}, {2, 2, 3, 3}},
                        {Layout::kTokensFirst, {1, 2, 2, 1}, {1, 2, 2}, {4, 4, 4, 4}, {2, 3, 2, 3}},
                        {Layout::kTokensFirst, {1, 2, 2}, {1, 2, 2}, {4, 4, 4, 4}, {2, 3, 2, 3}},
                        {Layout::kPacked, {2, 2, 1}, {2, 2}, {4, 4, 4, 4}, {2, 3, 2, 3}}};
  for (const Case& c : cases) {
    Parts parts(c.output_shape, c.lse_shape);
    parts.layout = c.layout;
    parts.Add(c.first, lse).Add({0, 0, 0, 0}, {0, 0, 0, 0});
    const Merged merged = MergeAll(parts.Inputs());
    ASSERT_EQ(merged.output.size(), 4U);
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(merged.output[i], c.expected[i], 1e-6) << ShapeString(c.output_shape);
  }
}

TEST(MergeTest, GivesNothingForNothing) {
  const int64_t huge = int64_t{1} << 40;
  const Parts parts = Parts({huge, huge, 0, 4}, {huge, huge, 0}).Add({}, {}).Add({}, {});
  const Merged merged = MergeAll(parts.Inputs());
  EXPECT_TRUE(merged.output.empty());
  EXPECT_TRUE(merged.lse.empty());
}

struct BadParts {
  std::string message;
  std::function<void(MergeInputs&)> spoil;
};

TEST(PlanMergeTest, NamesWhatIsWrong) {
  const std::vector<float> floats(64);
  const auto tensor = [&floats](std::vector<int64_t> shape) {
    const auto count = static_cast<size_t>(*Product(shape));
    return TensorView{DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(floats).first(count)))};
  };
  MergeInputs good;
  for (int i = 0; i < 2; ++i) good.parts.push_back({tensor({1, 2, 3, 4}), tensor({1, 2, 3})});
  ASSERT_THAT(PlanMerge(good, AttentionLimits()), IsOk());
  const BadParts cases[] = {
      {"parts: is empty; at least one part is needed", [](auto& in) { in.parts.clear(); }},
      {"parts[1].output.shape: is [1, 2, 4, 3], but that of parts[0] is [1, 2, 3, 4]; they must agree",
       [&](auto& in) {
         in.parts[1].output = tensor({1, 2, 4, 3});
       }},
      {"parts[1].lse.shape: is [1, 3, 2], but that of parts[0] is [1, 2, 3]; they must agree",
       [&](auto& in) {
         in.parts[1].lse = tensor({1, 3, 2});
       }},
      {"parts[0].lse.dtype: is BFLOAT16; FLOAT32 is allowed",
       [&](auto& in) {
         in.parts[0].lse.dtype = DataType::kBfloat16;
         in.parts[0].lse.bytes = tensor({3}).bytes;
       }},
      {"parts[1].output.dtype: is FLOAT16, but that of parts[0] is FLOAT32; they must agree",
       [&](auto& in) {
         in.parts[1].output.dtype = DataType::kFloat16;
         in.parts[1].output.bytes = tensor({12}).bytes;
       }},
      {"parts[0].output.data: has 92 bytes; shape [1, 2, 3, 4] of FLOAT32 needs 96",
       [&](auto& in) { in.parts[0].output.bytes = tensor({23}).bytes; }},
      {"sinks.shape: is [3]; one element per query head, [2], is allowed", [&](auto& in) { in.sinks = tensor({3}); }},
      {"parts[0].lse.shape: is [1, 2, 3]; the output's rows [batch, heads, q_len] = [1, 3, 2] are allowed",
       [](auto& in) { in.layout = Layout::kTokensFirst; }},
      {"parts[0].output.shape: is [1, 2, 3, 4], 4-D; PACKED takes 3-D [total_len, heads, dim]",
       [](auto& in) { in.layout = Layout::kPacked; }},
      {"parts[0].output.shape: is [6], 1-D; HEADS_FIRST takes 4-D [batch, heads, len, dim] or 2-D [len, dim]",
       [&](auto& in) { in.parts[0].output = in.parts[1].output = tensor({6}); }},
      {"parts[0].output.shape: is [1, 0, 3, 4]: heads and dim are at least 1",
       [&](auto& in) {
         for (auto& part : in.parts) part = {tensor({1, 0, 3, 4}), tensor({1, 0, 3})};
       }},
  };
  for (const BadParts& bad : cases) {
    MergeInputs inputs = good;
    bad.spoil(inputs);
    const auto plan = PlanMerge(inputs, AttentionLimits());
    EXPECT_EQ(plan.status().code(), kInvalid);
    EXPECT_EQ(plan.status().message(), bad.message);
  }
  EXPECT_THAT(PlanMerge(good, {.max_head_dim = 3}),
              IsError(kInvalid, "parts[0].output.shape: has 4 elements per head; the limit is 3"));
  EXPECT_THAT(PlanMerge(good, {.max_output_bytes = 100}),
              IsError(kInvalid, "parts[0].output: and lse have 120 bytes; the limit for a result is 100"));
}

}  // namespace
}  // namespace attnd
