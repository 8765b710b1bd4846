// What the codec writes, and that the other side reads it back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "core/runtime/buffer_pool.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using ::testing::ElementsAre;

constexpr auto kInternal = absl::StatusCode::kInternal;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::span<const std::byte> AsBytes(const std::vector<float>& values) { return std::as_bytes(std::span(values)); }

class EncodeAttendResponseTest : public ::testing::Test {
 protected:
  Buffer Filled(const std::vector<float>& values) {
    Buffer buffer = *pool_.Allocate(values.size() * sizeof(float));
    if (!values.empty()) std::memcpy(buffer.data(), values.data(), values.size() * sizeof(float));
    return buffer;
  }

  Buffer FilledHalves(const std::vector<uint16_t>& values) {
    Buffer buffer = *pool_.Allocate(values.size() * sizeof(uint16_t));
    std::memcpy(buffer.data(), values.data(), values.size() * sizeof(uint16_t));
    return buffer;
  }

  AttentionResult SmallResult() {
    AttentionResult result;
    result.output = {DataType::kFloat32, {1, 2}, Filled({1, NAN})};
    result.lse = {DataType::kFloat32, {1, 1, 1}, Filled({-kInfinity})};
    result.weights = {DataType::kFloat32, {1, 1, 1, 3}, Filled({0.25, 0.5, 0.25})};
    // 1.5, -2 and 0.
    result.scores = {DataType::kBfloat16, {1, 1, 1, 3}, FilledHalves({0x3FC0, 0xC000, 0})};
    result.timings = {std::chrono::milliseconds(250), std::chrono::milliseconds(500), std::chrono::seconds(2)};
    result.tiles = 3;
    result.flops = 1e6;
    result.rows = {.empty = 4, .non_finite = 5};
    return result;
  }

  BufferPool pool_{BufferPool::Options{}};
};

TEST_F(EncodeAttendResponseTest, WritesWhatTheGeneratedSerializerWrites) {
  const AttentionResult result = SmallResult();
  for (const bool as_values : {false, true}) {
    const std::string bytes = ToString(EncodeAttendResponse(result, as_values, "isa-1"));
    v1::AttendResponse parsed;
    ASSERT_TRUE(parsed.ParseFromString(bytes));
    EXPECT_EQ(Canonical(parsed), bytes);
    EXPECT_EQ(parsed.output().data().empty(), as_values);
    EXPECT_EQ(parsed.output().values_size(), as_values ? 2 : 0);
    EXPECT_EQ(parsed.weights().values_size(), as_values ? 3 : 0);
    EXPECT_EQ(parsed.scores().data().size(), 6U);
    EXPECT_EQ(parsed.scores().dtype(), v1::DATA_TYPE_BFLOAT16);
    EXPECT_EQ(parsed.output().dtype(), v1::DATA_TYPE_FLOAT32);
    EXPECT_THAT(parsed.weights().shape(), ElementsAre(1, 1, 1, 3));
    EXPECT_EQ(parsed.timings().gather_seconds(), 0.5);
    EXPECT_EQ(parsed.counts().flops(), 1'000'000);
    EXPECT_EQ(parsed.numerics_id(), "isa-1");
  }
}

TEST_F(EncodeAttendResponseTest, BorrowsThePayloads) {
  const AttentionResult result = SmallResult();
  const auto chunks = EncodeAttendResponse(result, /*reply_with_values=*/false, "id");
  ASSERT_EQ(chunks.size(), 9U);
  EXPECT_EQ(std::get<std::span<const std::byte>>(chunks[1]).data(), result.output.data.data());
  EXPECT_EQ(std::get<std::span<const std::byte>>(chunks[5]).data(), result.weights->data.data());
}

TEST_F(EncodeAttendResponseTest, IsReadBackByTheClient) {
  const AttentionResult result = SmallResult();
  for (const bool as_values : {false, true}) {
    const std::string bytes = ToString(EncodeAttendResponse(result, as_values, "isa-1"));
    const auto reply = DecodeAttendResponse(Pieces::OfSize(bytes, 5).views());
    ASSERT_THAT(reply, IsOk());
    EXPECT_THAT(reply->output.shape, ElementsAre(1, 2));
    EXPECT_EQ(reply->output.values[0], 1.0F);
    EXPECT_TRUE(std::isnan(reply->output.values[1]));
    ASSERT_TRUE(reply->lse && reply->weights && reply->scores);
    EXPECT_THAT(reply->lse->values, ElementsAre(-kInfinity));
    EXPECT_THAT(reply->weights->values, ElementsAre(0.25, 0.5, 0.25));
    EXPECT_EQ(reply->scores->dtype, DataType::kBfloat16);
    EXPECT_THAT(reply->scores->values, ElementsAre(1.5, -2, 0));
    EXPECT_EQ(reply->queue_seconds, 0.25);
    EXPECT_EQ(reply->gather_seconds, 0.5);
    EXPECT_EQ(reply->compute_seconds, 2);
    EXPECT_EQ(reply->tiles, 3);
    EXPECT_EQ(reply->flops, 1'000'000);
    EXPECT_EQ(reply->empty_rows, 4);
    EXPECT_EQ(reply->non_finite_rows, 5);
    EXPECT_EQ(reply->numerics_id, "isa-1");
  }
}

TEST_F(EncodeAttendResponseTest, LeavesOutWhatWasNotAskedFor) {
  AttentionResult result;
  result.output.shape = {0, 4};
  const auto reply = DecodeAttendResponse(Pieces(ToString(EncodeAttendResponse(result, false, ""))).views());
  ASSERT_THAT(reply, IsOk());
  EXPECT_THAT(reply->output.shape, ElementsAre(0, 4));
  EXPECT_TRUE(reply->output.values.empty());
  EXPECT_FALSE(reply->lse || reply->weights || reply->scores);
}

TEST_F(EncodeAttendResponseTest, SaturatesTheNumberOfOperations) {
  AttentionResult result = SmallResult();
  result.flops = 1e30;
  const auto reply = DecodeAttendResponse(Pieces(ToString(EncodeAttendResponse(result, false, ""))).views());
  EXPECT_EQ(reply->flops, std::numeric_limits<int64_t>::max());
}

TEST(ChunkWriterTest, WritesLengthsAboveFourGibibytes) {
  constexpr size_t kSize = size_t{5} << 30;
  void* memory = mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ChunkWriter writer;
  writer.Message(1, [&] { writer.Payload(3, Fragments({static_cast<const std::byte*>(memory), kSize})); });
  const auto chunks = std::move(writer).Finish();
  const std::string header = Tag(3, 2) + Varint(kSize);
  EXPECT_EQ(std::get<std::string>(chunks[0]), Tag(1, 2) + Varint(kSize + header.size()) + header);
  munmap(memory, kSize);
}

std::string Sub(int field, const std::string& fields) { return Tag(field, 2) + Varint(fields.size()) + fields; }

TEST(ChunkWriterTest, MessagesMayBeEmptyNestedAndFollowOthers) {
  const std::vector<float> borrowed(10, 1.5F);
  const std::string payload(reinterpret_cast<const char*>(borrowed.data()), 40);
  for (const size_t length : {0, 1, 40, 121, 122, 123, 124, 125, 126, 127, 128, 20000}) {
    SCOPED_TRACE(length);
    const std::string text(length, 'x');
    const std::string text_field = text.empty() ? "" : Sub(9, text);
    ChunkWriter out;
    out.Message(1, [] {});
    out.Message(2, [&] { out.Message(3, [] {}); });
    out.Message(4, [&] {
      out.Message(5, [&] {
        out.Payload(6, Fragments(AsBytes(borrowed)));
        out.Text(9, text);
      });
      out.Payload(6, Fragments(AsBytes(borrowed)));
      out.Message(7, [&] { out.Text(9, text); });
    });
    out.Message(8, [&] { out.Text(9, text); });
    const std::string inner = Sub(5, Sub(6, payload) + text_field) + Sub(6, payload) + Sub(7, text_field);
    EXPECT_EQ(ToString(std::move(out).Finish()), Sub(1, "") + Sub(2, Sub(3, "")) + Sub(4, inner) + Sub(8, text_field));
  }
}

TEST(EncodeAttendRequestTest, IsReadBackByTheServer) {
  const std::vector<float> query = {1, 2, 3, 4};
  const std::vector<float> key(300, 0.5F);
  const std::vector<float> value(150, 2.0F);
  AttentionRequest request;
  request.query = {DataType::kFloat32, {1, 2, 1, 2}, Fragments(AsBytes(query))};
  request.key = {DataType::kFloat32, {1, 1, 150, 2}, Fragments(AsBytes(key).first(400))};
  request.key.bytes.Append(AsBytes(key).subspan(400));
  request.value = {DataType::kFloat32, {1, 1, 150, 1}, Fragments(AsBytes(value))};
  request.layout = Layout::kTokensFirst;
  request.heads = 2;
  request.kv_heads = int64_t{1} << 40;
  request.options.scale = -1.5F;
  request.options.causal = true;
  request.options.alignment = Alignment::kBottomRight;
  request.options.q_offset = {-1, 2};
  request.options.k_offset = {int64_t{1} << 60};

  const std::string bytes = ToString(EncodeAttendRequest(request));
  v1::AttendRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(bytes));
  EXPECT_EQ(Canonical(parsed), bytes);
  auto pieces = std::make_shared<Pieces>(Pieces::OfSize(bytes, 100));
  const auto call = DecodeAttendRequest(pieces->views(), pieces);
  ASSERT_THAT(call, IsOk());
  EXPECT_EQ(call->request.query.shape, request.query.shape);
  EXPECT_EQ(ToString(call->request.query.bytes), FloatBytes(query));
  EXPECT_EQ(ToString(call->request.key.bytes), FloatBytes(key));
  EXPECT_EQ(ToString(call->request.value.bytes), FloatBytes(value));
  EXPECT_EQ(call->request.layout, Layout::kTokensFirst);
  EXPECT_EQ(call->request.heads, 2);
  EXPECT_EQ(call->request.kv_heads, std::numeric_limits<int32_t>::max());
  EXPECT_EQ(call->request.options.scale, -1.5F);
  EXPECT_TRUE(call->request.options.causal);
  EXPECT_EQ(call->request.options.alignment, Alignment::kBottomRight);
  EXPECT_EQ(call->request.options.q_offset, request.options.q_offset);
  EXPECT_EQ(call->request.options.k_offset, request.options.k_offset);
  EXPECT_FALSE(call->reply_with_values);
}

// Every field of a request but query, key, value and heads.
AttentionRequest RequestWithEverything(std::span<const std::byte> bytes) {
  const auto tensor = [bytes](DataType dtype, int64_t elements, size_t size) {
    return TensorView{dtype, {elements}, Fragments(bytes.first(size))};
  };
  AttentionRequest request;
  request.query = request.key = request.value = tensor(DataType::kFloat16, 4, 8);
  request.layout = Layout::kPacked;
  AttentionOptions& options = request.options;
  options.window = {.left = 0, .right = 5};
  options.q_lengths = {1, 2};
  options.kv_lengths = {3};
  options.kv_starts = {4};
  options.masks = {{tensor(DataType::kBit, 11, 2), Polarity::kKeep}, {tensor(DataType::kBool, 3, 3), Polarity::kDrop}};
  options.biases = {tensor(DataType::kBfloat16, 5, 10), tensor(DataType::kFloat32, 1, 4)};
  options.alibi_slopes = tensor(DataType::kFloat32, 2, 8);
  options.softcap = 7.0F;
  options.sinks = tensor(DataType::kFloat16, 2, 4);
  options.documents = {{1, 1, 2}, {-1}};
  options.prefix_lengths = {6};
  options.rope = {RopeStyle::kHalf, 4, 500.0F, 2.0F, {8, 9}, {10}};
  request.outputs = {DataType::kBfloat16,         true,
                     WeightsOutput{true, {3, 1}}, ScoreStage::kBiased,
                     TopKOutput{5, {2, 0}},       DiagnosticsOutput{true, 1, 2, 3},
                     HeatmapOutput{99},           true};
  return request;
}

TEST(EncodeAttendRequestTest, WritesEveryField) {
  const std::string bytes(64, '\x3c');
  const AttentionRequest request = RequestWithEverything(std::as_bytes(std::span(bytes)));
  const std::string wire = ToString(EncodeAttendRequest(request));
  v1::AttendRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(wire));
  const auto unwritten = [](const google::protobuf::Message& message, std::initializer_list<std::string_view> allowed) {
    std::vector<std::string> names;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const auto* field = message.GetDescriptor()->field(i);
      const auto* reflection = message.GetReflection();
      const bool set =
          field->is_repeated() ? reflection->FieldSize(message, field) > 0 : reflection->HasField(message, field);
      if (!set && std::find(allowed.begin(), allowed.end(), field->name()) == allowed.end()) {
        names.push_back(field->name());
      }
    }
    return names;
  };
  using testing::IsEmpty;
  EXPECT_THAT(unwritten(parsed, {"heads", "kv_heads"}), IsEmpty());
  EXPECT_THAT(unwritten(parsed.options(), {"scale", "causal", "alignment", "q_offset", "k_offset", "precision"}),
              IsEmpty());
  EXPECT_THAT(unwritten(parsed.options().rope(), {}), IsEmpty());
  EXPECT_THAT(unwritten(parsed.outputs(), {}), IsEmpty());
  EXPECT_THAT(unwritten(parsed.outputs().top_k(), {}), IsEmpty());
  EXPECT_THAT(unwritten(parsed.outputs().diagnostics(), {}), IsEmpty());
  EXPECT_THAT(unwritten(parsed.outputs().heatmap(), {}), IsEmpty());

  // What is read back is written as the same bytes.
  auto pieces = std::make_shared<Pieces>(Pieces::OfSize(wire, 7));
  const auto call = DecodeAttendRequest(pieces->views(), pieces);
  ASSERT_THAT(call, IsOk());
  EXPECT_EQ(ToString(EncodeAttendRequest(call->request)), wire);
  EXPECT_EQ(call->request.options.masks[1].polarity, Polarity::kDrop);
  EXPECT_EQ(call->request.options.rope->key_positions, (std::vector<int64_t>{10}));
  EXPECT_EQ(call->request.outputs.scores, ScoreStage::kBiased);
  EXPECT_EQ(call->request.outputs.top_k->k, 5);
  EXPECT_EQ(call->request.outputs.top_k->rows, (std::vector<int64_t>{2, 0}));
  EXPECT_EQ(call->request.outputs.diagnostics->columns, 3);
  EXPECT_EQ(call->request.outputs.heatmap->cells, 99);
}

TEST(DecodeAttendResponseTest, RefusesWhatIsNoResponse) {
  const auto decode = [](const std::string& bytes) { return DecodeAttendResponse(Pieces(bytes).views()); };
  EXPECT_THAT(decode(""), IsOk());
  EXPECT_THAT(decode("\xff"), IsError(kInternal, "response"));
  EXPECT_THAT(decode(Field(1, Field(3, "12345"))), IsError(kInternal, "output: has 5 bytes"));
  EXPECT_THAT(decode(Field(2, Field(2, "\x02") + Field(3, "1234"))),
              IsError(kInternal, "lse: has 4 bytes for shape [2]"));
  EXPECT_THAT(decode(Field(3, Field(3, "1234") + Field(4, "1234"))), IsError(kInternal, "weights: has both"));
  EXPECT_THAT(decode(Field(1, Tag(1, 0) + "\x02" + Field(2, "\x02") + Field(3, "1234"))), IsOk());
  EXPECT_THAT(decode(Field(1, Tag(1, 0) + "\x04" + Field(3, "1234"))), IsError(kInternal, "output: has dtype 4"));
  EXPECT_THAT(decode(Field(1, Tag(1, 0) + "\x02" + Field(4, "1234"))),
              IsError(kInternal, "output: has values of dtype"));
  EXPECT_THAT(decode(Field(4, Tag(1, 0) + "\x63" + Field(3, "1234"))), IsError(kInternal, "scores: has dtype 99"));
  v1::AttendResponse huge;
  for (int i = 0; i < 4; ++i) huge.mutable_output()->add_shape(int64_t{1} << 40);
  EXPECT_THAT(decode(huge.SerializeAsString()), IsError(kInternal, "output: has 0 bytes"));
}

TEST(EncodeErrorDetailsTest, CarriesTheField) {
  google::rpc::Status status;
  ASSERT_TRUE(status.ParseFromString(EncodeErrorDetails(InvalidField("query.shape", "has rank 5; allowed: 2, 4"))));
  EXPECT_EQ(status.code(), 3);
  EXPECT_EQ(status.message(), "query.shape: has rank 5; allowed: 2, 4");
  ASSERT_EQ(status.details_size(), 1);
  EXPECT_EQ(status.details(0).type_url(), "type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest details;
  ASSERT_TRUE(status.details(0).UnpackTo(&details));
  ASSERT_EQ(details.field_violations_size(), 1);
  EXPECT_EQ(details.field_violations(0).field(), "query.shape");
  EXPECT_EQ(details.field_violations(0).description(), "has rank 5; allowed: 2, 4");
}

TEST(EncodeErrorDetailsTest, CarriesWhenToComeBack) {
  google::rpc::Status status;
  ASSERT_TRUE(status.ParseFromString(EncodeErrorDetails(Overloaded("busy", std::chrono::milliseconds(1250)))));
  EXPECT_EQ(status.code(), 8);
  ASSERT_EQ(status.details_size(), 1);
  EXPECT_EQ(status.details(0).type_url(), "type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::RetryInfo details;
  ASSERT_TRUE(status.details(0).UnpackTo(&details));
  EXPECT_EQ(details.retry_delay().seconds(), 1);
  EXPECT_EQ(details.retry_delay().nanos(), 250'000'000);
}

TEST(EncodeErrorDetailsTest, IsEmptyWithoutDetails) {
  EXPECT_EQ(EncodeErrorDetails(absl::OkStatus()), "");
  EXPECT_EQ(EncodeErrorDetails(absl::CancelledError("gone")), "");
}

}  // namespace
}  // namespace attnd::codec
