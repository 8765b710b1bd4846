#include "proto/skeleton.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using google::protobuf::Message;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnserved = absl::StatusCode::kUnimplemented;
const std::string kTwiceText = "occurs twice";

v1::Tensor SomeTensor(int64_t rows, bool as_values, int seed) {
  v1::Tensor tensor;
  tensor.set_dtype(v1::DATA_TYPE_FLOAT32);
  tensor.add_shape(rows);
  tensor.add_shape(4);
  std::vector<float> values(static_cast<size_t>(rows) * 4);
  std::iota(values.begin(), values.end(), static_cast<float>(seed));
  if (as_values) {
    tensor.mutable_values()->Add(values.begin(), values.end());
  } else {
    tensor.set_data(FloatBytes(values));
  }
  return tensor;
}

// Sets fields of every kind the contract has.
v1::AttendRequest RichRequest() {
  v1::AttendRequest request;
  *request.mutable_query() = SomeTensor(7, /*as_values=*/false, 1);
  *request.mutable_key() = SomeTensor(40, /*as_values=*/true, 1000);
  *request.mutable_value() = SomeTensor(1, /*as_values=*/false, -5);
  request.set_layout(v1::LAYOUT_TOKENS_FIRST);
  request.set_heads(2);
  auto& options = *request.mutable_options();
  options.set_scale(std::numeric_limits<float>::quiet_NaN());
  options.add_q_offset(-3);
  options.add_q_offset(int64_t{1} << 60);
  options.mutable_window()->set_left(0);
  options.add_masks()->set_polarity(v1::Mask::POLARITY_KEEP);
  *options.add_masks()->mutable_tensor() = SomeTensor(3, /*as_values=*/false, 9);
  *options.add_biases() = SomeTensor(2, /*as_values=*/true, 3);
  options.add_biases();
  options.mutable_documents()->add_key_ids(-1);
  request.mutable_outputs()->mutable_lse();
  return request;
}

v1::AttendStreamResponse RichResponse() {
  v1::AttendStreamResponse envelope;
  envelope.set_request_id("id");
  auto& response = *envelope.mutable_response();
  *response.mutable_output() = SomeTensor(5, /*as_values=*/true, 2);
  response.mutable_lse()->add_shape(0);
  response.mutable_top_k()->add_keys(300);
  response.mutable_diagnostics()->add_patterns("previous");
  response.mutable_diagnostics()->add_patterns("caf\xc3\xa9");
  for (const char* name : {"scores", "weights"}) {
    auto& tensor = *response.add_explain();
    tensor.set_name(name);
    *tensor.mutable_tensor() = SomeTensor(20, /*as_values=*/false, 0);
  }
  response.mutable_timings()->set_gather_seconds(0.25);
  response.mutable_counts()->set_flops(std::numeric_limits<int64_t>::max());
  return envelope;
}

// `pieces` taken apart, parsed and put together again, into a message like `type`.
absl::StatusOr<std::string> Reassemble(const Pieces& pieces, const Message& type) {
  const std::unique_ptr<Message> message(type.New());
  const auto skeleton = ParseWithoutPayloads(pieces.views(), {}, *message);
  if (!skeleton.ok()) return skeleton.status();
  Rehydrate(*skeleton, *message);
  return Canonical(*message);
}

// What the generated parser makes of `bytes`, if it accepts them.
std::optional<std::string> Generated(const std::string& bytes, const Message& type) {
  const std::unique_ptr<Message> message(type.New());
  if (!message->ParseFromString(bytes)) return std::nullopt;
  return Canonical(*message);
}

// Both accept, with equal results, or both refuse, ours with a field. Sub-messages that
// occur twice may be refused.
void ExpectLikeGenerated(const std::string& bytes, const Pieces& pieces, const Message& type) {
  const auto ours = Reassemble(pieces, type);
  const auto theirs = Generated(bytes, type);
  if (ours.ok()) {
    ASSERT_TRUE(theirs.has_value()) << "only we accept it";
    ASSERT_EQ(*ours, *theirs);
  } else {
    ASSERT_TRUE(FieldOf(ours.status()).has_value()) << ours.status();
    const bool twice = std::string(ours.status().message()).find(kTwiceText) != std::string::npos;
    ASSERT_TRUE(!theirs.has_value() || twice) << "only we refuse it: " << ours.status();
  }
}

template <typename M>
absl::StatusOr<Skeleton> Split(const std::string& bytes, const SplitOptions& options = {}) {
  M message;
  const Pieces pieces(bytes);
  return ParseWithoutPayloads(pieces.views(), options, message);
}

TEST(SkeletonTest, MeansWhatTheGeneratedParserMeansWhereverItIsCut) {
  const auto request = RichRequest();
  const auto response = RichResponse();
  for (const Message* message : std::initializer_list<const Message*>{&request, &response}) {
    const std::string bytes = message->SerializeAsString();
    const std::string expected = *Generated(bytes, *message);
    for (size_t size = 1; size <= 70; ++size) {
      EXPECT_EQ(*Reassemble(Pieces::OfSize(bytes, size), *message), expected) << "pieces of " << size;
    }
    for (size_t cut = 0; cut <= bytes.size(); ++cut) {
      Pieces pieces(bytes.substr(0, cut));
      pieces.Add(bytes.substr(cut));
      EXPECT_EQ(*Reassemble(pieces, *message), expected) << "cut at " << cut;
    }
  }
}

TEST(SkeletonTest, RefusesOrAcceptsEveryTruncationAsTheGeneratedParserDoes) {
  const auto request = RichRequest();
  const std::string bytes = request.SerializeAsString();
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    ExpectLikeGenerated(part, Pieces(part), request);
    ExpectLikeGenerated(part, Pieces::OfSize(part, 5), request);
  }
}

TEST(SkeletonTest, AgreesWithTheGeneratedParserOnDamagedMessages) {
  std::mt19937 random(7);
  const auto request = RichRequest();
  const auto response = RichResponse();
  google::protobuf::LogSilencer quiet;
  for (int round = 0; round < 20000; ++round) {
    const Message& message = round % 2 == 0 ? static_cast<const Message&>(request) : response;
    std::string bytes = message.SerializeAsString();
    for (uint32_t i = 0; i <= random() % 4; ++i) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, random() % 9);
          break;
        case 2:
          bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 40));
          break;
        default:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      }
      if (bytes.empty()) break;
    }
    ASSERT_NO_FATAL_FAILURE(ExpectLikeGenerated(bytes, Pieces::OfSize(bytes, 1 + random() % 90), message))
        << "round " << round;
  }
}

TEST(SkeletonTest, LeavesPayloadsWhereTheyAre) {
  v1::AttendRequest request;
  request.mutable_query()->set_data(std::string(100'000, 'q'));
  request.mutable_key()->mutable_values()->Resize(50'000, 1.0F);
  const std::string bytes = request.SerializeAsString();
  const Pieces pieces = Pieces::OfSize(bytes, 65536);
  v1::AttendRequest parsed;
  const auto skeleton = ParseWithoutPayloads(pieces.views(), {}, parsed);
  ASSERT_THAT(skeleton, IsOk());
  EXPECT_LT(skeleton->bytes.size(), 40U);
  EXPECT_TRUE(skeleton->copies.empty());
  ASSERT_EQ(skeleton->payloads.size(), 2U);
  EXPECT_EQ(PayloadOf(*skeleton, parsed.query()).data.size(), 100'000U);
  EXPECT_EQ(PayloadOf(*skeleton, parsed.query()).data.pieces().size(), 2U);
  EXPECT_EQ(PayloadOf(*skeleton, parsed.key()).values.size(), 200'000U);
  const auto* first = reinterpret_cast<const char*>(PayloadOf(*skeleton, parsed.query()).data.pieces()[0].data());
  EXPECT_TRUE(first > pieces.views()[0].data() && first < pieces.views()[0].data() + 65536);
}

TEST(SkeletonTest, AcceptsAnEmptyMessage) {
  v1::AttendRequest parsed;
  const std::vector<std::string_view> empty_pieces = {"", ""};
  EXPECT_THAT(ParseWithoutPayloads({}, {}, parsed), IsOk());
  EXPECT_THAT(ParseWithoutPayloads(empty_pieces, {}, parsed), IsOk());
  EXPECT_EQ(parsed.ByteSizeLong(), 0U);
}

TEST(SkeletonTest, KeepsTheLastOfRepeatedData) {
  const std::string bytes = Field(1, Field(3, "first") + Field(3, "second"));
  ExpectLikeGenerated(bytes, Pieces(bytes), v1::AttendRequest());
  v1::AttendRequest parsed;
  const Pieces pieces(bytes + Field(2, Field(3, "gone") + Field(3, "")));
  const auto skeleton = ParseWithoutPayloads(pieces.views(), {}, parsed);
  ASSERT_THAT(skeleton, IsOk());
  EXPECT_EQ(ToString(PayloadOf(*skeleton, parsed.query()).data), "second");
  EXPECT_TRUE(PayloadOf(*skeleton, parsed.key()).data.empty());
}

TEST(SkeletonTest, JoinsPackedAndSingleValues) {
  const std::vector<float> many(50, 7.0F);
  const float one = 1.5F;
  const std::string single = Tag(4, 5) + FloatBytes({&one, 1});
  const std::string bytes =
      Field(1, single + Field(4, FloatBytes(many)) + single + single + Field(4, "") + Field(4, FloatBytes({&one, 1})));
  for (size_t size = 1; size < 12; ++size) {
    ExpectLikeGenerated(bytes, Pieces::OfSize(bytes, size), v1::AttendRequest());
  }
}

TEST(SkeletonTest, DoesNotGrowWithTheNumberOfValueChunks) {
  const float one = 1;
  std::string values;
  for (int i = 0; i < 100'000; ++i) {
    values += Field(4, FloatBytes({&one, 1}));
    if (i % 3 == 0) values += Tag(4, 5) + FloatBytes({&one, 1});
  }
  const auto skeleton = Split<v1::AttendRequest>(Field(1, values));
  ASSERT_THAT(skeleton, IsOk());
  const Fragments& fragments = skeleton->payloads.at(0).values;
  EXPECT_EQ(fragments.size(), 4U * (100'000 + 33'334));
  // Copied together, in a few blocks.
  EXPECT_LT(fragments.pieces().size(), 20U);
  EXPECT_LT(skeleton->copies.size(), 20U);
}

TEST(SkeletonTest, RefusesASubMessageThatOccursTwice) {
  EXPECT_THAT(Split<v1::AttendRequest>(Field(1, "") + Field(1, "")), NamesField(kInvalid, "query"));
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, Field(10, Field(1, "") + Field(1, "")))),
              NamesField(kInvalid, "options.masks[0].tensor"));
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, Field(10, "") + Field(10, ""))), IsOk());
}

TEST(SkeletonTest, NamesThePlaceOfMalformedBytes) {
  struct Case {
    std::string bytes;
    std::string field;
    std::string problem;
  };
  const std::string eleven(11, '\xff');
  const Case cases[] = {
      {Field(1, Tag(3, 2) + Varint(4096) + std::string(100, 'x')), "query.data", "claims 4096 bytes, 100 are left"},
      {Field(1, Field(4, "12345")), "query.values", "5 bytes"},
      {Field(1, Tag(4, 5) + "abc"), "query.values", "claims 4 bytes, 3 are left"},
      {Field(1, Tag(1, 0)), "query.dtype", "cut off"},
      {Field(1, Tag(1, 0) + eleven), "query.dtype", "more than 10 bytes"},
      {Field(7, Tag(1, 5) + "ab"), "options.scale", "claims 4 bytes, 2 are left"},
      {Field(7, Field(10, "") + Field(10, Tag(1, 2) + Varint(9))), "options.masks[1].tensor", "claims 9 bytes"},
      {Tag(2, 2) + Varint(uint64_t{0x7fffffff}), "key", "claims 2147483647 bytes, 0 are left"},
      {Tag(2, 2) + Varint(uint64_t{1} << 34), "key", "claims 17179869184 bytes"},
      {Tag(2, 2) + Varint(~uint64_t{0}), "key", "more than 5 bytes"},
      {Tag(2, 2), "key", "cut off"},
      {Tag(99, 2) + Varint(3) + "ab", "request", "unknown field 99 claims 3 bytes, 2 are left"},
      {Field(1, Tag(99, 1) + "1234567"), "query", "unknown field 99 claims 8 bytes"},
      {Tag(0, 0) + "1", "request", "numbered 0"},
      {Tag(5, 6), "request", "wire type 6"},
      {Tag(5, 7), "request", "wire type 7"},
      {Tag(5, 4), "request", "not begun"},
      {Field(1, Tag(1, 4)), "query", "not begun"},
      {Tag(5, 3), "request", "does not end"},
      {Tag(5, 3) + Tag(6, 4), "request", "not begun"},
      {Field(1, Tag(5, 3)) + Tag(5, 4), "query", "does not end"},
      {Field(7, Field(4, "\xff")), "options.q_offset", "malformed number"},
      {eleven, "request", "more than 5 bytes"},
      {"\xff", "request", "cut off"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Split<v1::AttendRequest>(c.bytes), NamesField(kInvalid, c.field)) << c.problem;
    EXPECT_THAT(Split<v1::AttendRequest>(c.bytes), IsError(kInvalid, c.problem)) << c.field;
    EXPECT_EQ(Generated(c.bytes, v1::AttendRequest()), std::nullopt) << c.field << " " << c.problem;
  }
}

TEST(SkeletonTest, NamesTheStringThatIsNotUtf8) {
  google::protobuf::LogSilencer quiet;
  const std::string bytes = Field(7, Field(1, "good")) + Field(7, Field(1, "\xff"));
  EXPECT_THAT(Split<v1::AttendResponse>(bytes), NamesField(kInvalid, "explain[1].name"));
  EXPECT_THAT(Split<v1::AttendResponse>(Field(10, "\xc3")), NamesField(kInvalid, "numerics_id"));
}

TEST(SkeletonTest, SkipsUnknownFields) {
  const std::string unknown = Tag(77, 0) + std::string("\xff\xff\x7f") + Tag(78, 1) + "12345678" + Tag(79, 5) + "1234" +
                              Field(80, "text") + Tag(81, 3) + Tag(1, 0) + "\x05" + Tag(82, 3) + Field(3, "x") +
                              Tag(82, 4) + Tag(81, 4);
  const std::string bytes = unknown + Field(1, unknown + Field(3, "data")) + Field(7, Field(10, unknown));
  ASSERT_TRUE(Generated(bytes, v1::AttendRequest()).has_value());
  for (size_t size = 1; size < 20; ++size) {
    ExpectLikeGenerated(bytes, Pieces::OfSize(bytes, size), v1::AttendRequest());
  }
}

TEST(SkeletonTest, TreatsAnUnexpectedWireTypeAsUnknown) {
  const std::string bytes =
      Tag(1, 0) + "\x05" + Field(4, "x") + Tag(7, 5) + "1234" +
      Field(2, Tag(3, 0) + "\x05" + Tag(4, 1) + "12345678" + Tag(2, 0) + "\x05" + Field(2, "\x06"));
  ASSERT_TRUE(Generated(bytes, v1::AttendRequest()).has_value());
  ExpectLikeGenerated(bytes, Pieces(bytes), v1::AttendRequest());
}

TEST(SkeletonTest, LimitsNestingAsTheGeneratedParserDoes) {
  for (const int depth : {99, 100, 101, 100'000}) {
    std::string groups;
    for (int i = 0; i < depth; ++i) groups += Tag(9, 3);
    for (int i = 0; i < depth; ++i) groups += Tag(9, 4);
    ExpectLikeGenerated(groups, Pieces(groups), v1::AttendRequest());
    const std::string inner = Field(1, groups);
    ExpectLikeGenerated(inner, Pieces(inner), v1::AttendRequest());
    EXPECT_EQ(Split<v1::AttendRequest>(groups).ok(), depth <= 100);
  }
}

TEST(SkeletonTest, BoundsTheSmallFields) {
  v1::AttendRequest request;
  request.mutable_query()->set_data(std::string(5000, 'q'));
  for (int i = 0; i < 1000; ++i) request.mutable_options()->add_q_offset(i);
  const std::string bytes = request.SerializeAsString();
  EXPECT_THAT(Split<v1::AttendRequest>(bytes, {.max_skeleton_bytes = 3000}), IsOk());
  EXPECT_THAT(Split<v1::AttendRequest>(bytes, {.max_skeleton_bytes = 1000}), NamesField(kInvalid, "options.q_offset"));
}

TEST(SkeletonTest, RefusesUnservedFieldsThatAreSet) {
  const auto& options = *v1::AttentionOptions::descriptor();
  const FieldSet unserved = {options.FindFieldByName("masks"), options.FindFieldByName("q_lengths"),
                             options.FindFieldByName("softcap")};
  const SplitOptions split{.unserved = &unserved};
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, Field(10, "")), split), NamesField(kUnserved, "options.masks"));
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, Field(7, "\x05")), split), NamesField(kUnserved, "options.q_lengths"));
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, Tag(7, 0) + "\x05"), split),
              NamesField(kUnserved, "options.q_lengths"));
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, Field(7, "")), split), IsOk());
  const std::string softcap = Tag(13, 5) + std::string(4, '\0');
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, softcap), split), NamesField(kUnserved, "options.softcap"));
  // Malformed bytes weigh more.
  EXPECT_THAT(Split<v1::AttendRequest>(Field(7, softcap) + "\xff", split), NamesField(kInvalid, "request"));
}

}  // namespace
}  // namespace attnd::codec
