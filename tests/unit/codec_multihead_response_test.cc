// MultiHeadAttend's responses, both ways.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "core/runtime/buffer_pool.h"
#include "proto/codec.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Role = WeightRole;
using Wire = v1::MultiHeadAttendRequest;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnserved = absl::StatusCode::kUnimplemented;

// --- responses --------------------------------------------------------------------------

class MultiHeadResponseTest : public ::testing::Test {
 protected:
  ResultTensor Filled(std::vector<int64_t> shape, const std::vector<float>& values) {
    Buffer buffer = *pool_.Allocate(values.size() * sizeof(float));
    if (!values.empty()) std::memcpy(buffer.data(), values.data(), values.size() * sizeof(float));
    return {DataType::kFloat32, std::move(shape), std::move(buffer)};
  }

  MultiHeadResult SmallResult() {
    MultiHeadResult result;
    result.attention.output = Filled({1, 2}, {1, -2});
    result.attention.lse = Filled({1, 1, 1}, {3});
    result.attention.weights = Filled({1, 1, 1, 2}, {0.25, 0.75});
    result.attention.timings = {std::chrono::milliseconds(250), std::chrono::milliseconds(500),
                                std::chrono::seconds(2)};
    result.attention.tiles = 3;
    result.attention.flops = 1e6;
    result.attention.rows = {.empty = 4, .non_finite = 5};
    result.explain.push_back({"query", Filled({1, 1, 1, 2}, {4, 5})});
    result.explain.push_back({"context", Filled({1, 1, 0}, {})});
    result.explain.push_back({"residual", Filled({1, 1, 1}, {7})});
    return result;
  }

  BufferPool pool_{BufferPool::Options{}};
};

TEST_F(MultiHeadResponseTest, IsWhatTheGeneratedSerializerWrites) {
  const MultiHeadResult result = SmallResult();
  for (const bool as_values : {false, true}) {
    const std::string bytes = ToString(EncodeMultiHeadResponse(result, as_values, "isa-1"));
    v1::MultiHeadAttendResponse parsed;
    ASSERT_TRUE(parsed.ParseFromString(bytes));
    EXPECT_EQ(Canonical(parsed), bytes);
    EXPECT_EQ(parsed.output().values_size(), as_values ? 2 : 0);
    EXPECT_EQ(parsed.output().data().empty(), as_values);
    ASSERT_EQ(parsed.explain_size(), 3);
    EXPECT_EQ(parsed.explain(0).name(), "query");
    EXPECT_EQ(parsed.explain(0).tensor().values_size(), as_values ? 2 : 0);
    EXPECT_EQ(parsed.explain(2).name(), "residual");
    EXPECT_FALSE(parsed.has_scores() || parsed.has_top_k() || parsed.has_diagnostics());
    EXPECT_EQ(parsed.counts().non_finite_rows(), 5);
    EXPECT_EQ(parsed.timings().gather_seconds(), 0.5);
    EXPECT_EQ(parsed.numerics_id(), "isa-1");
  }
}

TEST_F(MultiHeadResponseTest, BorrowsThePayloads) {
  const MultiHeadResult result = SmallResult();
  const auto chunks = EncodeMultiHeadResponse(result, /*reply_with_values=*/false, "id");
  std::vector<const void*> borrowed;
  for (const Chunk& chunk : chunks) {
    const auto* span = std::get_if<std::span<const std::byte>>(&chunk);
    if (span != nullptr) borrowed.push_back(span->data());
  }
  EXPECT_THAT(borrowed, ElementsAre(result.attention.output.data.data(), result.attention.lse->data.data(),
                                    result.attention.weights->data.data(), result.explain[0].tensor.data.data(),
                                    result.explain[2].tensor.data.data()));
}

TEST_F(MultiHeadResponseTest, IsReadBackByTheClient) {
  const MultiHeadResult result = SmallResult();
  for (const bool as_values : {false, true}) {
    const std::string bytes = ToString(EncodeMultiHeadResponse(result, as_values, "isa-1"));
    for (const size_t piece_size : {1, 5, 1000}) {
      const auto reply = DecodeMultiHeadResponse(Pieces::OfSize(bytes, piece_size).views());
      ASSERT_THAT(reply, IsOk());
      EXPECT_THAT(reply->attention.output.values, ElementsAre(1, -2));
      ASSERT_TRUE(reply->attention.lse && reply->attention.weights);
      EXPECT_FALSE(reply->attention.scores.has_value());
      EXPECT_EQ(reply->attention.empty_rows, 4);
      EXPECT_EQ(reply->attention.tiles, 3);
      EXPECT_EQ(reply->attention.numerics_id, "isa-1");
      ASSERT_EQ(reply->explain.size(), 3U);
      EXPECT_EQ(reply->explain[0].first, "query");
      EXPECT_THAT(reply->explain[0].second.values, ElementsAre(4, 5));
      EXPECT_EQ(reply->explain[1].first, "context");
      EXPECT_THAT(reply->explain[1].second.shape, ElementsAre(1, 1, 0));
      EXPECT_THAT(reply->explain[1].second.values, IsEmpty());
      EXPECT_THAT(reply->explain[2].second.values, ElementsAre(7));
    }
  }
}

TEST_F(MultiHeadResponseTest, IsRefusedIfItIsNone) {
  constexpr auto kInternal = absl::StatusCode::kInternal;
  const auto decode = [](const std::string& bytes) { return DecodeMultiHeadResponse(Pieces(bytes).views()); };
  EXPECT_THAT(decode(""), IsOk());
  EXPECT_THAT(decode("\xff"), IsError(kInternal, "response"));
  EXPECT_THAT(decode(Field(1, Field(3, "12345"))), IsError(kInternal, "output: has 5 bytes"));
  EXPECT_THAT(decode(Field(7, Field(1, "key") + Field(2, Field(2, "\x02") + Field(3, "1234")))),
              IsError(kInternal, "key: has 4 bytes for shape [2]"));
  EXPECT_THAT(decode(Field(7, Field(1, "key") + Field(2, Field(3, "1234") + Field(4, "1234")))),
              IsError(kInternal, "key: has both"));
}

}  // namespace
}  // namespace attnd::codec
