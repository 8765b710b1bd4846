#include "client/attnctl/load_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/support/attnctl_run.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::StartsWith;

LoadOptions Check(const LoadFlags& flags) {
  auto options = CheckLoad(flags, {});
  EXPECT_THAT(options, IsOk());
  return options.ok() ? *std::move(options) : LoadOptions();
}

std::vector<int> CallersOf(const std::string& concurrency) {
  std::vector<int> callers;
  for (const load::LoadPoint& point : Check({.concurrency = concurrency}).points) callers.push_back(point.concurrency);
  return callers;
}

std::vector<double> RatesOf(const std::string& rate) {
  std::vector<double> rates;
  for (const load::LoadPoint& point : Check({.rate = rate}).points) rates.push_back(point.rate);
  return rates;
}

TEST(LoadOptionsTest, WithoutFlagsOneCallerSendsTheDefaultPreset) {
  const LoadOptions options = Check({});
  ASSERT_EQ(options.points.size(), 1);
  EXPECT_EQ(options.points[0].model, load::LoadModel::kClosed);
  EXPECT_EQ(options.points[0].concurrency, 1);
  EXPECT_EQ(options.plan.duration, std::chrono::seconds(10));
  EXPECT_EQ(options.plan.warm_up, std::chrono::seconds(2));
  EXPECT_FALSE(options.plan.calls.has_value());
  EXPECT_EQ(options.repeat, 1);
  ASSERT_EQ(options.shapes.size(), 1);
  EXPECT_EQ(options.shapes[0].name, "bert-base");
  EXPECT_TRUE(options.verifier.enabled);
  EXPECT_EQ(options.verifier.share, 0);
  EXPECT_THAT(options.driver.addresses, ElementsAre("127.0.0.1:50051"));
  EXPECT_EQ(options.driver.channels, 1);
}

TEST(LoadOptionsTest, SweepsAreListsAndRanges) {
  EXPECT_THAT(CallersOf("8"), ElementsAre(8));
  EXPECT_THAT(CallersOf("1,2,8"), ElementsAre(1, 2, 8));
  EXPECT_THAT(CallersOf("1:4"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(CallersOf("2:7:2,64"), ElementsAre(2, 4, 6, 64));
  EXPECT_THAT(RatesOf("0.5,100:300:100"), ElementsAre(0.5, 100, 200, 300));
  EXPECT_EQ(RatesOf("0.1:1:0.1").size(), 10);
}

TEST(LoadOptionsTest, RatesAreOpenLoops) {
  EXPECT_EQ(Check({.rate = "5"}).points[0].model, load::LoadModel::kPoisson);
  EXPECT_EQ(Check({.rate = "5", .arrivals = "constant"}).points[0].model, load::LoadModel::kConstant);
  const load::LoadPoint ramp = Check({.ramp = "100:900"}).points[0];
  EXPECT_EQ(ramp.model, load::LoadModel::kRamp);
  EXPECT_EQ(ramp.rate, 100);
  EXPECT_EQ(ramp.end_rate, 900);
}

TEST(LoadOptionsTest, TheSearchForCapacityHasAnObjectiveAndAStart) {
  const LoadOptions options = Check({.rate = "50", .find_capacity = true, .slo = "p99=20ms,errors=0.1%"});
  EXPECT_TRUE(options.find_capacity);
  EXPECT_EQ(options.start_rate, 50);
  EXPECT_EQ(options.plan.duration, std::chrono::seconds(5));
  ASSERT_TRUE(options.objective.has_value());
  EXPECT_EQ(options.objective->latency, std::chrono::milliseconds(20));
  EXPECT_EQ(options.plan.good_latency, std::chrono::milliseconds(20));
}

TEST(LoadOptionsTest, ShapesComeFromFlagsPresetsMixesAndCases) {
  const load::WorkShape shape = Check({.shape = {{"heads", "3"}, {"q_len", "5,6"}, {"dtype", "f16"}}}).shapes[0];
  EXPECT_EQ(shape.name, "custom");
  EXPECT_EQ(shape.heads, 3);
  EXPECT_THAT(shape.q_len, ElementsAre(5, 6));
  EXPECT_EQ(shape.dtype, DataType::kFloat16);

  const load::WorkShape preset = Check({.preset = "vit", .shape = {{"batch", "8"}}}).shapes[0];
  EXPECT_EQ(preset.name, "vit");
  EXPECT_EQ(preset.batch, 8);
  EXPECT_THAT(preset.q_len, ElementsAre(197));

  const std::string path = TempPath("mix.yaml");
  std::ofstream(path) << "works: [{preset: tiny}, {preset: vit}]\n";
  EXPECT_EQ(Check({.mix = path}).shapes.size(), 2);

  const LoadOptions cases = Check({.cases = {"a/one.safetensors", "two"}, .shape = {{"weights", "layer"}}});
  ASSERT_EQ(cases.shapes.size(), 2);
  EXPECT_EQ(cases.shapes[0].name, "one");
  EXPECT_EQ(cases.shapes[0].case_file, "a/one.safetensors");
  EXPECT_EQ(cases.shapes[0].weights, "layer");
  EXPECT_EQ(cases.shapes[1].name, "two");
}

TEST(LoadOptionsTest, ANumberOfCallsNeedsNoDuration) {
  const LoadOptions options = Check({.calls = "100"});
  EXPECT_EQ(options.plan.calls, 100);
  EXPECT_GE(options.plan.duration, std::chrono::hours(1));
  EXPECT_EQ(Check({.duration = "3s", .calls = "100"}).plan.duration, std::chrono::seconds(3));
}

TEST(LoadOptionsTest, VerificationIsAShareOrAWord) {
  EXPECT_EQ(Check({.verify = "1%"}).verifier.share, 0.01);
  EXPECT_EQ(Check({.verify = "all"}).verifier.share, 1);
  EXPECT_EQ(Check({.verify = "first"}).verifier.share, 0);
  EXPECT_FALSE(Check({.verify = "off"}).verifier.enabled);
}

TEST(LoadOptionsTest, ConnectionsGrowWithTheCallersUnlessTold) {
  EXPECT_EQ(Check({.concurrency = "1,64"}).driver.channels, 2);
  EXPECT_EQ(Check({.concurrency = "64", .channels = "5"}).driver.channels, 5);
  EXPECT_EQ(Check({.rate = "10"}).driver.channels, 4);
  const LoadOptions options = Check({.endpoints = {"a:1", "b:2"}, .threads = "3", .attempts = "4"});
  EXPECT_THAT(options.driver.addresses, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(options.driver.threads, 3);
  EXPECT_EQ(options.driver.max_attempts, 4);
}

struct BadFlags {
  std::vector<std::string> arguments;
  std::string message;
};

class BadLoadFlagsTest : public ::testing::TestWithParam<BadFlags> {};

TEST_P(BadLoadFlagsTest, AreWrongUsageAndNamed) {
  std::vector<std::string> arguments = {"load"};
  arguments.insert(arguments.end(), GetParam().arguments.begin(), GetParam().arguments.end());
  const Outcome outcome = Attnctl(arguments);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "attnctl: " + GetParam().message + "\n");
}

constexpr char kCallers[] = " is not callers >= 1: N, A:B, A:B:STEP, or several with commas between them";
constexpr char kRates[] = " is not calls per second > 0: R, A:B:STEP, or several with commas between them";

INSTANTIATE_TEST_SUITE_P(
    All, BadLoadFlagsTest,
    ::testing::Values(
        BadFlags{{"--concurrency", "0"}, std::string("--concurrency: '0'") + kCallers},
        BadFlags{{"--concurrency", "1,"}, std::string("--concurrency: '1,'") + kCallers},
        BadFlags{{"--concurrency", "8:1"}, std::string("--concurrency: '8:1'") + kCallers},
        BadFlags{{"--concurrency", "1:8:0"}, std::string("--concurrency: '1:8:0'") + kCallers},
        BadFlags{{"--concurrency", "1.5"}, std::string("--concurrency: '1.5'") + kCallers},
        BadFlags{{"--concurrency", "1:2000"}, "--concurrency: '1:2000' is not at most 1000 points"},
        BadFlags{{"--rate", "fast"}, std::string("--rate: 'fast'") + kRates},
        BadFlags{{"--rate", "1:2"}, std::string("--rate: '1:2'") + kRates},
        BadFlags{{"--rate", "nan"}, std::string("--rate: 'nan'") + kRates},
        BadFlags{{"--rate", "1", "--concurrency", "1"}, "--rate: does not go with --concurrency"},
        BadFlags{{"--ramp", "1:2", "--rate", "1"}, "--ramp: does not go with --rate"},
        BadFlags{{"--ramp", "100"}, "--ramp: '100' is not A:B, two rates > 0 in calls per second"},
        BadFlags{{"--arrivals", "poisson"}, "--arrivals: goes with --rate or --find-capacity"},
        BadFlags{{"--rate", "1", "--arrivals", "random"}, "--arrivals: 'random' is not poisson or constant"},
        BadFlags{{"--find-capacity"}, "--find-capacity: needs --slo, such as p99=20ms,errors=0.1%"},
        BadFlags{{"--find-capacity", "--slo", "p99=1s", "--concurrency", "2"},
                 "--concurrency: does not go with --find-capacity"},
        BadFlags{{"--find-capacity", "--slo", "p99=1s", "--rate", "1,2"},
                 "--rate: '1,2' is not one rate, at which --find-capacity begins"},
        BadFlags{{"--preset", "bert"},
                 "--preset: 'bert' is not a preset's name; there are bert-base, llama-decode, vit, tiny, rag-rerank"},
        BadFlags{{"--mix", "a", "--preset", "tiny"}, "--preset: does not go with --mix"},
        BadFlags{{"--mix", "a", "--heads", "2"}, "--heads: does not go with --mix; say it in the file"},
        BadFlags{{"--case", "a", "--mix", "a"}, "--mix: does not go with --case; a mix may have cases"},
        BadFlags{{"--case", "a", "--q-len", "2"}, "--q-len: does not go with --case, which says it all"},
        BadFlags{{"--head-dim", "x"}, "--head-dim: 'x' is not an integer >= 1 and < 2^31"},
        BadFlags{{"--heads", "4", "--kv-heads", "3"}, "--kv-heads: 3 does not divide heads, 4"},
        BadFlags{{"--preset", "tiny", "--packed", "3,4", "--q-len", "4"},
                 "--q-len: does not go with --packed, which says the lengths"},
        BadFlags{{"--kv-lengths", "99999"}, "--kv-lengths: 99999 is more than the 128 keys there are"},
        BadFlags{{"--kv-len", "8,4", "--kv-lengths", "5"}, "--kv-lengths: 5 is more than the 4 keys there are"},
        BadFlags{{"--mask-density", "2"}, "--mask-density: '2' is not a number > 0 and <= 1"},
        BadFlags{{"--seed", "-1"}, "--seed: '-1' is not an integer from 0 to 9223372036854775807"},
        BadFlags{{"--duration", "10"}, "--duration: '10' is not a time such as 500ms, 30s or 2m"},
        BadFlags{{"--duration", "0s"}, "--duration: '0s' is not a time > 0"},
        BadFlags{{"--warm-up", "x"}, "--warm-up: 'x' is not a time such as 500ms, 30s or 2m"},
        BadFlags{{"--calls", "0"}, "--calls: '0' is not an integer from 1 to 9223372036854775807"},
        BadFlags{{"--repeat", "0"}, "--repeat: '0' is not an integer from 1 to 1000"},
        BadFlags{{"--verify", "1"}, "--verify: '1' is not first, all, off, or a share such as 1%"},
        BadFlags{{"--verify", "200%"}, "--verify: '200%' is not first, all, off, or a share such as 1%"},
        BadFlags{{"--channels", "0"}, "--channels: '0' is not an integer from 1 to 1024"},
        BadFlags{{"--threads", "x"}, "--threads: 'x' is not an integer from 1 to 256"}));

TEST(LoadOptionsTest, AnEmptyValueIsNotTakenForNone) {
  for (const std::string flag :
       {"--concurrency", "--rate",     "--arrivals", "--ramp",    "--slo",    "--preset",  "--mix",       "--case",
        "--seed",        "--duration", "--calls",    "--warm-up", "--repeat", "--verify",  "--endpoints", "--channels",
        "--threads",     "--attempts", "--metrics",  "--json",    "--html",   "--fail-if", "--weights",   "--q-len"}) {
    const Outcome outcome = Attnctl({"load", flag, ""});
    EXPECT_EQ(outcome.exit_code, 2) << flag;
    EXPECT_THAT(outcome.err, AllOf(IsOneLineOfComplaint(), StartsWith("attnctl: " + flag + ": "))) << flag;
  }
}

TEST(LoadOptionsTest, ListsOfServersHaveNoGaps) {
  EXPECT_THAT(Check({.endpoints = {"a:1,b:2", "c:3"}}).driver.addresses, ElementsAre("a:1", "b:2", "c:3"));
  EXPECT_THAT(Check({.metrics = {"a:1,b:2"}}).metrics, ElementsAre("a:1", "b:2"));
  for (const std::string list : {",", "a:1,", ",a:1"}) {
    EXPECT_THAT(CheckLoad({.endpoints = {list}}, {}),
                IsError(absl::StatusCode::kInvalidArgument, "--endpoints: address: ''"));
    EXPECT_THAT(CheckLoad({.metrics = {list}}, {}),
                IsError(absl::StatusCode::kInvalidArgument, "--metrics: address: ''"));
  }
}

TEST(LoadOptionsTest, GoodputNeedsAnObjective) {
  EXPECT_THAT(CheckLoad({.fail_if = {"goodput<5"}}, {}),
              IsError(absl::StatusCode::kInvalidArgument, "--fail-if: goodput needs --slo"));
  EXPECT_EQ(Check({.slo = "p99=1s", .fail_if = {"goodput<5"}}).fail_if.size(), 1);
}

TEST(LoadOptionsTest, FilesAreNotWrittenOverEachOther) {
  EXPECT_THAT(CheckLoad({.json = "x", .html = "./x"}, {}),
              IsError(absl::StatusCode::kInvalidArgument, "--html: does not go with --json of the same file"));
  EXPECT_EQ(Check({.json = "x", .html = "y"}).html, "y");
}

TEST(LoadOptionsTest, ErrorsOfFilesAndConditionsNameTheFlag) {
  const std::string path = TempPath("bad.yaml");
  std::ofstream(path) << "works:\n  - preset: nope\n";
  EXPECT_THAT(CheckLoad({.mix = path}, {}),
              IsError(absl::StatusCode::kInvalidArgument, "--mix: " + path + ":2: works[0].preset: 'nope'"));
  EXPECT_THAT(CheckLoad({.slo = "fast"}, {}), IsError(absl::StatusCode::kInvalidArgument, "--slo: "));
  EXPECT_THAT(CheckLoad({.fail_if = {"p99>1ms", "nonsense"}}, {}),
              IsError(absl::StatusCode::kInvalidArgument, "--fail-if: "));
  EXPECT_THAT(CheckLoad({.endpoints = {"a:1", "b"}}, {}), IsError(absl::StatusCode::kInvalidArgument, "--endpoints: "));
}

}  // namespace
}  // namespace attnd::attnctl
