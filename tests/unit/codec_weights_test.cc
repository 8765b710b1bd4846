#include "proto/codec_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using enum absl::StatusCode;

absl::StatusOr<UploadPart> Decode(const std::string& bytes) {
  const auto pieces = std::make_shared<Pieces>(Pieces::OfSize(bytes, 100));
  return DecodeRegisterWeightsRequest(pieces->views(), pieces);
}

TEST(UploadCodecTest, HeadersGoBothWays) {
  WeightsCase weights;
  FillSquare(weights, 4, 1);
  weights.Fill(WeightRole::kAttentionNormScale, {4});
  const auto part = Decode(ToString(EncodeUploadHeader(weights.weights(), "id", "name")));
  ASSERT_THAT(part, IsOk());
  const auto& header = std::get<UploadHeader>(*part);
  EXPECT_EQ(header.id, "id");
  EXPECT_EQ(header.alias, "name");
  EXPECT_EQ(header.weights.orientation, Orientation::kOutIn);
  EXPECT_TRUE(header.weights.tensors[WeightRole::kAttentionNormScale].has_value());
  EXPECT_TRUE(header.weights.tensors[WeightRole::kKey]->bytes.empty());
}

TEST(UploadCodecTest, ChunksGoBothWaysWithoutCopies) {
  const std::string data(1000, 'x');
  const auto sent = EncodeUploadChunk("w_key", Fragments(std::as_bytes(std::span(data))));
  EXPECT_EQ(std::get<std::span<const std::byte>>(sent.back()).data(), std::as_bytes(std::span(data)).data());
  const Pieces pieces = Pieces::OfSize(ToString(sent), 300);
  const auto part = DecodeRegisterWeightsRequest(pieces.views(), nullptr);
  ASSERT_THAT(part, IsOk());
  const auto& chunk = std::get<UploadChunk>(*part);
  EXPECT_EQ(chunk.tensor, "w_key");
  EXPECT_EQ(ToString(chunk.data), data);
  EXPECT_EQ(static_cast<const void*>(chunk.data.pieces()[1].data()), pieces.views()[1].data());
  const auto empty = Decode(ToString(EncodeUploadChunk("", {})));
  ASSERT_THAT(empty, IsOk());
  EXPECT_TRUE(std::get<UploadChunk>(*empty).data.empty());
}

TEST(UploadCodecTest, RefusesWhatIsNeither) {
  EXPECT_THAT(Decode(""), NamesField(kInvalidArgument, "part"));
  EXPECT_THAT(Decode("\x0a"), IsError(kInvalidArgument, ""));
  WeightsCase weights;
  FillSquare(weights, 4, 1);
  v1::RegisterWeightsRequest wire;
  wire.mutable_header()->mutable_weights()->mutable_w_key()->set_data("1234");
  EXPECT_THAT(Decode(wire.SerializeAsString()), NamesField(kInvalidArgument, "header.weights.w_key"));
}

TEST(UploadCodecTest, HeadersAreSmall) {
  v1::RegisterWeightsRequest wire;
  wire.mutable_header()->set_alias(std::string(100'000, 'a'));
  EXPECT_THAT(Decode(wire.SerializeAsString()), IsError(kInvalidArgument, "65536 bytes, which are allowed"));
}

TEST(WeightsInfoCodecTest, SaysWhatTheStoreSays) {
  WeightsInfo info;
  info.id = "id";
  info.aliases = {"a", "b"};
  info.bytes = 7;
  info.requests = 2;
  info.idle = std::chrono::seconds(3);
  info.orientation = Orientation::kInOut;
  info.tensors.push_back({WeightRole::kUp, DataType::kBfloat16, {3, 4}});
  const v1::WeightsInfo wire = ToWire(info);
  EXPECT_EQ(wire.ShortDebugString(),
            "weights_id: \"id\" aliases: \"a\" aliases: \"b\" bytes: 7 requests: 2 idle_seconds: 3 "
            "orientation: ORIENTATION_IN_OUT tensors { name: \"block.w_up\" dtype: DATA_TYPE_BFLOAT16 shape: 3 shape: "
            "4 }");
}

}  // namespace
}  // namespace attnd::codec
