// Rotation against complex numbers in double.
#include "core/attention/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/simd_rows.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kQueries = 3;
constexpr int64_t kKeys = 5;
constexpr int64_t kDim = 12;

// x + iy turned by the angle of its pair: the definition.
std::vector<double> Rotated(std::span<const float> row, RopeStyle style, int64_t rotary_dim, double theta,
                            double position) {
  std::vector<double> out(row.begin(), row.end());
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const double angle = position * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
    const auto x = static_cast<size_t>(style == RopeStyle::kHalf ? i : 2 * i);
    const auto y = static_cast<size_t>(style == RopeStyle::kHalf ? i + rotary_dim / 2 : 2 * i + 1);
    const auto turned = std::complex<double>(row[x], row[y]) * std::polar(1.0, angle);
    out[x] = turned.real();
    out[y] = turned.imag();
  }
  return out;
}

class RopeTest : public testing::Test {
 protected:
  RopeTest() {
    Random random(6);
    for (std::vector<float>* tensor : {&query_, &key_, &value_}) {
      for (float& x : *tensor) x = random.Normal();
    }
    options_.alignment = Alignment::kTopLeft;
    options_.rope.emplace().style = RopeStyle::kHalf;
  }

  static TensorView ViewOf(std::vector<int64_t> shape, const std::vector<float>& data) {
    return {DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(data)))};
  }

  [[nodiscard]] AttentionPlan Plan(Layout layout) const {
    AttentionRequest request;
    request.layout = layout;
    request.options = options_;
    const auto shape = [layout](int64_t heads, int64_t len) -> std::vector<int64_t> {
      if (layout == Layout::kHeadsFirst) return {kBatch, heads, len, kDim};
      if (layout == Layout::kTokensFirst) return {kBatch, len, heads, kDim};
      return {kBatch * len, heads, kDim};
    };
    request.query = ViewOf(shape(kHeads, kQueries), query_);
    request.key = ViewOf(shape(kKvHeads, kKeys), key_);
    request.value = ViewOf(shape(kKvHeads, kKeys), value_);
    auto plan = PlanAttention(request, {});
    EXPECT_THAT(plan, IsOk());
    return *std::move(plan);
  }

  // Position of token `t` of entry `b`.
  using Position = std::function<int64_t(int64_t b, int64_t t)>;

  // Rotates query and key and compares every row with the definition.
  void ExpectRotates(const AttentionPlan& plan, double theta, double factor, const Position& query_position,
                     const Position& key_position) const {
    for (const RopeTensor which : {RopeTensor::kQuery, RopeTensor::kKey}) {
      const bool query = which == RopeTensor::kQuery;
      const std::vector<float>& source = query ? query_ : key_;
      std::vector<float> rotated(source.size(), -77);
      ApplyRope(plan, which, std::as_bytes(std::span(source)).data(), rotated.data());
      const TokenSpans& tokens = query ? plan.queries : plan.keys;
      for (int64_t b = 0; b < plan.dims.batch; ++b) {
        for (int64_t h = 0; h < (query ? kHeads : kKvHeads); ++h) {
          for (int64_t t = 0; t < tokens.count[b]; ++t) {
            const auto at = static_cast<size_t>(query ? plan.QueryAt(b, h, t) : plan.KeyAt(b, h, t));
            const auto position = static_cast<double>(query ? query_position(b, t) : key_position(b, t)) / factor;
            const auto expected =
                Rotated(std::span(source).subspan(at, kDim), plan.rope->style, plan.rope->rotary_dim, theta, position);
            for (size_t i = 0; i < kDim; ++i) {
              // Of two products and a sum in float32, and the angle's own rounding.
              ASSERT_NEAR(rotated[at + i], expected[i], 2e-6) << "entry " << b << " token " << t << " element " << i;
            }
          }
        }
      }
    }
  }

  std::vector<float> query_ = std::vector<float>(kBatch * kHeads * kQueries * kDim);
  std::vector<float> key_ = std::vector<float>(kBatch * kKvHeads * kKeys * kDim);
  std::vector<float> value_ = std::vector<float>(kBatch * kKvHeads * kKeys * kDim);
  AttentionOptions options_;
};

int64_t Counted(int64_t /*b*/, int64_t t) { return t; }

TEST_F(RopeTest, BothStylesFollowTheDefinition) {
  for (const RopeStyle style : {RopeStyle::kHalf, RopeStyle::kInterleaved}) {
    options_.rope->style = style;
    for (const Layout layout : {Layout::kHeadsFirst, Layout::kTokensFirst}) {
      ExpectRotates(Plan(layout), 10000, 1, Counted, Counted);
    }
  }
}

TEST_F(RopeTest, ElementsBehindRotaryDimAreLeftAlone) {
  for (const RopeStyle style : {RopeStyle::kHalf, RopeStyle::kInterleaved}) {
    options_.rope->style = style;
    for (const int64_t rotary_dim : {2, 4, 10, 12}) {
      options_.rope->rotary_dim = rotary_dim;
      const AttentionPlan plan = Plan(Layout::kHeadsFirst);
      ExpectRotates(plan, 10000, 1, Counted, Counted);
      std::vector<float> rotated(query_.size());
      ApplyRope(plan, RopeTensor::kQuery, std::as_bytes(std::span(query_)).data(), rotated.data());
      for (size_t at = 0; at < query_.size(); ++at) {
        if (at % kDim >= static_cast<size_t>(rotary_dim)) {
          ASSERT_EQ(rotated[at], query_[at]);
        }
      }
    }
  }
}

TEST_F(RopeTest, ThetaAndScalingFactorAreTaken) {
  options_.rope->theta = 500'000.0F;
  options_.rope->scaling_factor = 8.0F;
  ExpectRotates(Plan(Layout::kHeadsFirst), 500'000, 8, Counted, Counted);
}

TEST_F(RopeTest, AlignmentSetsThePositions) {
  options_.alignment = Alignment::kBottomRight;
  ExpectRotates(
      Plan(Layout::kHeadsFirst), 10000, 1, [](int64_t, int64_t t) { return t + 2; }, Counted);
  options_.kv_lengths = {5, 4};
  options_.q_lengths = {1, 3};
  ExpectRotates(
      Plan(Layout::kHeadsFirst), 10000, 1, [](int64_t b, int64_t t) { return t + (b == 0 ? 4 : 1); }, Counted);
  options_.kv_lengths = options_.q_lengths = {};
  options_.alignment = Alignment::kOffset;
  options_.q_offset = {7};
  options_.k_offset = {-3, 11};
  ExpectRotates(
      Plan(Layout::kTokensFirst), 10000, 1, [](int64_t, int64_t t) { return t + 7; },
      [](int64_t b, int64_t t) { return t + (b == 0 ? -3 : 11); });
}

// Angles in float32 would be off by whole turns here.
TEST_F(RopeTest, LargePositionsKeepTheirAngles) {
  options_.alignment = Alignment::kOffset;
  for (const int64_t offset : {int64_t{1'000'003}, int64_t{-1'000'003}, int64_t{1'000'000'007}}) {
    options_.q_offset = {offset};
    options_.k_offset = {offset / 3};
    ExpectRotates(
        Plan(Layout::kHeadsFirst), 10000, 1, [=](int64_t, int64_t t) { return offset + t; },
        [=](int64_t, int64_t t) { return offset / 3 + t; });
  }
}

TEST_F(RopeTest, GivenPositionsReplaceCountedOnes) {
  const std::vector<int64_t> queries = {5, 5, 900'000, 0, -4, 2};
  options_.rope->query_positions = queries;
  const auto query_position = [&](int64_t b, int64_t t) { return queries[static_cast<size_t>(b * kQueries + t)]; };
  ExpectRotates(Plan(Layout::kHeadsFirst), 10000, 1, query_position, Counted);
  const std::vector<int64_t> keys = {9, 8, 7, 6, 5, 0, 0, 1, 1, 2};
  options_.rope->key_positions = keys;
  ExpectRotates(Plan(Layout::kTokensFirst), 10000, 1, query_position,
                [&](int64_t b, int64_t t) { return keys[static_cast<size_t>(b * kKeys + t)]; });
}

TEST_F(RopeTest, PackedSequencesCountFromTheirOwnStart) {
  options_.q_lengths = {1, 0, 5};
  options_.kv_lengths = {3, 4, 3};
  ExpectRotates(Plan(Layout::kPacked), 10000, 1, Counted, Counted);
  options_.alignment = Alignment::kBottomRight;
  ExpectRotates(
      Plan(Layout::kPacked), 10000, 1, [](int64_t b, int64_t t) { return t + (b == 0 ? 2 : -2); }, Counted);
  const std::vector<int64_t> queries = {5, 1, 2, 3, 4, 900};
  options_.rope->query_positions = queries;
  ExpectRotates(
      Plan(Layout::kPacked), 10000, 1,
      [&](int64_t b, int64_t t) { return queries[static_cast<size_t>(b == 0 ? t : 1 + t)]; }, Counted);
}

TEST_F(RopeTest, APositionOfZeroChangesNothing) {
  options_.alignment = Alignment::kOffset;
  options_.rope->query_positions.assign(kBatch * kQueries, 0);
  const AttentionPlan plan = Plan(Layout::kHeadsFirst);
  std::vector<float> rotated(query_.size());
  ApplyRope(plan, RopeTensor::kQuery, std::as_bytes(std::span(query_)).data(), rotated.data());
  EXPECT_EQ(rotated, query_);
}

TEST_F(RopeTest, InPlaceIsTheSame) {
  const AttentionPlan plan = Plan(Layout::kHeadsFirst);
  std::vector<float> apart(query_.size());
  ApplyRope(plan, RopeTensor::kQuery, std::as_bytes(std::span(query_)).data(), apart.data());
  std::vector<float> in_place = query_;
  ApplyRope(plan, RopeTensor::kQuery, std::as_bytes(std::span(in_place)).data(), in_place.data());
  EXPECT_EQ(in_place, apart);
}

TEST_F(RopeTest, SmallerTypesAreRotatedAsTheNumbersTheyHold) {
  for (const DataType dtype : {DataType::kFloat16, DataType::kBfloat16}) {
    AttentionPlan plan = Plan(Layout::kHeadsFirst);
    const auto n = static_cast<int64_t>(query_.size());
    std::vector<std::byte> halves(query_.size() * 2);
    simd::StoreRow(query_.data(), n, dtype, halves.data());
    std::vector<float> widened(query_.size());
    simd::LoadRow(halves.data(), dtype, n, widened.data());
    std::vector<float> expected(query_.size());
    ApplyRope(plan, RopeTensor::kQuery, std::as_bytes(std::span(widened)).data(), expected.data());
    plan.query_dtype = dtype;
    std::vector<float> rotated(query_.size());
    ApplyRope(plan, RopeTensor::kQuery, halves.data(), rotated.data());
    EXPECT_EQ(rotated, expected);
  }
}

}  // namespace
}  // namespace attnd
