// attnctl against a server: what is asked of it about attention, and pictures of the answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "client/npy.h"
#include "core/linear/safetensors.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class AttnctlHeatmapTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    return Attnctl(arguments);
  }

  static std::vector<float> Saved(const std::string& path) {
    const auto array = ReadNpy(path);
    EXPECT_THAT(array, IsOk());
    std::vector<float> values(array->bytes.size() / sizeof(float));
    std::memcpy(values.data(), array->bytes.data(), array->bytes.size());
    return values;
  }

  RunningServer server_;
};

TEST_F(AttnctlHeatmapTest, PrintsWhatItAskedFor) {
  const Outcome outcome =
      Run({"attend", "--example", "cat-sat", "--outputs", "diagnostics,heatmap", "--diagnostics-rows", "--top-k", "2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("top 2 of each row [1, 1, 3, 2]\n"
                                     "  The  The 0.365, sat 0.337\n"
                                     "  cat  cat 0.497, sat 0.301\n"
                                     "  sat  cat 0.378, sat 0.336\n"));
  EXPECT_THAT(outcome.out, HasSubstr("\n     0  uniform  "));
  EXPECT_THAT(outcome.out, HasSubstr("1 cat (.39), "));
  EXPECT_THAT(outcome.out, HasSubstr("heatmap [1, 1, 3, 3]\n"));
}

TEST_F(AttnctlHeatmapTest, DrawsACase) {
  const std::string saved = TempPath("live.npy");
  const Outcome outcome =
      Run({"heatmap", "--example", "cat-sat", "--output", TempPath("live.png"), "--save", saved, "--causal"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, ContainsRegex("live.png: 1 head, 3 x 3, [0-9]+ x [0-9]+ pixels\n"));
  const std::vector<float> cells = Saved(saved);
  ASSERT_EQ(cells.size(), 9);
  EXPECT_EQ(cells[0], 1);
  EXPECT_TRUE(std::isnan(cells[1]));
  EXPECT_NEAR(cells[6] + cells[7] + cells[8], 1, 1e-6);
}

TEST_F(AttnctlHeatmapTest, DrawsACaseOfEmbeddings) {
  const Outcome outcome =
      Run({"heatmap", "--multihead", "--example", "cat-sat", "--output", TempPath("live.svg"), "--heads", "1"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("live.svg: 1 head, 3 x 3\n"));
}

TEST_F(AttnctlHeatmapTest, DrawsTheSameFromAFile) {
  const std::string file = TempPath("reply.safetensors");
  ASSERT_EQ(
      Run({"attend", "--example", "cat-sat", "--outputs", "weights,diagnostics,heatmap", "--output", file}).exit_code,
      0);
  for (const char* tensor : {"weights", "heatmap.mean"}) {
    const std::string saved = TempPath(std::string(tensor) + ".npy");
    const Outcome outcome = Run({"heatmap", "--from", file, "--tensor", tensor, "--save", saved});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  const std::string live = TempPath("live.npy");
  ASSERT_EQ(Run({"heatmap", "--example", "cat-sat", "--save", live}).exit_code, 0);
  EXPECT_EQ(Saved(TempPath("weights.npy")), Saved(live));
  EXPECT_EQ(Saved(TempPath("heatmap.mean.npy")), Saved(live));
}

TEST_F(AttnctlHeatmapTest, NamesKeys) {
  const std::string file = TempPath("two.safetensors");
  const Outcome outcome =
      Run({"attend", "--example", "two-tokens", "--top-k", "2", "--outputs", "weights,diagnostics", "--output", file});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\n  cat  sat 0.506, zeros 0.494\n"));
  EXPECT_THAT(outcome.out, HasSubstr("0 sat (.51), 1 zeros (.49)"));
  const std::string picture = TempPath("two.svg");
  for (const auto& source : {std::pair{"--from", file.c_str()}, std::pair{"--example", "two-tokens"}}) {
    ASSERT_EQ(Run({"heatmap", source.first, source.second, "--output", picture}).exit_code, 0);
    std::ifstream svg(picture);
    const std::string text{std::istreambuf_iterator<char>(svg), {}};
    EXPECT_THAT(text, HasSubstr("zeros")) << source.first;
  }
}

TEST_F(AttnctlHeatmapTest, KnowsHiddenKeysOfAFileWithoutFlags) {
  const std::string file = TempPath("causal.safetensors");
  const std::vector<std::string> input = {"--example", "cat-sat", "--causal", "top_left"};
  std::vector<std::string> attend = {"attend", "--outputs", "weights", "--output", file};
  attend.insert(attend.end(), input.begin(), input.end());
  ASSERT_EQ(Run(attend).exit_code, 0);
  const std::string saved = TempPath("saved.npy");
  const Outcome outcome = Run({"heatmap", "--from", file, "--save", saved});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<float> cells = Saved(saved);
  ASSERT_EQ(cells.size(), 9);
  for (const size_t hidden : {1U, 2U, 5U}) EXPECT_TRUE(std::isnan(cells[hidden])) << hidden;
  EXPECT_EQ(cells[0], 1);
  EXPECT_GT(cells[7], 0);
}

TEST_F(AttnctlHeatmapTest, PoolsAsTheServerDoes) {
  std::vector<float> numbers(400);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = std::sin(static_cast<float>(i * i));
  const std::string path = TempPath("long.npy");
  ASSERT_THAT(WriteNpy(path, std::vector<int64_t>{50, 8}, numbers), IsOk());
  const std::vector<std::string> input = {"--query", path, "--key", path, "--value", path, "--causal"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), input.begin(), input.end());
    return Run(arguments);
  };
  const std::string live = TempPath("live.npy");
  Outcome outcome = with({"heatmap", "--cells", "7", "--save", live});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string file = TempPath("weights.safetensors");
  outcome = with({"attend", "--outputs", "weights", "--output", file});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string pooled = TempPath("pooled.npy");
  outcome = Run({"heatmap", "--from", file, "--causal", "--cells", "7", "--save", pooled});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<float> ours = Saved(pooled);
  const std::vector<float> theirs = Saved(live);
  ASSERT_EQ(ours.size(), 49);
  ASSERT_EQ(theirs.size(), 49);
  for (size_t i = 0; i < ours.size(); ++i) {
    if (std::isnan(ours[i])) {
      EXPECT_TRUE(std::isnan(theirs[i])) << i;
    } else {
      EXPECT_NEAR(ours[i], theirs[i], 1e-6) << i;
    }
  }
}

}  // namespace
}  // namespace attnd
