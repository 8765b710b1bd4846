#include "proto/wire_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

// A tensor of each role, of a shape of its own. Not what CheckWeights would accept.
void FillAll(WeightsCase& weights) {
  for (const WeightRoleInfo& info : WeightRoles()) {
    const int64_t n = 1 + static_cast<int64_t>(info.role);
    const bool vector = info.kind == WeightKind::kVector;
    weights.Fill(info.role, vector ? std::vector<int64_t>{n} : std::vector<int64_t>{n, 3});
  }
}

std::string Written(const ProjectionWeights& weights) {
  ChunkWriter out;
  WriteProjectionWeights(weights, out);
  return ToString(std::move(out).Finish());
}

// `read` of the bytes of a v1::ProjectionWeights in pieces of 7 bytes, written again.
template <typename Read>
absl::StatusOr<std::string> ReadAndWrite(const std::string& bytes, Read read) {
  const Pieces pieces = Pieces::OfSize(bytes, 7);
  v1::ProjectionWeights wire;
  const auto skeleton = ParseWithoutPayloads(pieces.views(), {}, wire);
  if (!skeleton.ok()) return skeleton.status();
  ProjectionWeights weights;
  if (absl::Status s = read("inline", wire, *skeleton, weights); !s.ok()) return s;
  return Written(weights);
}

TEST(WireWeightsTest, EveryRoleGoesBothWays) {
  WeightsCase weights(Orientation::kInOut);
  FillAll(weights);
  const std::string bytes = Written(weights.weights());
  const auto again = ReadAndWrite(bytes, ReadProjectionWeights);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(*again, bytes);

  v1::ProjectionWeights generated;
  ASSERT_TRUE(generated.ParseFromString(bytes));
  EXPECT_EQ(generated.orientation(), v1::ProjectionWeights::ORIENTATION_IN_OUT);
  EXPECT_EQ(generated.w_value().shape(0), 3);
  EXPECT_EQ(generated.block().b_down().data(), ToString(weights.weights().tensors[WeightRole::kDownBias]->bytes));
}

TEST(WireWeightsTest, DescribesWithoutElements) {
  WeightsCase weights;
  FillAll(weights);
  v1::ProjectionWeights described = DescribeProjectionWeights(weights.weights());
  const auto again = ReadAndWrite(described.SerializeAsString(), ReadWeightsWithoutElements);
  ASSERT_THAT(again, IsOk());
  v1::ProjectionWeights parsed;
  ASSERT_TRUE(parsed.ParseFromString(*again));
  EXPECT_EQ(Canonical(parsed), Canonical(described));
  EXPECT_EQ(described.block().w_up().shape(1), 3);
}

TEST(WireWeightsTest, ElementsBelongInChunks) {
  WeightsCase weights;
  weights.Fill(WeightRole::kUp, {2, 3});
  const std::string bytes = Written(weights.weights());
  const auto again = ReadAndWrite(bytes, ReadWeightsWithoutElements);
  EXPECT_THAT(again, NamesField(absl::StatusCode::kInvalidArgument, "inline.block.w_up"));
  EXPECT_THAT(again, IsError(absl::StatusCode::kInvalidArgument, "came with 24 bytes of elements"));
}

TEST(WireWeightsTest, NamesWhatIsWrong) {
  v1::ProjectionWeights wire;
  wire.set_orientation(static_cast<v1::ProjectionWeights::Orientation>(7));
  EXPECT_THAT(ReadAndWrite(wire.SerializeAsString(), ReadProjectionWeights),
              NamesField(absl::StatusCode::kInvalidArgument, "inline.orientation"));
  wire.clear_orientation();
  wire.mutable_block()->mutable_b_up()->set_dtype(static_cast<v1::DataType>(99));
  EXPECT_THAT(ReadAndWrite(wire.SerializeAsString(), ReadProjectionWeights),
              NamesField(absl::StatusCode::kInvalidArgument, "inline.block.b_up.dtype"));
}

}  // namespace
}  // namespace attnd::codec
