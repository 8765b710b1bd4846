// Merge's messages, both ways.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "core/runtime/buffer_pool.h"
#include "proto/codec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using ::testing::ElementsAre;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

v1::Tensor Floats(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  v1::Tensor tensor;
  tensor.mutable_shape()->Assign(shape.begin(), shape.end());
  tensor.set_data(FloatBytes(values));
  return tensor;
}

v1::MergeRequest TwoParts() {
  v1::MergeRequest request;
  for (const float x : {1.0F, 2.0F}) {
    v1::PartialResult& part = *request.add_parts();
    *part.mutable_output() = Floats({1, 2}, {x, -x});
    *part.mutable_lse() = Floats({1, 1, 1}, {10 * x});
  }
  return request;
}

absl::StatusOr<MergeCall> Decode(const v1::MergeRequest& request) {
  auto pieces = std::make_shared<Pieces>(Pieces::OfSize(request.SerializeAsString(), 5));
  return DecodeMergeRequest(pieces->views(), pieces);
}

TEST(DecodeMergeRequestTest, ReadsPartsLayoutAndSinks) {
  v1::MergeRequest request = TwoParts();
  request.set_layout(v1::LAYOUT_TOKENS_FIRST);
  *request.mutable_sinks() = Floats({1}, {-3});
  const auto call = Decode(request);
  ASSERT_THAT(call, IsOk());
  ASSERT_EQ(call->inputs.parts.size(), 2U);
  EXPECT_EQ(ToString(call->inputs.parts[1].output.bytes), FloatBytes(std::vector<float>{2, -2}));
  EXPECT_EQ(ToString(call->inputs.parts[1].lse.bytes), FloatBytes(std::vector<float>{20}));
  EXPECT_THAT(call->inputs.parts[0].output.shape, ElementsAre(1, 2));
  EXPECT_EQ(call->inputs.layout, Layout::kTokensFirst);
  EXPECT_EQ(ToString(call->inputs.sinks->bytes), FloatBytes(std::vector<float>{-3}));
  EXPECT_FALSE(call->reply_with_values);
}

TEST(DecodeMergeRequestTest, NamesWhatIsMissingOrUnknown) {
  const std::pair<const char*, std::function<void(v1::MergeRequest&)>> cases[] = {
      {"parts[1].output", [](auto& r) { r.mutable_parts(1)->clear_output(); }},
      {"parts[0].lse", [](auto& r) { r.mutable_parts(0)->clear_lse(); }},
      {"parts[0].lse", [](auto& r) { r.mutable_parts(0)->mutable_lse()->add_values(1); }},
      {"layout", [](auto& r) { r.set_layout(v1::Layout(8)); }},
      {"sinks.dtype", [](auto& r) { r.mutable_sinks()->set_dtype(v1::DataType(44)); }},
  };
  for (const auto& [field, spoil] : cases) {
    v1::MergeRequest request = TwoParts();
    spoil(request);
    EXPECT_THAT(Decode(request), NamesField(kInvalid, field));
  }
}

TEST(DecodeMergeRequestTest, BoundsTheNumberOfParts) {
  std::string parts;
  for (int i = 0; i < 2000; ++i) parts += Field(1, "");
  EXPECT_THAT(DecodeMergeRequest(Pieces(parts).views(), nullptr), NamesField(kInvalid, "parts"));
}

TEST(EncodeMergeRequestTest, IsReadBackByTheServer) {
  v1::MergeRequest wire = TwoParts();
  wire.set_layout(v1::LAYOUT_PACKED);
  *wire.mutable_sinks() = Floats({1}, {-3});
  const std::string bytes = wire.SerializeAsString();
  auto pieces = std::make_shared<Pieces>(bytes);
  const auto call = DecodeMergeRequest(pieces->views(), pieces);
  ASSERT_THAT(call, IsOk());
  v1::MergeRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(ToString(EncodeMergeRequest(call->inputs))));
  // The client says what the message left to the default.
  for (v1::PartialResult& part : *wire.mutable_parts()) {
    part.mutable_output()->set_dtype(v1::DATA_TYPE_FLOAT32);
    part.mutable_lse()->set_dtype(v1::DATA_TYPE_FLOAT32);
  }
  wire.mutable_sinks()->set_dtype(v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(Canonical(parsed), Canonical(wire));
}

TEST(EncodeMergeResponseTest, IsReadBackByTheClient) {
  BufferPool pool{BufferPool::Options{}};
  const auto filled = [&pool](const std::vector<float>& values) {
    Buffer buffer = *pool.Allocate(values.size() * sizeof(float));
    std::memcpy(buffer.data(), values.data(), values.size() * sizeof(float));
    return buffer;
  };
  const MergeResult result = {{DataType::kFloat32, {1, 2}, filled({1, 2})},
                              {DataType::kFloat32, {1, 1, 1}, filled({3})}};
  for (const bool as_values : {false, true}) {
    const auto reply = DecodeMergeResponse(Pieces(ToString(EncodeMergeResponse(result, as_values))).views());
    ASSERT_THAT(reply, IsOk());
    EXPECT_THAT(reply->output.values, ElementsAre(1, 2));
    EXPECT_THAT(reply->output.shape, ElementsAre(1, 2));
    EXPECT_THAT(reply->lse.values, ElementsAre(3));
  }
  EXPECT_THAT(DecodeMergeResponse(Pieces("\xff").views()), IsError(absl::StatusCode::kInternal, "response"));
}

}  // namespace
}  // namespace attnd::codec
