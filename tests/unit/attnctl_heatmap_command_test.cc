// attnctl heatmap as a user types it, with weights of files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "client/npy.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"
#include "tests/unit/heatmap_files.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(HeatmapCommandTest, WritesPicturesOfEveryKind) {
  const std::string path = NpyOf("heads.npy", {3, 2, 2}, {1, 0, 0, 1, .5F, .5F, .5F, .5F, 1, 0, 1, 0});
  for (const auto& [name, start] :
       {std::pair{"p.png", "\x89PNG"}, std::pair{"p.svg", "<svg"}, std::pair{"p.html", "<!DOCTYPE html"}}) {
    const std::string picture = TempPath(name);
    const Outcome outcome = Attnctl({"heatmap", "--from", path, "--output", picture, "--tokens", "The,cat"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, testing::StartsWith("written to " + picture + ": 3 heads, 2 x 2"));
    EXPECT_THAT(FileContentsOf(picture), HasSubstr(start));
  }
  EXPECT_THAT(Attnctl({"heatmap", "--from", path, "--output", TempPath("p.png"), "--theme", "dark"}).out,
              testing::ContainsRegex("3 heads, 2 x 2, [0-9]+ x [0-9]+ pixels\n"));
}

TEST(HeatmapCommandTest, SavesWhatIsDrawn) {
  const std::string path = NpyOf("heads.npy", {2, 2, 2}, Eighths(8));
  const std::string saved = TempPath("saved.npy");
  const Outcome outcome = Attnctl({"heatmap", "--from", path, "--causal", "--save", saved});
  EXPECT_EQ(outcome.out, "written to " + saved + ": float32 [2, 2, 2]\n") << outcome.err;
  const auto array = ReadNpy(saved);
  ASSERT_THAT(array, IsOk());
  std::array<float, 8> values = {};
  ASSERT_EQ(array->bytes.size(), sizeof(values));
  std::copy(array->bytes.begin(), array->bytes.end(), std::as_writable_bytes(std::span(values)).begin());
  EXPECT_THAT(values, ElementsAre(0, testing::IsNan(), 0.25F, 0.375F, 0.5F, testing::IsNan(), 0.75F, 0.875F));
}

TEST(HeatmapCommandTest, ComplainsInALine) {
  const std::string path = NpyOf("heads.npy", {1, 2, 2}, Four());
  const std::string out = TempPath("p.png");
  struct Usage {
    std::vector<std::string> arguments;
    const char* problem;
    int exit_code = 2;
  };
  const std::vector<Usage> cases = {
      {{"--from", path}, "--output: is needed: FILE.png, .svg or .html"},
      {{"--from", path, "--output", "p.gif"}, "--output: 'p.gif' ends in neither .png, .svg nor .html"},
      {{"--from", path, "--output", "p.svg", "--theme", "dark"}, "--theme: is for .png"},
      {{"--from", path, "--output", out, "--theme", "x"}, "--theme: 'x' is not light or dark"},
      {{"--from", path, "--output", out, "--cells", "0"}, "--cells: 0 is not 1 to 512"},
      {{"--from", path, "--output", out, "--cells", "513"}, "--cells: 513 is not 1 to 512"},
      {{"--from", path, "--output", out, "--columns", "0"}, "--columns: at least 1"},
      {{"--from", path, "--output", out, "--zeros", "x"}, "--zeros: 'x' is not weights or hidden"},
      {{"--from", path, "--output", out, "--heads", "a"}, "--heads: 'a' is not one integer"},
      {{"--from", path, "--output", out, "--save", "x"}, "--save: 'x' does not end in .npy"},
      {{"--from", path, "--output", out, "--scale", "1"}, "--scale: is for cases, not for --from"},
      {{"--from", path, "--output", out, "--query-heads", "2"}, "--query-heads: is for cases, not for --from"},
      {{"--from", path, "--output", out, "--example", "cat-sat"}, "--from: a file of weights, or a case"},
      {{"--output", out}, "give --from FILE, or a case"},
      {{"--output", out, "--example", "cat-sat", "--rollout"}, "--rollout: goes with --from"},
      {{"--output", out, "--example", "dog"}, "--example: 'dog' is not known"},
      {{"--output", out, "--multihead", "--embeddings", "e.npy", "--weights", "w"}, "--query-heads: is needed"},
      {{"--output", out, "--example", "cat-sat", "--block", "pre"}, "--block requires --multihead"},
      {{"--output", out, "--example", "cat-sat", "--weights", "x"}, "--weights: goes with --multihead"},
      {{"--from", path, "--output", "/nowhere/p.png"}, "/nowhere/p.png: No such file", 1},
      {{"--from", path, "--output", out, "--tokens-file", "/nowhere/t"}, "/nowhere/t: No such file", 1},
      {{"--from", path, "--output", out, "--tokens", "a"}, "--tokens: 1 tokens for 2 queries", 1},
  };
  for (const Usage& usage : cases) {
    std::vector<std::string> arguments = {"heatmap"};
    arguments.insert(arguments.end(), usage.arguments.begin(), usage.arguments.end());
    const Outcome outcome = Attnctl(arguments);
    EXPECT_EQ(outcome.exit_code, usage.exit_code) << usage.problem;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, IsOneLineOfComplaint());
    EXPECT_THAT(outcome.err, HasSubstr(usage.problem));
  }
}

TEST(HeatmapCommandTest, ReadsTokensFromAFile) {
  const std::string path = NpyOf("heads.npy", {1, 2, 2}, Four());
  std::ofstream(TempPath("tokens.txt")) << "The\r\ncat, again\n";
  const std::string picture = TempPath("p.svg");
  const Outcome outcome =
      Attnctl({"heatmap", "--from", path, "--output", picture, "--tokens-file", TempPath("tokens.txt")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(FileContentsOf(picture), HasSubstr("cat, again"));
}

}  // namespace
}  // namespace attnd::attnctl
