#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "client/attnctl/examples.h"
#include "client/attnctl/results.h"
#include "client/attnctl/table.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A tensor of 0, 1, 2, ...
codec::ReplyTensor Counting(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  codec::ReplyTensor tensor{DataType::kFloat32, shape, std::vector<float>(static_cast<size_t>(count))};
  std::iota(tensor.values.begin(), tensor.values.end(), 0.0F);
  return tensor;
}

TEST(FormatMatrixTest, AlignsNumbersAndLabels) {
  const std::vector<float> values = {1, -2.5F, 100, 0.125F};
  EXPECT_EQ(FormatMatrix({values.data(), 2, 2, 2}, {"a", "row"}, {"x", "y"}),
            "                x           y\n"
            "  a      1.000000   -2.500000\n"
            "  row  100.000000    0.125000\n");
  EXPECT_EQ(FormatMatrix({values.data(), 2, 1, 2}, {}, {}),
            "    1.000000\n"
            "  100.000000\n");
}

TEST(FormatMatrixTest, KeepsTheDigitsOfLargeAndSmallNumbers) {
  const std::vector<float> small = {1.5e-7F, 0};
  EXPECT_EQ(FormatMatrix({small.data(), 1, 2, 2}, {}, {}), "  1.500000e-07  0.000000e+00\n");
  const std::vector<float> large = {2.5e10F, 1};
  EXPECT_EQ(FormatMatrix({large.data(), 1, 2, 2}, {}, {}), "  2.500000e+10  1.000000e+00\n");
}

TEST(FormatMatrixTest, ShowsValuesThatAreNotNumbers) {
  const std::vector<float> values = {kNan, kInf, -kInf};
  EXPECT_EQ(FormatMatrix({values.data(), 1, 3, 3}, {}, {}), "   nan   inf  -inf\n");
}

TEST(SummarizeTest, SaysRangeMeanAndFirstValues) {
  EXPECT_EQ(Summarize(std::vector<float>{1, 2, 3, 4, 5, 6, 7}),
            "min 1, mean 4, max 7 over 7 values; first 1 2 3 4 5 6 ...");
  EXPECT_EQ(Summarize(std::vector<float>{2, kNan}), "min 2, mean 2, max 2 over 1 values, 1 not finite; first 2 nan");
  EXPECT_EQ(Summarize(std::vector<float>{kInf}), "1 not finite; first inf");
  EXPECT_EQ(Summarize({}), "no values");
}

TEST(DescribeReplyTest, PrintsATablePerBatchEntryAndHead) {
  codec::AttendReply reply;
  reply.output = Counting({2, 2, 1, 2});
  EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("output [2, 2, 1, 2]\n"
                                                      "batch 0, head 0\n  0.000000  1.000000\n"
                                                      "batch 0, head 1\n  2.000000  3.000000\n"
                                                      "batch 1, head 0\n  4.000000  5.000000\n"
                                                      "batch 1, head 1\n  6.000000  7.000000\n"));
}

TEST(DescribeReplyTest, GathersAHeadsRowsFromTokensFirst) {
  Case input;
  input.request.layout = Layout::kTokensFirst;
  input.request.heads = 2;
  codec::AttendReply reply;
  const char* tables =
      "batch 0, head 0\n  0.000000  1.000000\n  4.000000  5.000000\n"
      "batch 0, head 1\n  2.000000  3.000000\n  6.000000  7.000000\n";
  reply.output = Counting({1, 2, 2, 2});
  EXPECT_THAT(DescribeReply(input, reply), HasSubstr(tables));
  reply.output = Counting({1, 2, 4});
  EXPECT_THAT(DescribeReply(input, reply), HasSubstr(tables));
}

TEST(DescribeReplyTest, SummarizesLargeAndEmptyResults) {
  codec::AttendReply reply;
  reply.output = Counting({1, 1, 100, 64});
  EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("output [1, 1, 100, 64]\n  min 0, mean 3199.5, max 6399 over"));
  reply.output = Counting({1, 1, 0, 64});
  EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("output [1, 1, 0, 64]\n  no values\n"));
  reply.output = {DataType::kFloat32, {0, INT64_MAX, INT64_MAX, INT64_MAX}, {}};
  EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("no values\n"));
}

TEST(DescribeReplyTest, PrintsLseAndWeightsOnlyIfPresent) {
  codec::AttendReply reply;
  reply.output = Counting({1, 2});
  EXPECT_THAT(DescribeReply(Case(), reply), Not(HasSubstr("lse")));
  reply.lse = Counting({1, 2, 1});
  reply.weights = Counting({1, 1, 1, 2});
  const std::string text = DescribeReply(Case(), reply);
  EXPECT_THAT(text, HasSubstr("lse [1, 2, 1]\n  0.000000\n  1.000000\n"));
  EXPECT_THAT(text, HasSubstr("weights [1, 1, 1, 2]\n  0.000000  1.000000\n"));
}

TEST(DescribeReplyTest, SaysWhatTheScoresAndWeightsAre) {
  Case input;
  input.tokens = {"a", "b"};
  const std::vector<float> query = {1, 2};
  input.request.query = {DataType::kFloat32, {2, 1}, Fragments(std::as_bytes(std::span(query)))};
  input.request.key = input.request.value = input.request.query;
  input.request.outputs.scores = ScoreStage::kBiased;
  input.request.outputs.weights = WeightsOutput{.mean = true, .rows = {1}};
  codec::AttendReply reply;
  reply.output = Counting({2, 1});
  reply.scores = Counting({1, 1, 2, 2});
  reply.weights = Counting({1, 1, 1, 2});
  const std::string text = DescribeReply(input, reply);
  EXPECT_THAT(text, HasSubstr("scores (biased) [1, 1, 2, 2]\n            a         b\n  a  0.000000  1.000000\n"));
  EXPECT_THAT(text, HasSubstr("weights (mean over heads) [1, 1, 1, 2]\n            a         b\n  b  0.000000"));
}

TEST(DescribeReplyTest, NamesKeys) {
  Case input = Example(CaseKind::kAttend, "two-tokens");
  input.request.outputs.top_k = TopKOutput{.k = 2, .rows = {}};
  codec::AttendReply reply;
  reply.output = Counting({1, 2});
  reply.top_k = {Counting({1, 1, 1, 2}), {1, 0}};
  const std::string text = DescribeReply(input, reply, {{"key", Counting({2, 2})}});
  EXPECT_THAT(text, HasSubstr("  cat  zeros 0.000, sat 1.000\n"));
  EXPECT_THAT(text, HasSubstr("key (projected) [2, 2]\n  sat    0.000000  1.000000\n  zeros  2.000000"));
}

TEST(DescribeReplyTest, PrintsATablePerPackedSequence) {
  Case input;
  AttentionRequest& request = input.request;
  request.layout = Layout::kPacked;
  request.query.shape = {3, 2, 1};
  request.options.q_lengths = {1, 2};
  request.options.kv_lengths = {2, 1};
  codec::AttendReply reply;
  reply.output = Counting({3, 2, 1});
  reply.weights = Counting({8});
  reply.lse = Counting({2, 3});
  const std::string text = DescribeReply(input, reply);
  EXPECT_THAT(text, HasSubstr("output [3, 2, 1]\n"
                              "sequence 0, head 0\n  0.000000\n"
                              "sequence 0, head 1\n  1.000000\n"
                              "sequence 1, head 0\n  2.000000\n  4.000000\n"
                              "sequence 1, head 1\n  3.000000\n  5.000000\n"));
  EXPECT_THAT(text, HasSubstr("weights [8]\n"
                              "sequence 0, head 0\n  0.000000  1.000000\n"
                              "sequence 0, head 1\n  2.000000  3.000000\n"
                              "sequence 1, head 0\n  4.000000\n  5.000000\n"
                              "sequence 1, head 1\n  6.000000\n  7.000000\n"));
  EXPECT_THAT(text, HasSubstr("lse [2, 3]\n  0.000000  1.000000  2.000000\n"));

  request.outputs.weights = WeightsOutput{.mean = true, .rows = {2}};
  reply.weights = Counting({1});
  EXPECT_THAT(DescribeReply(input, reply), HasSubstr("sequence 1\n  0.000000\n"));
  reply.weights = Counting({5});
  EXPECT_THAT(DescribeReply(input, reply), HasSubstr("[5]\n  min 0"));
}

TEST(WriteReplyTest, KeepsTheTypeOfEachResult) {
  codec::AttendReply reply;
  reply.output = {DataType::kBfloat16, {2}, {1, -2}};
  reply.lse = {DataType::kFloat32, {1}, {0.1F}};
  reply.scores = {DataType::kFloat16, {2}, {1, -kInf}};
  const std::string path = TempPath("out.safetensors");
  ASSERT_THAT(WriteReply(path, reply), IsOk());
  const auto file = Safetensors::Read(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ(file->Find("output")->dtype, StoredType::kBf16);
  EXPECT_EQ(file->Find("lse")->dtype, StoredType::kF32);
  EXPECT_EQ(file->Find("weights"), nullptr);
  const StoredTensor& scores = *file->Find("scores");
  EXPECT_EQ(scores.dtype, StoredType::kF16);
  EXPECT_THAT(scores.bytes, ElementsAre(std::byte{0x00}, std::byte{0x3C}, std::byte{0x00}, std::byte{0xFC}));
}

TEST(WriteReplyTest, AnNpyFileHoldsTheOutputAlone) {
  codec::AttendReply reply;
  reply.output = {DataType::kFloat16, {2}, {1, -2}};
  ASSERT_THAT(WriteReply(TempPath("out.npy"), reply), IsOk());
  const auto array = ReadNpy(TempPath("out.npy"));
  ASSERT_THAT(array, IsOk());
  EXPECT_EQ(array->dtype, StoredType::kF16);
  EXPECT_THAT(CheckOutputPath("out.npy", {}), IsOk());
  AttentionOutputs outputs;
  outputs.dtype = DataType::kBfloat16;
  EXPECT_THAT(CheckOutputPath("out.npy", outputs), IsError(absl::StatusCode::kInvalidArgument, "cannot hold bfloat16"));
  EXPECT_THAT(CheckOutputPath("out.safetensors", outputs), IsOk());
  outputs = {.scores = ScoreStage::kScaled};
  EXPECT_THAT(CheckOutputPath("out.npy", outputs), IsError(absl::StatusCode::kInvalidArgument, "holds one array"));
}

TEST(DescribeReplyTest, PointsOutEmptyAndNonFiniteRows) {
  codec::AttendReply reply;
  reply.output = Counting({1, 2});
  EXPECT_THAT(DescribeReply(Case(), reply), Not(HasSubstr("rows")));
  reply.empty_rows = 3;
  reply.non_finite_rows = 1;
  EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("rows without a visible key 3, rows with NaN or Inf 1"));
}

TEST(DescribeReplyTest, SurvivesRanksItDoesNotKnow) {
  codec::AttendReply reply;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {3}, {1, 2, 3}, {1, 1, 1, 1, 1}}) {
    reply.output = Counting(shape);
    EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("first 0"));
  }
}

}  // namespace
}  // namespace attnd::attnctl
