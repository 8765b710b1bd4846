// attnctl explain against a server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/linear/safetensors.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/cat_sat_page.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AttnctlExplainTest : public ::testing::Test {
 protected:
  Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    return Attnctl(arguments);
  }

  RunningServer server_;
};

TEST_F(AttnctlExplainTest, PrintsThePage) {
  for (const auto& [example, page] :
       {std::pair{"cat-sat", kCatSatPage}, std::pair{"cat-sat-causal", kCatSatCausalPage}}) {
    const Outcome outcome = Run({"explain", "--example", example});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    EXPECT_TRUE(SamePage(outcome.out, page));
  }
}

TEST_F(AttnctlExplainTest, TakesTheOptionsOfACase) {
  const Outcome outcome = Run({"explain", "--example", "cat-sat", "--causal", "--softcap", "3", "--cell", "cat,The"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("capped(cat, The) = 3 * tanh(0.49 / 3)"));
  EXPECT_THAT(outcome.out, HasSubstr("e(sat) = exp(-inf) = 0, hidden"));
}

TEST_F(AttnctlExplainTest, WritesEveryIntermediate) {
  const std::string path = TempPath("all.safetensors");
  const Outcome outcome = Run({"explain", "--example", "climbing-cat", "--output", path});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("written to " + path));
  const auto file = Safetensors::Read(path);
  ASSERT_THAT(file, IsOk());
  for (const char* name : {"explain.query", "explain.unscaled", "explain.visible", "explain.output"}) {
    ASSERT_NE(file->Find(name), nullptr) << name;
  }
  EXPECT_THAT(file->Find("explain.weights")->shape, ElementsAre(1, 1, 12, 12));
  EXPECT_EQ(file->metadata().at("q_len"), "12");
  EXPECT_THAT(file->metadata().at("tokens"), HasSubstr(R"("climbed")"));
}

TEST_F(AttnctlExplainTest, SaysWhatIsWrong) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
      {{}, "give one of --input"},
      {{"--example", "dog"}, "'dog' is not known; there is cat-sat,"},
      {{"--example", "cat-sat", "--top-k", "2"}, "--top-k: explain shows all that lies in between"},
      {{"--example", "cat-sat", "--outputs", "lse"}, "--outputs: explain shows all that lies in between"},
      {{"--example", "cat-sat", "--cell", "cat,dog"}, "--cell: 'dog' is no key; there are The, cat, sat"},
      {{"--example", "cat-sat", "--output", "o.npy"}, "holds one array"},
  };
  for (auto [arguments, message] : wrong) {
    arguments.insert(arguments.begin(), "explain");
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_THAT(outcome.err, IsOneLineOfComplaint());
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
  const Outcome headless = Run({"explain", "--example", "cat-sat", "--head", "1"});
  EXPECT_EQ(headless.exit_code, 1);
  EXPECT_EQ(headless.err, "attnctl: --head: there is no 1 among 1 heads\n");
}

}  // namespace
}  // namespace attnd
