// What the codec makes of a request, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "proto/codec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using ::testing::ElementsAre;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnserved = absl::StatusCode::kUnimplemented;

void SetData(v1::Tensor& tensor, const std::vector<int64_t>& shape, const std::vector<float>& values) {
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.mutable_shape()->Assign(shape.begin(), shape.end());
  tensor.set_data(FloatBytes(values));
}

// One query of two numbers against two keys.
v1::AttendRequest SmallRequest() {
  v1::AttendRequest request;
  SetData(*request.mutable_query(), {1, 2}, {1, 2});
  SetData(*request.mutable_key(), {2, 2}, {3, 4, 5, 6});
  SetData(*request.mutable_value(), {2, 1}, {7, 8});
  return request;
}

absl::StatusOr<AttendCall> DecodeBytes(const std::string& bytes, size_t piece_size = 1000) {
  auto pieces = std::make_shared<Pieces>(Pieces::OfSize(bytes, piece_size));
  return DecodeAttendRequest(pieces->views(), pieces);
}

absl::StatusOr<AttendCall> Decode(const v1::AttendRequest& request) { return DecodeBytes(request.SerializeAsString()); }

std::string BytesOf(const std::vector<float>& values) { return FloatBytes(values); }

// A change to the small request and the field that the answer must name.
struct Change {
  std::string field;
  std::function<void(v1::AttendRequest&)> make;
};

void ExpectErrors(absl::StatusCode code, const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    v1::AttendRequest request = SmallRequest();
    change.make(request);
    EXPECT_THAT(Decode(request), NamesField(code, change.field));
  }
}

TEST(DecodeAttendRequestTest, ReadsTensorsAndDefaults) {
  for (const size_t piece_size : std::initializer_list<size_t>{1, 3, 64, 1000}) {
    const auto call = DecodeBytes(SmallRequest().SerializeAsString(), piece_size);
    ASSERT_THAT(call, IsOk());
    const AttentionRequest& request = call->request;
    EXPECT_EQ(request.query.dtype, DataType::kFloat32);
    EXPECT_THAT(request.query.shape, ElementsAre(1, 2));
    EXPECT_EQ(ToString(request.query.bytes), BytesOf({1, 2}));
    EXPECT_EQ(ToString(request.key.bytes), BytesOf({3, 4, 5, 6}));
    EXPECT_EQ(ToString(request.value.bytes), BytesOf({7, 8}));
    EXPECT_EQ(request.layout, Layout::kHeadsFirst);
    EXPECT_FALSE(request.heads.has_value());
    EXPECT_FALSE(request.kv_heads.has_value());
    EXPECT_FALSE(request.options.scale.has_value());
    EXPECT_FALSE(request.options.causal);
    EXPECT_EQ(request.options.alignment, Alignment::kUnset);
    EXPECT_FALSE(request.outputs.lse);
    EXPECT_FALSE(request.outputs.weights.has_value());
    EXPECT_FALSE(call->reply_with_values);
  }
}

TEST(DecodeAttendRequestTest, ReadsEveryServedOption) {
  v1::AttendRequest wire = SmallRequest();
  wire.set_layout(v1::LAYOUT_TOKENS_FIRST);
  wire.set_heads(4);
  wire.set_kv_heads(-2);
  wire.mutable_options()->set_scale(0);
  wire.mutable_options()->set_causal(true);
  wire.mutable_options()->set_alignment(v1::ALIGNMENT_OFFSET);
  wire.mutable_options()->add_q_offset(-5);
  wire.mutable_options()->add_k_offset(std::numeric_limits<int64_t>::max());
  wire.mutable_options()->add_k_offset(6);
  wire.mutable_options()->set_precision(v1::PRECISION_FLOAT32);
  const auto call = Decode(wire);
  ASSERT_THAT(call, IsOk());
  const AttentionRequest& request = call->request;
  EXPECT_EQ(request.layout, Layout::kTokensFirst);
  EXPECT_EQ(request.heads, 4);
  EXPECT_EQ(request.kv_heads, -2);
  EXPECT_EQ(request.options.scale, 0.0F);
  EXPECT_TRUE(request.options.causal);
  EXPECT_EQ(request.options.alignment, Alignment::kOffset);
  EXPECT_THAT(request.options.q_offset, ElementsAre(-5));
  EXPECT_THAT(request.options.k_offset, ElementsAre(std::numeric_limits<int64_t>::max(), 6));
}

TEST(DecodeAttendRequestTest, ReadsOptionsOfVisibility) {
  v1::AttendRequest wire = SmallRequest();
  v1::AttentionOptions& options = *wire.mutable_options();
  options.mutable_window()->set_left(3);
  options.add_q_lengths(1);
  options.add_kv_lengths(2);
  options.add_kv_starts(-1);
  options.add_prefix_lengths(5);
  v1::Mask& mask = *options.add_masks();
  mask.set_polarity(v1::Mask::POLARITY_DROP);
  mask.mutable_tensor()->set_dtype(v1::DATA_TYPE_BIT);
  mask.mutable_tensor()->add_shape(9);
  mask.mutable_tensor()->set_data("\x05\x01");
  options.mutable_documents()->add_query_ids(-4);
  options.mutable_documents()->add_key_ids(7);
  const auto call = Decode(wire);
  ASSERT_THAT(call, IsOk());
  const AttentionOptions& read = call->request.options;
  EXPECT_EQ(read.window->left, 3);
  EXPECT_FALSE(read.window->right.has_value());
  EXPECT_THAT(read.q_lengths, ElementsAre(1));
  EXPECT_THAT(read.kv_lengths, ElementsAre(2));
  EXPECT_THAT(read.kv_starts, ElementsAre(-1));
  EXPECT_THAT(read.prefix_lengths, ElementsAre(5));
  ASSERT_EQ(read.masks.size(), 1U);
  EXPECT_EQ(read.masks[0].polarity, Polarity::kDrop);
  EXPECT_EQ(read.masks[0].tensor.dtype, DataType::kBit);
  EXPECT_THAT(read.masks[0].tensor.shape, ElementsAre(9));
  EXPECT_EQ(ToString(read.masks[0].tensor.bytes), "\x05\x01");
  EXPECT_THAT(read.documents->query_ids, ElementsAre(-4));
  EXPECT_THAT(read.documents->key_ids, ElementsAre(7));
}

TEST(DecodeAttendRequestTest, ReadsOptionsOfScores) {
  v1::AttendRequest wire = SmallRequest();
  v1::AttentionOptions& options = *wire.mutable_options();
  SetData(*options.add_biases(), {1}, {1});
  SetData(*options.add_biases(), {2}, {2, 3});
  SetData(*options.mutable_alibi_slopes(), {1}, {4});
  SetData(*options.mutable_sinks(), {1}, {5});
  options.set_softcap(30);
  options.mutable_rope()->set_style(v1::Rope::STYLE_INTERLEAVED);
  options.mutable_rope()->set_rotary_dim(2);
  options.mutable_rope()->set_theta(0);
  options.mutable_rope()->set_scaling_factor(4);
  options.mutable_rope()->add_query_positions(-9);
  options.mutable_rope()->add_key_positions(11);
  const auto call = Decode(wire);
  ASSERT_THAT(call, IsOk());
  const AttentionOptions& read = call->request.options;
  ASSERT_EQ(read.biases.size(), 2U);
  EXPECT_EQ(ToString(read.biases[1].bytes), BytesOf({2, 3}));
  EXPECT_EQ(ToString(read.alibi_slopes->bytes), BytesOf({4}));
  EXPECT_EQ(ToString(read.sinks->bytes), BytesOf({5}));
  EXPECT_EQ(read.softcap, 30.0F);
  EXPECT_EQ(read.rope->style, RopeStyle::kInterleaved);
  EXPECT_EQ(read.rope->rotary_dim, 2);
  EXPECT_EQ(read.rope->theta, 0.0F);
  EXPECT_EQ(read.rope->scaling_factor, 4.0F);
  EXPECT_THAT(read.rope->query_positions, ElementsAre(-9));
  EXPECT_THAT(read.rope->key_positions, ElementsAre(11));
}

TEST(DecodeAttendRequestTest, ReadsOutputs) {
  v1::AttendRequest wire = SmallRequest();
  v1::Outputs& outputs = *wire.mutable_outputs();
  outputs.set_dtype(v1::DATA_TYPE_BFLOAT16);
  outputs.mutable_lse();
  outputs.mutable_weights()->set_heads(v1::WeightsOutput::HEADS_MEAN);
  outputs.mutable_weights()->add_rows(6);
  outputs.mutable_scores()->set_stage(v1::ScoresOutput::STAGE_CAPPED);
  const auto call = Decode(wire);
  ASSERT_THAT(call, IsOk());
  const AttentionOutputs& read = call->request.outputs;
  EXPECT_EQ(read.dtype, DataType::kBfloat16);
  EXPECT_TRUE(read.lse);
  EXPECT_TRUE(read.weights->mean);
  EXPECT_THAT(read.weights->rows, ElementsAre(6));
  EXPECT_EQ(read.scores, ScoreStage::kCapped);
  // What is asked for without saying how is for the plan to refuse or to fill in.
  wire.mutable_outputs()->mutable_scores()->clear_stage();
  wire.mutable_outputs()->mutable_weights()->Clear();
  wire.mutable_outputs()->clear_dtype();
  const auto unsaid = Decode(wire);
  ASSERT_THAT(unsaid, IsOk());
  EXPECT_EQ(unsaid->request.outputs.dtype, std::nullopt);
  EXPECT_FALSE(unsaid->request.outputs.weights->mean);
  EXPECT_EQ(unsaid->request.outputs.scores, ScoreStage::kUnset);
}

TEST(DecodeAttendRequestTest, ReadsEveryAlignment) {
  const std::pair<v1::Alignment, Alignment> names[] = {{v1::ALIGNMENT_UNSPECIFIED, Alignment::kUnset},
                                                       {v1::ALIGNMENT_TOP_LEFT, Alignment::kTopLeft},
                                                       {v1::ALIGNMENT_BOTTOM_RIGHT, Alignment::kBottomRight},
                                                       {v1::ALIGNMENT_OFFSET, Alignment::kOffset}};
  for (const auto& [wire, alignment] : names) {
    v1::AttendRequest request = SmallRequest();
    request.mutable_options()->set_alignment(wire);
    EXPECT_EQ(Decode(request)->request.options.alignment, alignment);
  }
}

TEST(DecodeAttendRequestTest, RepliesInTheQuerysForm) {
  v1::AttendRequest request = SmallRequest();
  request.mutable_query()->clear_data();
  request.mutable_query()->clear_dtype();
  request.mutable_query()->mutable_values()->Add(1);
  request.mutable_query()->mutable_values()->Add(2);
  const auto call = Decode(request);
  ASSERT_THAT(call, IsOk());
  EXPECT_TRUE(call->reply_with_values);
  EXPECT_EQ(ToString(call->request.query.bytes), BytesOf({1, 2}));
}

TEST(DecodeAttendRequestTest, KeepsTheBytesAliveThroughTheRequest) {
  const float one = 1;
  v1::AttendRequest request = SmallRequest();
  request.clear_query();
  const std::string single = Tag(4, 5) + FloatBytes({&one, 1});
  const std::string bytes = request.SerializeAsString() + Field(1, single + single);

  auto pieces = std::make_shared<Pieces>(bytes);
  const std::weak_ptr<Pieces> watch = pieces;
  const MessagePieces views = pieces->views();
  auto call = DecodeAttendRequest(views, std::move(pieces));
  ASSERT_THAT(call, IsOk());
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(ToString(call->request.query.bytes), BytesOf({1, 1}));
  EXPECT_EQ(ToString(call->request.key.bytes), BytesOf({3, 4, 5, 6}));
  call->request.owner.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(DecodeAttendRequestTest, LeavesSizesToThePlan) {
  v1::AttendRequest request = SmallRequest();
  request.mutable_query()->mutable_shape()->Set(0, -7);
  request.mutable_key()->clear_data();
  EXPECT_THAT(Decode(request), IsOk());
}

TEST(DecodeAttendRequestTest, AsksForWhatIsMissing) {
  EXPECT_THAT(DecodeAttendRequest({}, nullptr), NamesField(kInvalid, "query"));
  ExpectErrors(kInvalid, {{"query", [](auto& r) { r.clear_query(); }},
                          {"key", [](auto& r) { r.clear_key(); }},
                          {"value", [](auto& r) { r.clear_value(); }},
                          {"options.masks[0].tensor", [](auto& r) { r.mutable_options()->add_masks(); }}});
}

TEST(DecodeAttendRequestTest, NamesUnservedValues) {
  ExpectErrors(kUnserved, {{"options.precision",
                            [](auto& r) { r.mutable_options()->set_precision(v1::PRECISION_BFLOAT16_PRODUCTS); }}});
  v1::AttendRequest request = SmallRequest();
  request.mutable_options()->set_precision(v1::PRECISION_BFLOAT16_PRODUCTS);
  EXPECT_THAT(Decode(request), IsError(kUnserved, "BFLOAT16_PRODUCTS is part of the contract but not served"));
}

TEST(DecodeAttendRequestTest, NamesUnknownEnumNumbersAndWhatIsAllowed) {
  ExpectErrors(
      kInvalid,
      {{"layout", [](auto& r) { r.set_layout(v1::Layout(9)); }},
       {"query.dtype", [](auto& r) { r.mutable_query()->set_dtype(v1::DataType(6)); }},
       {"value.dtype", [](auto& r) { r.mutable_value()->set_dtype(v1::DataType(-1)); }},
       {"outputs.dtype", [](auto& r) { r.mutable_outputs()->set_dtype(v1::DataType(77)); }},
       {"options.alignment", [](auto& r) { r.mutable_options()->set_alignment(v1::Alignment(4)); }},
       {"options.precision", [](auto& r) { r.mutable_options()->set_precision(v1::Precision(3)); }},
       {"options.masks[0].polarity",
        [](auto& r) { r.mutable_options()->add_masks()->set_polarity(v1::Mask::Polarity(3)); }},
       {"options.biases[1].dtype",
        [](auto& r) {
          r.mutable_options()->add_biases();
          r.mutable_options()->add_biases()->set_dtype(v1::DataType(9));
        }},
       {"options.rope.style", [](auto& r) { r.mutable_options()->mutable_rope()->set_style(v1::Rope::Style(3)); }},
       {"outputs.scores.stage",
        [](auto& r) { r.mutable_outputs()->mutable_scores()->set_stage(v1::ScoresOutput::Stage(5)); }},
       {"outputs.weights.heads",
        [](auto& r) { r.mutable_outputs()->mutable_weights()->set_heads(v1::WeightsOutput::Heads(3)); }}});
  v1::AttendRequest request = SmallRequest();
  request.set_layout(v1::Layout(9));
  EXPECT_THAT(Decode(request),
              IsError(kInvalid, "layout: 9 is no known Layout; allowed: HEADS_FIRST, TOKENS_FIRST, PACKED"));
}

TEST(DecodeAttendRequestTest, RefusesBadTensorForms) {
  ExpectErrors(kInvalid, {{"query", [](auto& r) { r.mutable_query()->add_values(1); }},
                          {"value.values",
                           [](auto& r) {
                             r.mutable_value()->clear_data();
                             r.mutable_value()->add_values(1);
                             r.mutable_value()->set_dtype(v1::DATA_TYPE_BFLOAT16);
                           }},
                          {"value.dtype", [](auto& r) {
                             r.mutable_value()->clear_data();
                             r.mutable_value()->add_values(1);
                             r.mutable_value()->set_dtype(v1::DataType(8));
                           }}});
}

TEST(DecodeAttendRequestTest, NamesAFieldForEveryTruncation) {
  const std::string bytes = SmallRequest().SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto call = DecodeBytes(bytes.substr(0, size), /*piece_size=*/7);
    EXPECT_EQ(call.status().code(), kInvalid) << size;
    EXPECT_TRUE(FieldOf(call.status()).has_value()) << call.status();
  }
}

TEST(DecodeAttendRequestTest, RefusesFloodsOfSmallFieldsBeforeParsingThem) {
  const std::string offsets(size_t{9} << 20, '\x01');
  EXPECT_THAT(DecodeBytes(Field(7, Field(4, offsets)), 65536), NamesField(kInvalid, "options.q_offset"));
  std::string masks;
  for (int i = 0; i < 1'000'000; ++i) masks += Field(10, "");
  EXPECT_THAT(DecodeBytes(Field(7, masks), 65536),
              IsError(kInvalid, "options.masks: occurs more than 1024 times, which is the limit"));
}

}  // namespace
}  // namespace attnd::codec
