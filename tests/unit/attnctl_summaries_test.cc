// Asking for top-k, diagnostics and heatmaps, and what becomes of the answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/attnctl/case.h"
#include "client/attnctl/results.h"
#include "client/attnctl/summaries.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Texts = std::map<std::string, std::string>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

absl::StatusOr<Case> ExampleWith(const Texts& flags, CaseKind kind = CaseKind::kAttend) {
  CaseSource source{.kind = kind, .example = "cat-sat"};
  for (const auto& [name, text] : flags) source.flags[name] = {text};
  if (auto usage = CheckUsage(source); !usage.ok()) return usage.status();
  return LoadCase(source);
}

AttentionOutputs OutputsWith(const Texts& flags, CaseKind kind = CaseKind::kAttend) {
  const auto loaded = ExampleWith(flags, kind);
  EXPECT_THAT(loaded, IsOk());
  if (!loaded.ok()) return {};
  return kind == CaseKind::kAttend ? loaded->request.outputs : loaded->multihead.request.outputs;
}

codec::ReplyTensor Tensor(std::vector<int64_t> shape, std::vector<float> values) {
  return {DataType::kFloat32, std::move(shape), std::move(values)};
}

// Statistics whose values tell them apart: 0.1, 0.2, ..., plus one for each element.
codec::StatisticsReply Statistics(const std::vector<int64_t>& shape, int64_t count) {
  codec::StatisticsReply statistics;
  for (size_t i = 0; i < statistics.size(); ++i) {
    statistics[i].shape = shape;
    for (int64_t n = 0; n < count; ++n) {
      statistics[i].values.push_back(static_cast<float>(n) + 0.1F * static_cast<float>(i + 1));
    }
  }
  return statistics;
}

codec::DiagnosticsReply TwoHeads() {
  codec::DiagnosticsReply diagnostics;
  diagnostics.heads = Statistics({1, 2}, 2);
  diagnostics.heads[0].values[1] = kNan;
  diagnostics.column_mass = Tensor({1, 2, 2}, {0.83F, 0.05F, 0, 0});
  diagnostics.column_keys = {0, 2, -1, -1};
  diagnostics.patterns = {"sink", "empty"};
  diagnostics.pattern_scores = Tensor({1, 2}, {0.83F, 0});
  return diagnostics;
}

TEST(SummaryOptionsTest, AskForWhatTheyName) {
  for (const CaseKind kind : {CaseKind::kAttend, CaseKind::kMultiHead}) {
    const AttentionOutputs outputs = OutputsWith({{"outputs", "top_k,diagnostics,heatmap,lse"},
                                                  {"top_k", "3"},
                                                  {"top_k_rows", "2,0"},
                                                  {"diagnostics_rows", ""},
                                                  {"diagnostics_first_keys", "1"},
                                                  {"diagnostics_window", "0"},
                                                  {"diagnostics_columns", "7"},
                                                  {"heatmap_cells", "64"}},
                                                 kind);
    EXPECT_TRUE(outputs.lse);
    ASSERT_TRUE(outputs.top_k.has_value());
    EXPECT_EQ(outputs.top_k->k, 3);
    EXPECT_THAT(outputs.top_k->rows, ElementsAre(2, 0));
    ASSERT_TRUE(outputs.diagnostics.has_value());
    EXPECT_TRUE(outputs.diagnostics->rows);
    EXPECT_EQ(outputs.diagnostics->first_keys, 1);
    EXPECT_EQ(outputs.diagnostics->window, 0);
    EXPECT_EQ(outputs.diagnostics->columns, 7);
    ASSERT_TRUE(outputs.heatmap.has_value());
    EXPECT_EQ(outputs.heatmap->cells, 64);
  }
}

TEST(SummaryOptionsTest, LeaveTheContractsDefaultsToTheServer) {
  const AttentionOutputs outputs = OutputsWith({{"outputs", "diagnostics,heatmap"}});
  EXPECT_FALSE(outputs.top_k.has_value());
  EXPECT_FALSE(outputs.diagnostics->rows);
  EXPECT_EQ(outputs.diagnostics->first_keys, std::nullopt);
  EXPECT_EQ(outputs.diagnostics->window, std::nullopt);
  EXPECT_EQ(outputs.diagnostics->columns, std::nullopt);
  EXPECT_EQ(outputs.heatmap->cells, std::nullopt);
}

TEST(SummaryOptionsTest, TopKAsksForItself) {
  const AttentionOutputs outputs = OutputsWith({{"outputs", "lse"}, {"top_k", "2"}});
  ASSERT_TRUE(outputs.top_k.has_value());
  EXPECT_EQ(outputs.top_k->k, 2);
  EXPECT_THAT(outputs.top_k->rows, IsEmpty());
  EXPECT_TRUE(outputs.lse);
}

TEST(SummaryOptionsTest, ErrorsSayWhatIsMissing) {
  const std::vector<std::pair<Texts, std::string>> cases = {
      {{{"outputs", "top_k"}}, "--top-k: is needed with top_k in outputs"},
      {{{"top_k", "0"}}, "--top-k: '0' is not an integer >= 1"},
      {{{"top_k_rows", "1"}}, "--top-k-rows: top_k is not asked for"},
      {{{"diagnostics_rows", "true"}}, "--diagnostics-rows: outputs does not ask for diagnostics"},
      {{{"diagnostics_first_keys", "1"}}, "--diagnostics-first-keys: outputs does not ask for diagnostics"},
      {{{"diagnostics_window", "1"}}, "--diagnostics-window: outputs does not ask for diagnostics"},
      {{{"diagnostics_columns", "1"}}, "--diagnostics-columns: outputs does not ask for diagnostics"},
      {{{"outputs", "diagnostics"}, {"diagnostics_window", "-1"}}, "--diagnostics-window: '-1' is not an integer >= 0"},
      {{{"heatmap_cells", "8"}}, "--heatmap-cells: outputs does not ask for heatmap"},
      {{{"outputs", "topk"}}, "--outputs: 'topk' is not lse, weights, scores, top_k, diagnostics or heatmap"},
  };
  for (const auto& [flags, message] : cases) EXPECT_THAT(ExampleWith(flags), IsError(kInvalid, message));
  EXPECT_THAT(ExampleWith({{"outputs", "topk"}}, CaseKind::kMultiHead), IsError(kInvalid, "heatmap or explain"));
}

TEST(SummaryOptionsTest, AnNpyFileHasNoPlaceForThem) {
  for (const auto& outputs :
       {AttentionOutputs{.top_k = TopKOutput{.k = 1, .rows = {}}}, AttentionOutputs{.diagnostics = DiagnosticsOutput()},
        AttentionOutputs{.heatmap = HeatmapOutput()}}) {
    EXPECT_THAT(CheckOutputPath("out.npy", outputs), IsError(kInvalid, "holds one array"));
    EXPECT_THAT(CheckOutputPath("out.safetensors", outputs), IsOk());
  }
}

TEST(DescribeTopKTest, NamesTokensOrNumbersThem) {
  codec::TopKReply top_k{Tensor({1, 1, 2, 2}, {0.497F, 0.301F, 0.6F, 0}), {1, 2, 0, -1}};
  EXPECT_EQ(DescribeTopK(top_k, {.k = 2, .rows = {1, 0}}, {"The", "cat", "sat"}, {"The", "cat", "sat"}),
            "top 2 of each row [1, 1, 2, 2]\n"
            "  cat  cat 0.497, sat 0.301\n"
            "  The  The 0.600\n");
  EXPECT_EQ(DescribeTopK(top_k, {.k = 2, .rows = {}}, {}, {}),
            "top 2 of each row [1, 1, 2, 2]\n"
            "  0  1: 0.497, 2: 0.301\n"
            "  1  0: 0.600\n");
}

TEST(DescribeTopKTest, KeysHaveNamesOfTheirOwn) {
  const codec::TopKReply top_k{Tensor({1, 1, 1, 2}, {0.6F, 0.4F}), {0, 1}};
  EXPECT_EQ(DescribeTopK(top_k, {.k = 2, .rows = {}}, {"cat"}, {"sat", "zeros"}),
            "top 2 of each row [1, 1, 1, 2]\n"
            "  cat  sat 0.600, zeros 0.400\n");
}

TEST(DescribeTopKTest, SaysWhatRowsWithoutWeightsAre) {
  codec::TopKReply top_k{Tensor({2, 1, 1}, {kNan, 0}), {-1, -1}};
  EXPECT_EQ(DescribeTopK(top_k, {.k = 1, .rows = {}}, {}, {}),
            "top 1 of each row [2, 1, 1]\n"
            "head 0\n  0  nan\n"
            "head 1\n  0  no visible key\n");
}

TEST(DescribeTopKTest, SummarizesWhatIsLargeOrOdd) {
  codec::TopKReply top_k{Tensor({1, 1, 257, 1}, std::vector<float>(257, 0.5F)), std::vector<int64_t>(257, 0)};
  EXPECT_THAT(DescribeTopK(top_k, {.k = 1, .rows = {}}, {}, {}),
              HasSubstr("min 0.5, mean 0.5, max 0.5 over 257 values"));
  top_k = {Tensor({1, 1, 1, 1}, {0.5F}), {}};
  EXPECT_THAT(DescribeTopK(top_k, {.k = 1, .rows = {}}, {}, {}), HasSubstr("over 1 values"));
  top_k = {Tensor({1, 1, 0, 1}, {}), {}};
  EXPECT_THAT(DescribeTopK(top_k, {.k = 1, .rows = {}}, {}, {}), HasSubstr("no values"));
}

TEST(DescribeDiagnosticsTest, IsATablePerBatchEntry) {
  EXPECT_EQ(
      DescribeDiagnostics(TwoHeads(), {.rows = false, .window = 2}, {"The", "cat", "sat"}, {"The", "cat", "sat"}),
      "diagnostics [1, 2]\n"
      "  head  pattern  score  entropy  evenness  distance  largest   self  previous   next  first 4  window 2  "
      "strongest keys\n"
      "     0  sink     0.830    0.100     0.200     0.300    0.400  0.500     0.600  0.700    0.800     0.900  "
      "0 The (.83), 2 sat (.05)\n"
      "     1  empty    0.000      nan     1.200     1.300    1.400  1.500     1.600  1.700    1.800     1.900\n");
  EXPECT_THAT(DescribeDiagnostics(TwoHeads(), {}, {}, {}), HasSubstr("0 (.83), 2 (.05)\n"));

  codec::DiagnosticsReply two = TwoHeads();
  for (auto& tensor : two.heads) tensor.shape = {2, 1};
  two.pattern_scores.shape = {2, 1};
  EXPECT_THAT(DescribeDiagnostics(two, {}, {}, {}), HasSubstr("batch 1\n  head  pattern"));
}

TEST(DescribeDiagnosticsTest, KeysHaveNamesOfTheirOwn) {
  codec::DiagnosticsReply diagnostics = TwoHeads();
  diagnostics.rows = Statistics({1, 2, 1}, 2);
  const std::string text = DescribeDiagnostics(diagnostics, {.rows = true}, {"cat"}, {"sat", "on", "zeros"});
  EXPECT_THAT(text, HasSubstr("0 sat (.83), 2 zeros (.05)\n"));
  EXPECT_THAT(text, HasSubstr("\n  cat    0.100"));
}

TEST(DescribeDiagnosticsTest, HasRowsWhereTheyAreFew) {
  codec::DiagnosticsReply diagnostics = TwoHeads();
  diagnostics.rows = Statistics({1, 2, 2}, 4);
  EXPECT_THAT(DescribeDiagnostics(diagnostics, {.rows = true}, {"The", "cat", "sat"}, {"The", "cat", "sat"}),
              HasSubstr("diagnostics of rows [1, 2, 2]\n"
                        "head 0\n"
                        "  row  entropy  evenness  distance  largest   self  previous   next  first 4  window 4\n"
                        "  The    0.100     0.200     0.300    0.400  0.500     0.600  0.700    0.800     0.900\n"
                        "  cat    1.100"));
  diagnostics.rows = Statistics({1, 2, 40}, 80);
  EXPECT_THAT(DescribeDiagnostics(diagnostics, {.rows = true}, {}, {}),
              HasSubstr("diagnostics of rows [1, 2, 40]\n  entropy        min 0.1, "));
}

TEST(DescribeDiagnosticsTest, CountsPatternsOfManyHeads) {
  codec::DiagnosticsReply diagnostics;
  diagnostics.heads = Statistics({2, 200}, 400);
  diagnostics.patterns.assign(399, "sink");
  diagnostics.patterns.emplace_back("mixed");
  diagnostics.pattern_scores = Tensor({2, 200}, std::vector<float>(400, 1));
  const std::string text = DescribeDiagnostics(diagnostics, {}, {}, {});
  EXPECT_THAT(text, HasSubstr("  400 heads: sink 399, mixed 1\n  entropy "));
}

TEST(DescribeDiagnosticsTest, SurvivesAnswersThatContradictThemselves) {
  codec::DiagnosticsReply diagnostics = TwoHeads();
  diagnostics.patterns.pop_back();
  EXPECT_THAT(DescribeDiagnostics(diagnostics, {}, {}, {}), HasSubstr("entropy "));
  diagnostics = TwoHeads();
  diagnostics.column_keys.pop_back();
  EXPECT_THAT(DescribeDiagnostics(diagnostics, {}, {}, {}), Not(HasSubstr("strongest")));
  EXPECT_THAT(DescribeDiagnostics({}, {}, {}, {}), HasSubstr("diagnostics []"));
}

TEST(DescribeReplyTest, HasAllOfThem) {
  auto input = ExampleWith({{"outputs", "diagnostics,heatmap"}, {"top_k", "1"}});
  ASSERT_THAT(input, IsOk());
  codec::AttendReply reply;
  reply.output = Tensor({3, 3}, std::vector<float>(9));
  reply.top_k = {Tensor({1, 1, 3, 1}, {0.5F, 0.5F, 0.5F}), {0, 1, 2}};
  reply.diagnostics = TwoHeads();
  reply.heatmap = {Tensor({1, 1, 3, 3}, std::vector<float>(9)), Tensor({1, 1, 3, 3}, std::vector<float>(9))};
  const std::string text = DescribeReply(*input, reply);
  EXPECT_THAT(text, HasSubstr("top 1 of each row [1, 1, 3, 1]\n  The  The 0.500\n"));
  EXPECT_THAT(text, HasSubstr("\ndiagnostics [1, 2]\n"));
  EXPECT_THAT(text, HasSubstr("\nheatmap [1, 1, 3, 3]\n  a picture of it: attnctl heatmap"));
}

TEST(WriteReplyTest, KeepsThemAll) {
  codec::AttendReply reply;
  reply.output = Tensor({1}, {1});
  reply.top_k = {Tensor({1, 1, 1, 2}, {0.5F, 0}), {7, -1}};
  reply.diagnostics = TwoHeads();
  reply.diagnostics->rows = Statistics({1, 2, 1}, 2);
  reply.heatmap = {Tensor({1, 1, 1, 1}, {0.25F}), Tensor({1, 1, 1, 1}, {0.75F})};
  const auto input = ExampleWith({});
  ASSERT_THAT(input, IsOk());
  const std::string path = TempPath("all.safetensors");
  ASSERT_THAT(WriteReply(path, reply, {}, NotesOf(*input)), IsOk());

  const auto file = Safetensors::Read(path);
  ASSERT_THAT(file, IsOk());
  const StoredTensor& keys = *file->Find("top_k.keys");
  EXPECT_EQ(keys.dtype, StoredType::kI64);
  EXPECT_THAT(keys.shape, ElementsAre(1, 1, 1, 2));
  std::array<int64_t, 2> indices = {};
  std::memcpy(indices.data(), keys.bytes.data(), sizeof(indices));
  EXPECT_THAT(indices, ElementsAre(7, -1));
  for (const char* name :
       {"top_k.weights", "diagnostics.entropy", "diagnostics.window_mass", "diagnostics.rows.self_mass",
        "diagnostics.column_mass", "diagnostics.pattern_scores", "heatmap.mean", "heatmap.max"}) {
    ASSERT_NE(file->Find(name), nullptr) << name;
    EXPECT_EQ(file->Find(name)->dtype, StoredType::kF32) << name;
  }
  EXPECT_THAT(file->Find("diagnostics.column_keys")->shape, ElementsAre(1, 2, 2));
  EXPECT_EQ(file->metadata().at("diagnostics.patterns"), "sink,empty");
  EXPECT_EQ(file->metadata().at("tokens"), R"(["The","cat","sat"])");
  EXPECT_EQ(file->metadata().at("q_len"), "3");
}

}  // namespace
}  // namespace attnd::attnctl
