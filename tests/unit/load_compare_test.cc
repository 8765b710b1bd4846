#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/load/compare.h"
#include "client/load/result_json.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/simulated_load.h"

namespace attnd::load {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

RunResult RunAt(double rate, double service, uint64_t seed) {
  Simulation simulation;
  simulation.point.rate = rate;
  simulation.service = service;
  simulation.length = 20;
  simulation.seed = seed;
  return Simulate(simulation);
}

NamedJson Named(const std::string& name, const std::vector<RunResult>& runs) {
  LoadReport report;
  report.started = "2026-11-22T07:12:44Z";
  report.version = "0.1.0";
  report.runs = runs;
  return {name, ToJson(report)};
}

// The line that starts with two spaces and `measure`; the first such.
std::string LineOf(const std::string& text, const std::string& measure) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  " + measure + "  ")) return line;
  }
  return "no line of " + measure + " in\n" + text;
}

TEST(CompareTest, FindsWhatGotFaster) {
  const auto text = Compare(Named("old.json", {RunAt(200, 2e-3, 1)}), Named("new.json", {RunAt(200, 1.5e-3, 2)}));
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(LineOf(*text, "service p50"), AllOf(HasSubstr("2.00 ms"), HasSubstr("1.50 ms"), HasSubstr("-25.")));
  EXPECT_TRUE(LineOf(*text, "service p50").ends_with("  faster")) << *text;
  EXPECT_TRUE(LineOf(*text, "p99").ends_with("  faster")) << *text;
  EXPECT_TRUE(LineOf(*text, "throughput").ends_with("  no difference shown")) << *text;
}

TEST(CompareTest, FindsWhatGotSlower) {
  const auto text = Compare(Named("old.json", {RunAt(200, 1.5e-3, 1)}), Named("new.json", {RunAt(200, 2e-3, 2)}));
  ASSERT_THAT(text, IsOk());
  EXPECT_TRUE(LineOf(*text, "p50").ends_with("  slower")) << *text;
}

TEST(CompareTest, ShowsNoDifferenceBetweenEqualServers) {
  int shown = 0;
  int judged = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto text = Compare(Named("a", {RunAt(200, 2e-3, 2 * seed)}), Named("b", {RunAt(200, 2e-3, 2 * seed + 1)}));
    ASSERT_THAT(text, IsOk());
    for (const char* measure : {"throughput", "mean", "p50", "p90", "p99", "service p50"}) {
      ++judged;
      if (!LineOf(*text, measure).ends_with("no difference shown")) ++shown;
    }
  }
  // One in twenty is due.
  EXPECT_LE(shown, judged / 8);
}

TEST(CompareTest, TakesRepetitionsForTheInterval) {
  std::vector<RunResult> before;
  std::vector<RunResult> after;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    before.push_back(RunAt(200, 2e-3, seed));
    after.push_back(RunAt(200, 2e-3, seed + 10));
    before.back().client.cpu_seconds = 1 + 0.001 * static_cast<double>(seed);
    after.back().client.cpu_seconds = 1.5 + 0.001 * static_cast<double>(seed);
  }
  const auto repeated = Compare(Named("old.json", before), Named("new.json", after));
  ASSERT_THAT(repeated, IsOk());
  EXPECT_THAT(*repeated, HasSubstr("3 runs"));
  EXPECT_THAT(*repeated, Not(HasSubstr("one run only")));
  EXPECT_TRUE(LineOf(*repeated, "client CPU per call").ends_with("  worse")) << *repeated;
  EXPECT_THAT(LineOf(*repeated, "p99.9"), Not(HasSubstr("not judged")));

  const auto single = Compare(Named("old.json", {before[0]}), Named("new.json", after));
  ASSERT_THAT(single, IsOk());
  EXPECT_THAT(*single, HasSubstr("Where a side has one run only"));
  EXPECT_TRUE(LineOf(*single, "client CPU per call").ends_with("  not judged")) << *single;
}

TEST(CompareTest, MatchesPoints) {
  const auto text = Compare(Named("old.json", {RunAt(100, 1e-3, 1), RunAt(200, 1e-3, 1)}),
                            Named("new.json", {RunAt(200, 1e-3, 1), RunAt(300, 1e-3, 1)}));
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(*text, HasSubstr("\n200/s poisson "));
  EXPECT_THAT(*text, HasSubstr("Only in old.json: 100/s poisson\nOnly in new.json: 300/s poisson\n"));
}

TEST(CompareTest, FitsAHundredColumns) {
  const auto text = Compare(Named("old.json", {RunAt(200, 2e-3, 1)}), Named("new.json", {RunAt(200, 0.1, 2)}));
  ASSERT_THAT(text, IsOk());
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100) << line;
}

TEST(CompareTest, SaysWhatElseDiffers) {
  LoadReport before;
  before.works = {"tiny: Attend [1, 1, 16, 64] float32"};
  before.targets = {{"a:1", "0.1.0", "avx2", "id-one", 2}};
  before.runs = {RunAt(200, 2e-3, 1)};
  LoadReport after = before;
  const auto same = Compare({"old.json", ToJson(before)}, {"new.json", ToJson(after)});
  ASSERT_THAT(same, IsOk());
  EXPECT_THAT(*same, Not(HasSubstr("NOTE")));

  after.works = {"vit: Attend [1, 12, 197, 64] float32"};
  after.targets = {{"b:1", "0.2.0", "avx512", "id-two", 2}};
  after.runs[0].seconds = 5;
  after.runs[0].calls += 1;
  const auto text = Compare({"old.json", ToJson(before)}, {"new.json", ToJson(after)});
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(*text, HasSubstr("NOTE: requests differ: only the old report has tiny: Attend [1, 1, 16, 64] float32; "
                               "only the new one\n      has vit: Attend [1, 12, 197, 64] float32.\n"));
  EXPECT_THAT(*text, AllOf(HasSubstr("NOTE: server versions differ: 0.1.0 and 0.2.0.\n"),
                           HasSubstr("NOTE: instruction sets differ: avx2 and avx512.\n"),
                           HasSubstr("NOTE: numerics ids differ: id-one and id-two.\n"),
                           HasSubstr("NOTE: durations at 200/s poisson differ: 20.0 s and 5.00 s.\n")));
}

TEST(CompareTest, NoIntervalReachesBelowNothing) {
  std::vector<RunResult> before;
  std::vector<RunResult> after;
  for (uint64_t seed = 0; seed < 2; ++seed) {
    before.push_back(RunAt(200, 2e-3, seed));
    after.push_back(RunAt(200, 2e-3, seed + 10));
    before.back().client.cpu_seconds = 1 + static_cast<double>(seed);
    after.back().client.cpu_seconds = 0.01;
  }
  const auto text = Compare(Named("old.json", before), Named("new.json", after));
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(LineOf(*text, "client CPU per call"), HasSubstr("  -100.0 .. "));
}

TEST(CompareTest, RefusesNumbersWithoutSense) {
  const NamedJson good = Named("old.json", {RunAt(100, 1e-3, 1)});
  const auto changed = [&](const std::string& path, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(good.text);
    json[nlohmann::json::json_pointer(path)] = value;
    return NamedJson{"x.json", json.dump()};
  };
  EXPECT_THAT(
      Compare(good, changed("/runs/0/response_seconds/p50", -5)),
      IsError(kInvalid,
              "x.json is not a report of attnctl load: response_p50_seconds at 100/s poisson is -5, less than 0"));
  EXPECT_THAT(Compare(good, changed("/runs/0/intervals/1/service_seconds/p99", -1)),
              IsError(kInvalid, "service_p99_seconds at 100/s poisson is -1, less than 0"));
  EXPECT_THAT(Compare(good, changed("/format_version", "1")), IsError(kInvalid, "its format_version is no number"));
  EXPECT_THAT(Compare(good, changed("/format_version", 2)), IsError(kInvalid, "its format_version is 2, this"));
}

TEST(CompareTest, RefusesWhatCannotBeCompared) {
  const NamedJson report = Named("old.json", {RunAt(100, 1e-3, 1)});
  EXPECT_THAT(Compare({"x.json", "{}"}, report), IsError(kInvalid, "x.json is not a report of attnctl load"));
  EXPECT_THAT(Compare(report, {"x.json", "no"}), IsError(kInvalid, "x.json is not a report of attnctl load"));
  EXPECT_THAT(Compare(report, Named("new.json", {RunAt(200, 1e-3, 1)})),
              IsError(kInvalid, "old.json and new.json have no point in common: 100/s poisson and 200/s poisson"));
}

TEST(CompareTest, TakesRunsWithoutAnswers) {
  RunResult none;
  none.point = RunAt(100, 1e-3, 1).point;
  none.calls = 10;
  none.seconds = 1;
  const auto text = Compare(Named("old.json", {none}), Named("new.json", {RunAt(100, 1e-3, 1)}));
  ASSERT_THAT(text, IsOk());
  EXPECT_THAT(LineOf(*text, "errors"), HasSubstr("-100.0 pt"));
}

}  // namespace
}  // namespace attnd::load
