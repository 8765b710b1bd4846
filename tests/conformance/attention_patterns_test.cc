// Heads of a real model, all-MiniLM-L6-v2: what they are called, what a picture shows of them,
// and what flows through all layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "client/attnctl/heatmap/map_from_file.h"
#include "core/linear/safetensors.h"
#include "tests/conformance/vector_files.h"
#include "tests/support/run_request.h"
#include "tests/support/status_matchers.h"

namespace attnd::attnctl {
namespace {

constexpr size_t kLayers = 6;
constexpr size_t kHeads = 12;
constexpr size_t kLen = 14;

class AttentionPatternsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& directory :
         VectorDirectories(ATTND_SOURCE_DIR "/../shared/conformance/minilm", "ATTND_MINILM_DIR")) {
      const std::string path = directory + "/all_heads.safetensors";
      if (std::filesystem::exists(path)) file_.path = path;
    }
    if (file_.path.empty()) GTEST_SKIP() << "vectors not at hand; set ATTND_MINILM_DIR to a directory that holds them";
  }

  [[nodiscard]] std::vector<float> Weights() const {
    const auto file = Safetensors::Read(file_.path);
    EXPECT_THAT(file, IsOk());
    const StoredTensor* tensor = file->Find("attn");
    std::vector<float> weights(kLayers * kHeads * kLen * kLen);
    EXPECT_EQ(tensor->bytes.size(), weights.size() * sizeof(float));
    std::memcpy(weights.data(), tensor->bytes.data(), tensor->bytes.size());
    return weights;
  }

  MapFile file_;
};

TEST_F(AttentionPatternsTest, HeadsAreCalledWhatTheyLookLike) {
  const auto drawn = MapFromFile(file_, {});
  ASSERT_THAT(drawn, IsOk());
  EXPECT_EQ(drawn->summary, "6 layers x 12 heads, 14 x 14");
  ASSERT_EQ(drawn->map.query_tokens.size(), kLen);
  EXPECT_EQ(drawn->map.query_tokens.front(), "[CLS]");
  ASSERT_EQ(drawn->map.heads.size(), kLayers * kHeads);
  const auto head = [&](size_t layer, size_t index) { return drawn->map.heads[layer * kHeads + index]; };
  EXPECT_EQ(head(0, 2).pattern, "previous");
  EXPECT_EQ(head(1, 8).pattern, "next");
  EXPECT_EQ(head(2, 7).pattern, "sink");
  EXPECT_NEAR(*head(2, 7).pattern_score, 0.83, 0.005);
  EXPECT_EQ(head(0, 3).pattern, "broad");
  std::map<std::string, int> counts;
  for (const auto& map : drawn->map.heads) ++counts[map.pattern];
  EXPECT_EQ(counts["previous"], 1);
  EXPECT_GT(counts["sink"], 30);
  EXPECT_EQ(counts["empty"], 0);
}

// Scores are the logarithms of the weights, so the server computes these very heads.
TEST_F(AttentionPatternsTest, TheServersDiagnosticsCallThemTheSame) {
  const std::vector<float> weights = Weights();
  RequestCase c;
  c.dims = {.batch = kLayers,
            .heads = kHeads,
            .kv_heads = kHeads,
            .q_len = kLen,
            .kv_len = kLen,
            .head_dim = kLen,
            .value_dim = kLen};
  for (CaseTensor* tensor : {&c.query, &c.key, &c.value}) {
    tensor->shape = {kLayers, kHeads, kLen, kLen};
    tensor->numbers.resize(weights.size());
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const size_t row = i / kLen % kLen;
    const size_t column = i % kLen;
    c.query.numbers[i] = row == column ? 1 : 0;
    // The key of `column` has the scores of all queries.
    c.key.numbers[i - row * kLen - column + column * kLen + row] = std::log(std::max(weights[i], 1e-30F));
  }
  c.options.scale = 1;
  c.outputs.diagnostics.emplace();
  const auto result = RunForResult(c, {});
  ASSERT_THAT(result.status(), IsOk());
  const auto drawn = MapFromFile(file_, {});
  ASSERT_THAT(drawn, IsOk());
  for (size_t i = 0; i < kLayers * kHeads; ++i) {
    const auto& head = drawn->map.heads[i];
    EXPECT_EQ(NameOf(result->diagnostics->patterns[i]), head.pattern) << head.title;
    EXPECT_NEAR(result->diagnostics->pattern_scores.data.floats()[i], *head.pattern_score, 1e-5) << head.title;
    EXPECT_NEAR(result->diagnostics->heads[0].data.floats()[i], *head.entropy, 1e-5) << head.title;
  }
  EXPECT_EQ(result->diagnostics->patterns[0 * kHeads + 2], Pattern::kPrevious);
  EXPECT_EQ(result->diagnostics->patterns[1 * kHeads + 8], Pattern::kNext);
  EXPECT_EQ(result->diagnostics->patterns[2 * kHeads + 7], Pattern::kSink);
  EXPECT_EQ(result->diagnostics->patterns[0 * kHeads + 3], Pattern::kBroad);
}

TEST_F(AttentionPatternsTest, PicturesHaveTheWeightsAsTheyAre) {
  const auto drawn = MapFromFile(file_, {});
  ASSERT_THAT(drawn, IsOk());
  const std::vector<float> weights = Weights();
  for (size_t i = 0; i < weights.size(); ++i) {
    ASSERT_EQ(drawn->map.heads[i / (kLen * kLen)].mean[i % (kLen * kLen)], weights[i]) << i;
  }
}

TEST_F(AttentionPatternsTest, RolloutIsTheProductOfMixedLayers) {
  MapFile file = file_;
  file.rollout = true;
  const auto drawn = MapFromFile(file, {});
  ASSERT_THAT(drawn, IsOk());
  const std::vector<float> weights = Weights();
  // From the last token back: what each row of the product owes to each input.
  for (size_t token = 0; token < kLen; ++token) {
    std::vector<double> owed(kLen);
    owed[token] = 1;
    for (size_t layer = kLayers; layer-- > 0;) {
      std::vector<double> before(kLen);
      for (size_t i = 0; i < kLen; ++i) {
        std::vector<double> row(kLen);
        for (size_t h = 0; h < kHeads; ++h) {
          for (size_t j = 0; j < kLen; ++j) {
            row[j] += static_cast<double>(weights[((layer * kHeads + h) * kLen + i) * kLen + j]) / kHeads;
          }
        }
        row[i] += 1;
        double sum = 0;
        for (const double weight : row) sum += weight;
        for (size_t j = 0; j < kLen; ++j) before[j] += owed[i] * row[j] / sum;
      }
      owed = before;
    }
    double sum = 0;
    for (size_t j = 0; j < kLen; ++j) {
      EXPECT_NEAR(drawn->rollout[token * kLen + j], owed[j], 1e-15);
      sum += drawn->rollout[token * kLen + j];
    }
    EXPECT_NEAR(sum, 1, 1e-14);
  }
}

}  // namespace
}  // namespace attnd::attnctl
