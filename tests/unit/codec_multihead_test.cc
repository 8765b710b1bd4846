// MultiHeadAttend's requests, both ways.
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

void SetFloats(v1::Tensor& tensor, const std::vector<int64_t>& shape, const std::vector<float>& values) {
  tensor.mutable_shape()->Assign(shape.begin(), shape.end());
  tensor.set_data(FloatBytes(values));
}

Wire SmallRequest() {
  Wire request;
  SetFloats(*request.mutable_query(), {2, 1}, {1, 2});
  request.set_weights_id("some id");
  request.set_heads(1);
  return request;
}

// Sets every field that is served, each to something else. Of a oneof what is there stays.
class Filler {
 public:
  void Fill(Message& message) {
    const auto& type = *message.GetDescriptor();
    const auto& reflection = *message.GetReflection();
    if (&type == v1::Tensor::descriptor()) return FillTensor(dynamic_cast<v1::Tensor&>(message));
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (Skipped(field)) continue;
      if (field.real_containing_oneof() != nullptr) {
        if (!reflection.HasField(message, &field)) continue;
        if (field.message_type() == nullptr) continue;
      }
      if (field.is_repeated()) {
        for (int n = 0; n < 2; ++n) Add(message, field);
      } else if (field.message_type() != nullptr) {
        Fill(*reflection.MutableMessage(&message, &field));
      } else {
        Set(message, field);
      }
    }
  }

 private:
  static bool Skipped(const FieldDescriptor& field) { return field.name() == "precision"; }
  void FillTensor(v1::Tensor& tensor) {
    const int bytes = 4 * (1 + ++next_ % 5);
    tensor.set_dtype(next_ % 2 == 0 ? v1::DATA_TYPE_FLOAT16 : v1::DATA_TYPE_BFLOAT16);
    tensor.add_shape(next_);
    tensor.add_shape(bytes);
    tensor.set_data(std::string(static_cast<size_t>(bytes), static_cast<char>(next_)));
  }
  void Add(Message& message, const FieldDescriptor& field) {
    const auto& reflection = *message.GetReflection();
    ++next_;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Fill(*reflection.AddMessage(&message, &field));
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection.AddInt64(&message, &field, next_);
      case FieldDescriptor::CPPTYPE_INT32:
        return reflection.AddInt32(&message, &field, next_);
      default:
        FAIL() << "what is a list of " << field.full_name();
    }
  }
  void Set(Message& message, const FieldDescriptor& field) {
    const auto& reflection = *message.GetReflection();
    ++next_;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection.SetInt64(&message, &field, next_);
      case FieldDescriptor::CPPTYPE_INT32:
        return reflection.SetInt32(&message, &field, next_);
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.SetBool(&message, &field, true);
      case FieldDescriptor::CPPTYPE_FLOAT:
        return reflection.SetFloat(&message, &field, static_cast<float>(next_) + 0.5F);
      case FieldDescriptor::CPPTYPE_ENUM: {
        // A dtype of outputs is one for numbers.
        const auto& type = *field.enum_type();
        const int at = &type == v1::DataType_descriptor() ? 2 : type.value_count() - 1;
        return reflection.SetEnumValue(&message, &field, type.value(at)->number());
      }
      default:
        FAIL() << "what is " << field.full_name();
    }
  }

  int next_ = 0;
};

Wire RequestWithEverything(const std::function<void(Wire&)>& weights) {
  Wire request;
  weights(request);
  Filler().Fill(request);
  return request;
}

absl::StatusOr<MultiHeadCall> DecodeBytes(const std::string& bytes, size_t piece_size = 1000) {
  auto pieces = std::make_shared<Pieces>(Pieces::OfSize(bytes, piece_size));
  return DecodeMultiHeadRequest(pieces->views(), pieces);
}

absl::StatusOr<MultiHeadCall> Decode(const Wire& request) { return DecodeBytes(request.SerializeAsString()); }

TEST(DecodeMultiHeadRequestTest, ReadsDefaults) {
  const auto call = Decode(SmallRequest());
  ASSERT_THAT(call, IsOk());
  const MultiHeadRequest& request = call->request;
  EXPECT_THAT(request.query.shape, ElementsAre(2, 1));
  EXPECT_EQ(request.query.dtype, DataType::kFloat32);
  EXPECT_EQ(ToString(request.query.bytes), FloatBytes(std::vector<float>{1, 2}));
  EXPECT_EQ(request.layout, Layout::kTokensFirst);
  EXPECT_EQ(request.heads, 1);
  EXPECT_FALSE(request.key || request.value || request.kv_heads || request.value_dim || request.norm_epsilon ||
               request.block || request.add_zero_attn || request.explain);
  EXPECT_EQ(request.position_encoding, PositionEncoding::kNone);
  EXPECT_FALSE(call->with_request.has_value());
  EXPECT_EQ(call->weights_id, "some id");
  EXPECT_EQ(call->weights_alias, "");
  EXPECT_FALSE(call->reply_with_values);
}

// What is read and written again is the same message, whatever pieces it came in: no field is
// forgotten on either way, not even one that the contract gets tomorrow.
TEST(DecodeMultiHeadRequestTest, ReadsAndWritesEveryField) {
  const std::function<void(Wire&)> kinds[] = {[](Wire& w) { w.mutable_inline_(); },
                                              [](Wire& w) { w.set_weights_id("of some content"); },
                                              [](Wire& w) { w.set_weights_alias("some/name"); }};
  for (const auto& weights : kinds) {
    Wire wire = RequestWithEverything(weights);
    const std::string bytes = Canonical(wire);
    for (const size_t piece_size : std::initializer_list<size_t>{1, 2, 3, 5, 8, 13, 64, 100, 1000, 100'000}) {
      const auto call = DecodeBytes(bytes, piece_size);
      ASSERT_THAT(call, IsOk());
      const std::string written = ToString(EncodeMultiHeadRequest(*call));
      Wire again;
      ASSERT_TRUE(again.ParseFromString(written));
      EXPECT_EQ(again.DebugString(), wire.DebugString()) << "pieces of " << piece_size;
      EXPECT_EQ(Canonical(again), bytes);
    }
  }
}

TEST(DecodeMultiHeadRequestTest, ReadsWeightsByTheirNames) {
  Wire wire = SmallRequest();
  v1::ProjectionWeights& weights = *wire.mutable_inline_();
  weights.set_orientation(v1::ProjectionWeights::ORIENTATION_IN_OUT);
  SetFloats(*weights.mutable_w_qkv(), {1, 3}, {1, 2, 3});
  SetFloats(*weights.mutable_bias_v(), {1}, {4});
  SetFloats(*weights.mutable_block()->mutable_b_down(), {1}, {5});
  weights.mutable_block()->mutable_w_gate();
  const auto call = Decode(wire);
  ASSERT_THAT(call, IsOk());
  ASSERT_TRUE(call->with_request.has_value());
  const ProjectionWeights& read = *call->with_request;
  EXPECT_EQ(read.orientation, Orientation::kInOut);
  EXPECT_EQ(ToString(read.tensors[Role::kQkv]->bytes), FloatBytes(std::vector<float>{1, 2, 3}));
  EXPECT_EQ(ToString(read.tensors[Role::kExtraValue]->bytes), FloatBytes(std::vector<float>{4}));
  EXPECT_EQ(ToString(read.tensors[Role::kDownBias]->bytes), FloatBytes(std::vector<float>{5}));
  // There, if only in name; CheckWeights refuses it.
  EXPECT_TRUE(read.tensors[Role::kGate].has_value());
  EXPECT_FALSE(read.tensors[Role::kQuery].has_value());
}

TEST(DecodeMultiHeadRequestTest, TheLastOfSeveralKindsOfWeightsWins) {
  Wire with_request = SmallRequest();
  SetFloats(*with_request.mutable_inline_()->mutable_w_qkv(), {1, 3}, {1, 2, 3});
  Wire id;
  id.set_weights_id("an id");
  Wire alias;
  alias.set_weights_alias("a name");
  const std::string first = with_request.SerializeAsString();
  const auto by_id = DecodeBytes(first + id.SerializeAsString(), 3);
  ASSERT_THAT(by_id, IsOk());
  EXPECT_FALSE(by_id->with_request.has_value());
  EXPECT_EQ(by_id->weights_id, "an id");
  const auto by_alias = DecodeBytes(first + id.SerializeAsString() + alias.SerializeAsString());
  ASSERT_THAT(by_alias, IsOk());
  EXPECT_EQ(by_alias->weights_id, "");
  EXPECT_EQ(by_alias->weights_alias, "a name");
  const auto by_request = DecodeBytes(alias.SerializeAsString() + id.SerializeAsString() + first);
  ASSERT_THAT(by_request, IsOk());
  EXPECT_EQ(by_request->weights_id + by_request->weights_alias, "");
  EXPECT_EQ(ToString(by_request->with_request->tensors[Role::kQkv]->bytes), FloatBytes(std::vector<float>{1, 2, 3}));
}

TEST(DecodeMultiHeadRequestTest, AsksForWhatIsMissing) {
  EXPECT_THAT(DecodeMultiHeadRequest({}, nullptr), NamesField(kInvalid, "query"));
  Wire request = SmallRequest();
  request.clear_weights();
  EXPECT_THAT(Decode(request), NamesField(kInvalid, "weights"));
  EXPECT_THAT(Decode(request), IsError(kInvalid, "weights: is not set; inline, weights_id or weights_alias is needed"));
  request.set_weights_id("");
  EXPECT_THAT(Decode(request), NamesField(kInvalid, "weights_id"));
  EXPECT_THAT(Decode(request), IsError(kInvalid, "weights_id: is empty; the id of registered weights is needed"));
  request.set_weights_alias("");
  EXPECT_THAT(Decode(request), NamesField(kInvalid, "weights_alias"));
  EXPECT_THAT(Decode(request), IsError(kInvalid, "weights_alias: is empty; a name of registered weights is needed"));
  // Weights of nothing are for CheckWeights.
  request.mutable_inline_();
  EXPECT_THAT(Decode(request), IsOk());
}

struct Change {
  std::string field;
  std::function<void(Wire&)> make;
};

void ExpectErrors(absl::StatusCode code, const std::vector<Change>& changes) {
  for (const Change& change : changes) {
    Wire request = SmallRequest();
    change.make(request);
    EXPECT_THAT(Decode(request), NamesField(code, change.field));
  }
}

TEST(DecodeMultiHeadRequestTest, NamesUnknownEnumNumbers) {
  using Block = v1::TransformerBlock;
  ExpectErrors(
      kInvalid,
      {{"layout", [](Wire& r) { r.set_layout(v1::Layout(4)); }},
       {"layout", [](Wire& r) { r.set_layout(v1::Layout(-1)); }},
       {"position_encoding", [](Wire& r) { r.set_position_encoding(v1::PositionEncoding(3)); }},
       {"block.norm_placement", [](Wire& r) { r.mutable_block()->set_norm_placement(Block::NormPlacement(3)); }},
       {"block.norm", [](Wire& r) { r.mutable_block()->set_norm(Block::Norm(77)); }},
       {"block.activation", [](Wire& r) { r.mutable_block()->set_activation(Block::Activation(5)); }},
       {"query.dtype", [](Wire& r) { r.mutable_query()->set_dtype(v1::DataType(6)); }},
       {"key.dtype", [](Wire& r) { r.mutable_key()->set_dtype(v1::DataType(99)); }},
       {"value.dtype", [](Wire& r) { r.mutable_value()->set_dtype(v1::DataType(-7)); }},
       {"inline.orientation",
        [](Wire& r) { r.mutable_inline_()->set_orientation(v1::ProjectionWeights::Orientation(3)); }},
       {"inline.w_query.dtype", [](Wire& r) { r.mutable_inline_()->mutable_w_query()->set_dtype(v1::DataType(6)); }},
       {"inline.block.w_up.dtype",
        [](Wire& r) { r.mutable_inline_()->mutable_block()->mutable_w_up()->set_dtype(v1::DataType(6)); }},
       {"outputs.dtype", [](Wire& r) { r.mutable_outputs()->set_dtype(v1::DataType(6)); }},
       {"options.alignment", [](Wire& r) { r.mutable_options()->set_alignment(v1::Alignment(4)); }}});
  Wire request = SmallRequest();
  request.mutable_block()->set_activation(Block::Activation(5));
  EXPECT_THAT(Decode(request),
              IsError(kInvalid, "block.activation: 5 is no known Activation; allowed: GELU, GELU_TANH, RELU, SWIGLU"));
}

TEST(DecodeMultiHeadRequestTest, NamesUnservedValues) {
  ExpectErrors(kUnserved, {{"options.precision",
                            [](Wire& r) { r.mutable_options()->set_precision(v1::PRECISION_BFLOAT16_PRODUCTS); }}});
  Wire request = SmallRequest();
  request.mutable_outputs()->mutable_explain();
  const auto call = Decode(request);
  ASSERT_THAT(call, IsOk());
  EXPECT_TRUE(call->request.explain);
}

TEST(DecodeMultiHeadRequestTest, RefusesBadTensorForms) {
  ExpectErrors(kInvalid, {{"query", [](Wire& r) { r.mutable_query()->add_values(1); }},
                          {"key.values",
                           [](Wire& r) {
                             r.mutable_key()->add_values(1);
                             r.mutable_key()->set_dtype(v1::DATA_TYPE_FLOAT16);
                           }},
                          {"inline.w_qkv",
                           [](Wire& r) {
                             SetFloats(*r.mutable_inline_()->mutable_w_qkv(), {1}, {1});
                             r.mutable_inline_()->mutable_w_qkv()->add_values(1);
                           }},
                          {"inline.block.b_up.values", [](Wire& r) {
                             r.mutable_inline_()->mutable_block()->mutable_b_up()->add_values(1);
                             r.mutable_inline_()->mutable_block()->mutable_b_up()->set_dtype(v1::DATA_TYPE_BFLOAT16);
                           }}});
}

TEST(DecodeMultiHeadRequestTest, ReadsValuesAndRepliesInTheQuerysForm) {
  Wire request = SmallRequest();
  SetFloats(*request.mutable_key(), {1, 1}, {5});
  request.mutable_query()->clear_data();
  request.mutable_query()->add_values(3);
  request.mutable_query()->add_values(4);
  v1::Tensor& weight = *request.mutable_inline_()->mutable_w_key();
  weight.add_values(6);
  for (const size_t piece_size : {1, 3, 1000}) {
    const auto call = DecodeBytes(request.SerializeAsString(), piece_size);
    ASSERT_THAT(call, IsOk());
    EXPECT_TRUE(call->reply_with_values);
    EXPECT_EQ(ToString(call->request.query.bytes), FloatBytes(std::vector<float>{3, 4}));
    EXPECT_EQ(ToString(call->with_request->tensors[Role::kKey]->bytes), FloatBytes(std::vector<float>{6}));
  }
  // Others do not count.
  request.clear_query();
  SetFloats(*request.mutable_query(), {1, 1}, {1});
  request.mutable_key()->clear_data();
  request.mutable_key()->add_values(3);
  const auto call = Decode(request);
  ASSERT_THAT(call, IsOk());
  EXPECT_FALSE(call->reply_with_values);
}

TEST(DecodeMultiHeadRequestTest, RefusesSubMessagesThatOccurTwice) {
  const std::string small = SmallRequest().SerializeAsString();
  const struct {
    std::string path;
    std::string bytes;
  } cases[] = {
      {"query", Field(1, "")},
      {"key", Field(2, "") + Field(2, "")},
      {"inline", Field(4, "") + Field(4, "")},
      {"options", Field(9, "") + Field(9, "")},
      {"outputs", Field(10, "") + Field(10, "")},
      {"block", Field(16, "") + Field(16, "")},
      {"inline.w_query", Field(4, Field(2, "") + Field(2, ""))},
      {"inline.block", Field(4, Field(17, "") + Field(17, ""))},
      {"inline.block.w_down", Field(4, Field(17, Field(9, "") + Field(9, "")))},
  };
  for (const auto& [path, bytes] : cases) {
    const auto call = DecodeBytes(small + bytes, 7);
    EXPECT_THAT(call, NamesField(kInvalid, path));
    EXPECT_THAT(call, IsError(kInvalid, "occurs twice"));
  }
  // Of numbers the last one counts, as everywhere in protobuf.
  const auto call = DecodeBytes(small + Tag(7, 0) + Varint(12) + Tag(7, 0) + Varint(9));
  ASSERT_THAT(call, IsOk());
  EXPECT_EQ(call->request.heads, 9);
}

TEST(DecodeMultiHeadRequestTest, KeepsTheBytesAliveThroughTheRequest) {
  Wire request = SmallRequest();
  SetFloats(*request.mutable_inline_()->mutable_w_value(), {1, 1}, {8});
  auto pieces = std::make_shared<Pieces>(request.SerializeAsString());
  const std::weak_ptr<Pieces> watch = pieces;
  const MessagePieces views = pieces->views();
  auto call = DecodeMultiHeadRequest(views, std::move(pieces));
  ASSERT_THAT(call, IsOk());
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(ToString(call->with_request->tensors[Role::kValue]->bytes), FloatBytes(std::vector<float>{8}));
  call->request.owner.reset();
  EXPECT_TRUE(watch.expired());
}

TEST(DecodeMultiHeadRequestTest, BoundsSmallFields) {
  const std::string offsets(size_t{9} << 20, '\x01');
  EXPECT_THAT(DecodeBytes(SmallRequest().SerializeAsString() + Field(9, Field(4, offsets)), 65536),
              NamesField(kInvalid, "options.q_offset"));
}

// Whatever the bytes: the generated parser accepts them too, and means the same, or both
// refuse them.
void CompareWithGenerated(const std::string& bytes, size_t piece_size) {
  Wire theirs;
  const bool accepted = theirs.ParseFromString(bytes);
  const Pieces pieces = Pieces::OfSize(bytes, piece_size);
  Wire ours;
  const auto skeleton = ParseWithoutPayloads(pieces.views(), {}, ours);
  if (!skeleton.ok()) {
    const bool deliberate = std::string(skeleton.status().message()).find("occurs twice") != std::string::npos;
    EXPECT_TRUE(!accepted || deliberate) << skeleton.status();
    EXPECT_TRUE(FieldOf(skeleton.status()).has_value()) << skeleton.status();
  } else {
    ASSERT_TRUE(accepted);
    Rehydrate(*skeleton, ours);
    EXPECT_EQ(Canonical(ours), Canonical(theirs));
  }
  const auto call = DecodeMultiHeadRequest(pieces.views(), nullptr);
  EXPECT_TRUE(accepted || !call.ok());
  if (!call.ok()) {
    EXPECT_TRUE(call.status().code() == kInvalid || call.status().code() == kUnserved) << call.status();
    EXPECT_TRUE(FieldOf(call.status()).has_value()) << call.status();
    return;
  }
  const std::string written = ToString(EncodeMultiHeadRequest(*call));
  const auto again = DecodeMultiHeadRequest(Pieces(written).views(), nullptr);
  ASSERT_THAT(again, IsOk());
}

TEST(DecodeMultiHeadRequestTest, AgreesWithTheGeneratedParserOnEveryTruncation) {
  const std::string bytes = RequestWithEverything([](Wire& w) { w.mutable_inline_(); }).SerializeAsString();
  for (size_t size = 0; size <= bytes.size(); ++size) {
    SCOPED_TRACE(size);
    CompareWithGenerated(bytes.substr(0, size), 7);
  }
}

TEST(DecodeMultiHeadRequestTest, AgreesWithTheGeneratedParserOnSpoiledBytes) {
  const std::string bytes = RequestWithEverything([](Wire& w) { w.mutable_inline_(); }).SerializeAsString();
  Random random(24);
  for (int i = 0; i < 5000; ++i) {
    SCOPED_TRACE(i);
    std::string spoiled = bytes;
    for (int64_t n = random.Below(3); n >= 0; --n) {
      spoiled[static_cast<size_t>(random.Below(static_cast<int64_t>(bytes.size())))] =
          static_cast<char>(random.Below(256));
    }
    CompareWithGenerated(spoiled, static_cast<size_t>(1 + random.Below(40)));
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace attnd::codec
