// The performance check notices what it is there to notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace attnd {
namespace {

struct Outcome {
  int status = -1;
  std::string text;
};

Outcome RunPerf(const std::string& arguments) {
  Outcome outcome;
  std::FILE* pipe = popen((ATTND_PERF_BINARY " " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> chunk{};
  for (size_t n = 0; (n = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) outcome.text.append(chunk.data(), n);
  outcome.status = WEXITSTATUS(pclose(pipe));
  return outcome;
}

bool HasValgrind() { return std::system("valgrind --version >/dev/null 2>&1") == 0; }

TEST(PerfTest, ShareBelowItsBoundFails) {
  const Outcome outcome = RunPerf("--filter share/short --strictness 1000");
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_THAT(outcome.text, testing::ContainsRegex("FAILED .*short_f32.* measured .*, allowed >= "));
  EXPECT_THAT(outcome.text, testing::HasSubstr("0 passed, 1 failed"));
}

TEST(PerfTest, ShareAboveItsBoundPasses) {
  const Outcome outcome = RunPerf("--filter share/short --strictness 0.01");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, testing::HasSubstr("1 passed, 0 failed"));
}

TEST(PerfTest, InstructionsOverTheirBoundFail) {
  if (!HasValgrind()) GTEST_SKIP() << "no valgrind";
  const Outcome outcome = RunPerf("--filter instructions/tiny --strictness 1.3");
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_THAT(outcome.text, testing::ContainsRegex("FAILED .*tiny_f32.* measured .*, allowed <= "));
}

TEST(PerfTest, NothingToCheckFails) { EXPECT_EQ(RunPerf("--filter no_such_row").status, 1); }

}  // namespace
}  // namespace attnd
