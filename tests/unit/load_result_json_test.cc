#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "client/load/result_json.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/simulated_load.h"

namespace attnd::load {
namespace {

using nlohmann::json;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

LoadReport ReportOf(const std::vector<RunResult>& runs) {
  LoadReport report;
  report.started = "2026-11-22T07:12:44Z";
  report.version = "0.1.0";
  report.runs = runs;
  return report;
}

RunResult SimulatedRun(uint64_t seed = 1) {
  Simulation simulation;
  simulation.point.rate = 400;
  simulation.length = 5;
  simulation.seed = seed;
  return Simulate(simulation);
}

json RunOf(const RunResult& run) { return json::parse(ToJson(ReportOf({run})))["runs"][0]; }

const Measure& Find(const std::vector<Measure>& measures, const std::string& key) {
  for (const Measure& measure : measures) {
    if (measure.key == key) return measure;
  }
  ADD_FAILURE() << key;
  return measures.front();
}

TEST(ToJsonTest, SaysWhatItIs) {
  const json document = json::parse(ToJson(ReportOf({})));
  EXPECT_EQ(document["format"], "attnctl load report");
  EXPECT_EQ(document["format_version"], 1);
  EXPECT_EQ(document["percentile_precision"]["relative"], 1.0 / 1024);
  EXPECT_EQ(document["started"], "2026-11-22T07:12:44Z");
  EXPECT_TRUE(document["capacity"].is_null());
  EXPECT_THAT(document["runs"], IsEmpty());
}

TEST(ToJsonTest, HasTheNumbersOfARun) {
  RunResult run = SimulatedRun();
  run.good = run.answered / 2;
  run.given_up = 13;
  run.longest_given_up = 0.25;
  run.flops = 3e9 * run.seconds;
  run.client.cpu_seconds = 0.5;
  run.server = ServerUse{.cpu_seconds = 2, .handled = 1000, .refused = 4, .resident_bytes = 5e6};
  const json made = RunOf(run);
  EXPECT_EQ(made["point"], json::parse(R"({"text": "400/s poisson", "model": "poisson", "rate_per_second": 400.0})"));
  EXPECT_EQ(made["calls"], run.calls);
  EXPECT_EQ(made["given_up"], 13);
  EXPECT_EQ(made["longest_given_up_seconds"], 0.25);
  EXPECT_EQ(made["measured_seconds"], 5);
  EXPECT_EQ(made["throughput_per_second"], static_cast<double>(run.answered) / 5);
  EXPECT_EQ(made["goodput_per_second"], static_cast<double>(*run.good) / 5);
  EXPECT_DOUBLE_EQ(made["gflop_per_second"], 3);
  EXPECT_EQ(made["response_seconds"]["p99_9"], run.response.Percentile(0.999));
  EXPECT_EQ(made["service_seconds"]["mean"], run.service.mean());
  EXPECT_EQ(made["client"]["cpu_seconds_per_call"], 0.5 / static_cast<double>(run.calls));
  EXPECT_EQ(made["server"]["cpu_seconds_per_request"], 0.002);
  EXPECT_EQ(made["statuses"]["OK"]["calls"], run.answered);
  ASSERT_THAT(made["intervals"], SizeIs(5));
  EXPECT_EQ(made["intervals"][3]["begin_seconds"], 3);
  EXPECT_EQ(made["intervals"][3]["response_seconds"]["p99"], run.intervals[3].response.Percentile(0.99));
}

TEST(ToJsonTest, TellsPointsOfEveryModel) {
  RunResult run;
  run.point = {.model = LoadModel::kClosed, .concurrency = 8};
  EXPECT_EQ(RunOf(run)["point"], json::parse(R"({"text": "8 in flight", "model": "closed", "concurrency": 8})"));
  run.point = {.model = LoadModel::kRamp, .rate = 1, .end_rate = 9};
  EXPECT_EQ(RunOf(run)["point"]["end_rate_per_second"], 9);
}

TEST(ToJsonTest, HasNullForWhatWasNotMeasured) {
  const json made = RunOf(RunResult());
  EXPECT_EQ(made["response_seconds"]["count"], 0);
  for (const char* path :
       {"/response_seconds/p99", "/phases/queue_seconds/mean", "/throughput_per_second", "/goodput_per_second",
        "/error_share", "/arrivals", "/server", "/stability/latency_spread", "/client/cpu_seconds_per_call"}) {
    const json::json_pointer pointer(path);
    ASSERT_TRUE(made.contains(pointer)) << path;
    EXPECT_TRUE(made[pointer].is_null()) << path;
  }
}

TEST(ToJsonTest, CurvesRiseToTheMaximum) {
  const RunResult run = SimulatedRun();
  const json made = RunOf(run);
  const json& curve = made["response_seconds"]["curve"];
  EXPECT_GT(curve.size(), 40);
  double share = -1;
  double seconds = 0;
  for (const json& point : curve) {
    EXPECT_GT(point["share"], share);
    EXPECT_GE(point["seconds"], seconds);
    share = point["share"];
    seconds = point["seconds"];
    EXPECT_EQ(seconds, run.response.Percentile(share));
  }
  EXPECT_EQ(share, 1);
  EXPECT_EQ(seconds, run.response.max());
}

TEST(ToJsonTest, SummarisesRepetitions) {
  RunResult once = SimulatedRun();
  once.point.rate = 7;
  const json document = json::parse(ToJson(ReportOf({SimulatedRun(1), SimulatedRun(2), SimulatedRun(3), once})));
  ASSERT_THAT(document["summary"], SizeIs(2));
  const json& summary = document["summary"][0];
  EXPECT_EQ(summary["point"], "400/s poisson");
  EXPECT_EQ(summary["repetitions"], 3);
  double sum = 0;
  for (int i = 0; i < 3; ++i) sum += document["runs"][i]["throughput_per_second"].get<double>();
  EXPECT_DOUBLE_EQ(summary["throughput_per_second"]["mean"], sum / 3);
  EXPECT_GT(summary["throughput_per_second"]["ci95"], 0);
  EXPECT_FALSE(summary.contains("goodput_per_second"));
  EXPECT_TRUE(document["summary"][1]["response_p99_seconds"]["ci95"].is_null());
}

TEST(ToJsonTest, TakesAnyText) {
  RunResult run;
  run.statuses["INTERNAL"] = {1, "\xff\xfe \"quoted\" \n"};
  run.verification.worst_error = std::numeric_limits<double>::infinity();
  const json made = RunOf(run);
  EXPECT_EQ(made["statuses"]["INTERNAL"]["first_message"], "\xEF\xBF\xBD\xEF\xBF\xBD \"quoted\" \n");
  EXPECT_GT(made["verification"]["worst_error_tolerances"], 1e299);
}

TEST(ToJsonTest, HasCapacityAndConditions) {
  LoadReport report = ReportOf({});
  report.capacity = Capacity{.objective = "p99=20ms", .rate = 383, .failed_rate = 0, .probes = 23};
  report.conditions = {{"p99>20ms", true, "p99 was 21 ms"}};
  const json document = json::parse(ToJson(report));
  EXPECT_EQ(document["capacity"]["rate_per_second"], 383);
  EXPECT_TRUE(document["capacity"]["failed_rate_per_second"].is_null());
  EXPECT_EQ(document["conditions"][0]["failed"], true);
}

TEST(ReadJsonTest, ReadsTheMeasuresThatWereWritten) {
  RunResult run = SimulatedRun();
  // The last second was cut short.
  run.seconds = 4.5;
  const auto report = ReadJson("a.json", ToJson(ReportOf({run})));
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->version, "0.1.0");
  ASSERT_THAT(report->runs, SizeIs(1));
  EXPECT_EQ(report->runs[0].point, "400/s poisson");
  const std::vector<Measure> measures = MeasuresOf(run);
  ASSERT_EQ(report->runs[0].measures.size(), measures.size());
  for (size_t i = 0; i < measures.size(); ++i) {
    EXPECT_EQ(report->runs[0].measures[i].key, measures[i].key);
    EXPECT_EQ(report->runs[0].measures[i].value, measures[i].value);
    EXPECT_EQ(report->runs[0].measures[i].by_interval, measures[i].by_interval);
  }
  EXPECT_THAT(Find(measures, "response_p99_seconds").value, Optional(run.response.Percentile(0.99)));
  const auto answered = [&](size_t i) { return static_cast<double>(run.intervals[i].answered); };
  EXPECT_THAT(Find(measures, "throughput_per_second").by_interval,
              ElementsAre(answered(0), answered(1), answered(2), answered(3)));
  EXPECT_THAT(Find(measures, "error_share").by_interval, Each(0));
  EXPECT_EQ(Find(measures, "goodput_per_second").value, std::nullopt);
}

TEST(ReadJsonTest, RefusesOtherFiles) {
  EXPECT_THAT(ReadJson("a.json", "{"), IsError(kInvalid, "a.json is not a report of attnctl load: it is not JSON"));
  EXPECT_THAT(ReadJson("a.json", ""), IsError(kInvalid, "it is not JSON"));
  EXPECT_THAT(ReadJson("a.json", "[1]"), IsError(kInvalid, "it lacks \"format\": \"attnctl load report\""));
  EXPECT_THAT(ReadJson("a.json", R"({"format": 3})"), IsError(kInvalid, "it lacks \"format\""));
  EXPECT_THAT(ReadJson("a.json", R"({"format": "attnctl load report", "format_version": 2})"),
              IsError(kInvalid, "its format_version is 2, this program reads 1"));
  EXPECT_THAT(ReadJson("a.json", R"({"format": "attnctl load report", "format_version": 1})"),
              IsError(kInvalid, "it has no list of runs"));
  EXPECT_THAT(ReadJson("a.json", R"({"format": "attnctl load report", "format_version": 1, "runs": [7]})"),
              IsError(kInvalid, "a run does not say at which point it was"));
}

// Whatever else is wrong in a file that somebody edited is a value that is not there.
TEST(ReadJsonTest, TakesValuesOfOtherTypesForMissing) {
  const auto report = ReadJson("a.json", R"({"format": "attnctl load report", "format_version": 1, "started": 5,
      "runs": [{"point": {"text": "x"}, "throughput_per_second": "fast", "intervals": [3, null, {"answered": []}],
                "measured_seconds": 9, "response_seconds": [1, 2]}]})");
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->started, "");
  for (const Measure& measure : report->runs[0].measures) {
    EXPECT_EQ(measure.value, std::nullopt);
    EXPECT_THAT(measure.by_interval, IsEmpty());
  }
}

}  // namespace
}  // namespace attnd::load
