#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <vector>

#include "client/attnctl/results.h"
#include "client/attnctl/table.h"
#include "tests/support/status_matchers.h"

namespace attnd::attnctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A tensor of 0, 1, 2, ...
codec::ReplyTensor Counting(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  codec::ReplyTensor tensor{shape, std::vector<float>(static_cast<size_t>(count))};
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
  reply.output = {{0, INT64_MAX, INT64_MAX, INT64_MAX}, {}};
  EXPECT_THAT(DescribeReply(Case(), reply), HasSubstr("no values\n"));
}

TEST(DescribeReplyTest, PrintsLseAndWeightsOnlyIfPresent) {
  codec::AttendReply reply;
  reply.output = Counting({1, 2});
  EXPECT_THAT(DescribeReply(Case(), reply), Not(HasSubstr("lse")));
  reply.lse = Counting({1, 2, 1});
  reply.has_lse = true;
  reply.weights = Counting({1, 1, 1, 2});
  reply.has_weights = true;
  const std::string text = DescribeReply(Case(), reply);
  EXPECT_THAT(text, HasSubstr("lse [1, 2, 1]\n  0.000000\n  1.000000\n"));
  EXPECT_THAT(text, HasSubstr("weights [1, 1, 1, 2]\n  0.000000  1.000000\n"));
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
