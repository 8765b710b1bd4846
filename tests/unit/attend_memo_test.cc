// Requests that differ from a remembered one in their elements alone, and those that do not.
#include "proto/attend_memo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "proto/codec.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

constexpr int kElements = 64;

void SetData(v1::Tensor& tensor, float first) {
  std::vector<float> values(kElements);
  for (int i = 0; i < kElements; ++i) values[static_cast<size_t>(i)] = first + static_cast<float>(i);
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.clear_shape();
  tensor.add_shape(4);
  tensor.add_shape(kElements / 4);
  tensor.set_data(FloatBytes(values));
}

v1::AttendRequest RequestOf(float first) {
  v1::AttendRequest request;
  SetData(*request.mutable_query(), first);
  SetData(*request.mutable_key(), first + 1000);
  SetData(*request.mutable_value(), first + 2000);
  request.mutable_options()->set_causal(true);
  request.mutable_options()->add_q_lengths(3);
  return request;
}

// A message in pieces, and what comes of it.
struct Message {
  explicit Message(const std::string& bytes, size_t piece_size = 1000)
      : pieces(std::make_shared<Pieces>(Pieces::OfSize(bytes, piece_size))) {}

  std::shared_ptr<Pieces> pieces;

  [[nodiscard]] AttendCall Decode() const { return DecodeAttendRequest(pieces->views(), pieces).value(); }
  bool RememberIn(AttendMemo& memo) const { return memo.Remember(pieces->views(), Decode()); }
  [[nodiscard]] std::optional<AttendCall> RecallFrom(const AttendMemo& memo) const {
    return memo.Recall(pieces->views(), pieces);
  }
};

std::string BytesOf(const TensorView& tensor) {
  std::string bytes(tensor.bytes.size(), '\0');
  tensor.bytes.CopyTo(reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

// `a` is what was recalled, `b` what was decoded.
void ExpectSame(const AttendCall& a, const AttendCall& b) {
  for (const auto tensor : {&AttentionRequest::query, &AttentionRequest::key, &AttentionRequest::value}) {
    EXPECT_EQ((a.request.*tensor).dtype, (b.request.*tensor).dtype);
    EXPECT_EQ((a.request.*tensor).shape, (b.request.*tensor).shape);
    EXPECT_EQ(BytesOf(a.request.*tensor), BytesOf(b.request.*tensor));
  }
  EXPECT_EQ(a.request.options.causal, b.request.options.causal);
  EXPECT_EQ(a.request.options.q_lengths, b.request.options.q_lengths);
  EXPECT_EQ(a.reply_with_values, b.reply_with_values);
  EXPECT_NE(a.request.owner, nullptr);
}

TEST(AttendMemoTest, OtherElementsAreRecalledAsDecodingWouldReadThem) {
  AttendMemo memo;
  ASSERT_TRUE(Message(RequestOf(1).SerializeAsString()).RememberIn(memo));
  for (const size_t piece_size : {1000, 100, 7, 1}) {
    const Message other(RequestOf(50).SerializeAsString(), piece_size);
    const auto recalled = other.RecallFrom(memo);
    ASSERT_TRUE(recalled.has_value());
    ExpectSame(*recalled, other.Decode());
  }
}

TEST(AttendMemoTest, ValuesAreElementsToo) {
  v1::AttendRequest request = RequestOf(1);
  for (v1::Tensor* tensor : {request.mutable_query(), request.mutable_key(), request.mutable_value()}) {
    tensor->clear_data();
    for (int i = 0; i < kElements; ++i) tensor->add_values(static_cast<float>(i));
  }
  AttendMemo memo;
  ASSERT_TRUE(Message(request.SerializeAsString()).RememberIn(memo));
  request.mutable_query()->set_values(5, -1);
  const Message other(request.SerializeAsString());
  const auto recalled = other.RecallFrom(memo);
  ASSERT_TRUE(recalled.has_value());
  EXPECT_TRUE(recalled->reply_with_values);
  ExpectSame(*recalled, other.Decode());
}

TEST(AttendMemoTest, AnythingElseThatDiffersIsNotRecalled) {
  AttendMemo memo;
  ASSERT_TRUE(Message(RequestOf(1).SerializeAsString()).RememberIn(memo));
  const std::vector<std::function<void(v1::AttendRequest&)>> changes = {
      [](auto& r) { r.mutable_options()->set_causal(false); },
      [](auto& r) { r.mutable_options()->set_q_lengths(0, 4); },
      [](auto& r) { r.mutable_options()->set_scale(1); },
      [](auto& r) { r.mutable_query()->set_dtype(v1::DATA_TYPE_FLOAT16); },
      [](auto& r) { r.mutable_query()->set_shape(0, 2); },
      [](auto& r) { r.mutable_key()->mutable_data()->pop_back(); },
      [](auto& r) { r.mutable_outputs()->mutable_lse(); },
      [](auto& r) { r.clear_value(); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    v1::AttendRequest request = RequestOf(1);
    changes[i](request);
    const auto pieces = Pieces::OfSize(request.SerializeAsString(), 1000);
    EXPECT_FALSE(memo.Recall(pieces.views(), nullptr).has_value()) << "change " << i;
  }
}

// Whatever single byte changes: either it is an element, or the message is decoded anew.
TEST(AttendMemoTest, EveryByteCounts) {
  AttendMemo memo;
  const std::string bytes = RequestOf(1).SerializeAsString();
  ASSERT_TRUE(Message(bytes).RememberIn(memo));
  int recalled = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    const Message message(changed);
    const auto call = message.RecallFrom(memo);
    if (!call.has_value()) continue;
    ++recalled;
    ExpectSame(*call, message.Decode());
  }
  EXPECT_EQ(recalled, 3 * kElements * static_cast<int>(sizeof(float)));
}

TEST(AttendMemoTest, WhatDoesNotRepeatIsNotRemembered) {
  AttendMemo memo;
  EXPECT_FALSE(memo.Recall({}, nullptr).has_value());
  v1::AttendRequest masked = RequestOf(1);
  v1::Mask& mask = *masked.mutable_options()->add_masks();
  mask.set_polarity(v1::Mask::POLARITY_KEEP);
  mask.mutable_tensor()->set_dtype(v1::DATA_TYPE_BOOL);
  mask.mutable_tensor()->add_shape(4);
  mask.mutable_tensor()->set_data(std::string(4, '\1'));
  EXPECT_FALSE(Message(masked.SerializeAsString()).RememberIn(memo));

  v1::AttendRequest listed = RequestOf(1);
  for (int i = 0; i < 2000; ++i) listed.mutable_options()->add_kv_lengths(1);
  EXPECT_FALSE(Message(listed.SerializeAsString()).RememberIn(memo));

  v1::AttendRequest large = RequestOf(1);
  large.mutable_query()->set_data(std::string(300 << 10, '\0'));
  EXPECT_FALSE(Message(large.SerializeAsString()).RememberIn(memo));

  // Forgotten by the last.
  ASSERT_TRUE(Message(RequestOf(1).SerializeAsString()).RememberIn(memo));
  EXPECT_FALSE(Message(masked.SerializeAsString()).RememberIn(memo));
  EXPECT_FALSE(Message(RequestOf(1).SerializeAsString()).RecallFrom(memo).has_value());
}

TEST(AttendMemoTest, EmptyTensorsRepeat) {
  v1::AttendRequest request;
  for (v1::Tensor* tensor : {request.mutable_query(), request.mutable_key(), request.mutable_value()}) {
    tensor->add_shape(0);
    tensor->add_shape(4);
  }
  AttendMemo memo;
  const Message message(request.SerializeAsString());
  ASSERT_TRUE(message.RememberIn(memo));
  const auto recalled = message.RecallFrom(memo);
  ASSERT_TRUE(recalled.has_value());
  ExpectSame(*recalled, message.Decode());
}

}  // namespace
}  // namespace attnd::codec
