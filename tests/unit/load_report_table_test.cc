#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "client/load/report_table.h"
#include "tests/unit/simulated_load.h"

namespace attnd::load {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

// 100 calls that took 1, 2, ... 100 ms after they were due, of which each was sent when it
// was due or 1 ms before its answer.
RunResult OpenRun() {
  RunResult run;
  run.point = {.model = LoadModel::kPoisson, .concurrency = 1, .rate = 50, .end_rate = 0};
  run.warm_up_seconds = 1;
  run.seconds = 2;
  run.calls = run.answered = 100;
  run.statuses["OK"] = {100, ""};
  run.flops = 5e9;
  run.request_bytes = 2e6;
  run.response_bytes = 4e3;
  run.client.cpu_seconds = 0.002;
  run.stability.reached = true;
  for (int i = 1; i <= 100; ++i) {
    run.response.Record(milliseconds(i));
    for (auto* times : {&run.service, &run.queue, &run.gather, &run.compute, &run.rest}) times->Record(milliseconds(1));
  }
  return run;
}

RunResult ClosedRun() {
  RunResult run = OpenRun();
  run.point = {.model = LoadModel::kClosed, .concurrency = 4, .rate = 0, .end_rate = 0};
  return run;
}

LoadReport ReportOf(const std::vector<RunResult>& runs) {
  LoadReport report;
  report.targets = {{.address = "127.0.0.1:7411", .version = "0.1.0", .isa = "avx2", .numerics_id = "x", .workers = 2}};
  report.works = {"tiny: Attend [1, 1, 4, 4] float32"};
  report.runs = runs;
  return report;
}

size_t WidthOf(const std::string& text) {
  std::istringstream lines(text);
  size_t widest = 0;
  for (std::string line; std::getline(lines, line);) {
    // "±" has two bytes.
    const auto wide = static_cast<size_t>(std::count(line.begin(), line.end(), '\xC2'));
    widest = std::max(widest, line.size() - wide);
  }
  return widest;
}

TEST(RenderTableTest, ShowsARunAtAGlance) {
  EXPECT_EQ(RenderTable(ReportOf({OpenRun()})),
            R"(to    127.0.0.1:7411 (attnd 0.1.0, avx2, 2 workers)
sent  tiny: Attend [1, 1, 4, 4] float32
for   2 s after 1 s of warm-up

response time  calls/s      p50      p90      p95      p99    p99.9      max     mean  failed
50/s poisson      50.0  50.0 ms  90.0 ms  95.0 ms  99.0 ms   100 ms   100 ms  50.5 ms     0 %

service time                p50      p90      p95      p99    p99.9      max     mean
50/s poisson            1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms

throughput    goodput/s  GFLOP/s   sent/s  received/s  client CPU  server CPU  refused
50/s poisson          -     2.50  1.00 MB     2.00 kB     20.0 us           -        -

phases, p50 p99    queue            gather           compute              rest
50/s poisson     1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms  1.00 ms

100 calls were measured. Calls/s are answered calls, CPU is per call. Percentiles are of answered
  calls, those of the response time also of calls that ran out of time; they are at most 0.1 % over
  the exact ones.
Answers were not verified.
)");
}

TEST(RenderTableTest, HasOneLatencyTableInAClosedLoop) {
  EXPECT_THAT(RenderTable(ReportOf({ClosedRun()})), Not(HasSubstr("service time")));
}

TEST(RenderTableTest, SumsUpRepetitions) {
  RunResult slower = ClosedRun();
  slower.repetition = 1;
  slower.answered = 80;
  const std::string text = RenderTable(ReportOf({ClosedRun(), slower}));
  // 50 and 40 per second: 45, and 12.706 * sqrt(50 / 2).
  EXPECT_THAT(text, HasSubstr("\n4 in flight       45.0  50.0 ms "));
  EXPECT_THAT(text, HasSubstr("\n  ± of 2 runs     63.5      0 s "));
  EXPECT_THAT(text, HasSubstr("± is half of the 95 % confidence interval of the mean"));
}

TEST(RenderTableTest, TellsOfStatusesWithTheirFirstMessage) {
  RunResult run = OpenRun();
  EXPECT_THAT(RenderTable(ReportOf({run})), Not(HasSubstr("Statuses")));
  run.answered = 88;
  run.statuses["OK"].calls = 88;
  run.statuses["RESOURCE_EXHAUSTED"] = {12, "the queue is full"};
  EXPECT_THAT(RenderTable(ReportOf({run})), HasSubstr("Statuses, and the first message of each\n"
                                                      "  50/s poisson  OK                  88\n"
                                                      "  50/s poisson  RESOURCE_EXHAUSTED  12  the queue is full\n"));
}

TEST(RenderTableTest, SaysLoudlyThatAnswersAreWrong) {
  RunResult run = OpenRun();
  EXPECT_THAT(RenderTable(ReportOf({run})), HasSubstr("Answers were not verified."));
  run.verification.against_first = 1000;
  run.verification.against_oracle = 2;
  run.verification.worst_error = 0.25;
  EXPECT_THAT(
      RenderTable(ReportOf({run})),
      HasSubstr("Answers verified: 2 compared with a float64 oracle (largest error 0.25 of the tolerance), 1,000 with\n"
                "  the bits of the first to the same request; all right."));
  run.verification.identity_failures = 1;
  run.verification.first_failure = "tiny: output[3] was 0.5, expected 0.25";
  EXPECT_THAT(
      RenderTable(ReportOf({run})),
      HasSubstr("WRONG ANSWERS: 1 check failed (0 out of tolerance, 1 not the bits of the first, 0 not those computed\n"
                "  here).\n"
                "  The first: tiny: output[3] was 0.5, expected 0.25\n"));
}

TEST(RenderTableTest, TellsOfSendTimes) {
  RunResult run = OpenRun();
  run.arrivals =
      ArrivalCheck{.rate_wanted = 50, .rate_sent = 49.5, .variation = 1.01, .distance = 0.2, .distance_limit = 0.1};
  EXPECT_THAT(
      RenderTable(ReportOf({run})),
      HasSubstr("  50/s poisson: 50/s wanted, 49.5/s sent; gaps NOT as random as wanted: Kolmogorov-Smirnov distance\n"
                "    0.2 of at most 0.1, variation 1.01\n"));
  run.point.model = LoadModel::kConstant;
  run.arrivals->distance = 0.01;
  run.arrivals->distance_limit = 0.05;
  EXPECT_THAT(RenderTable(ReportOf({run})), HasSubstr("1 % of calls more than a tenth of a gap late, within 5 %"));
}

TEST(RenderTableTest, WarnsOnceOfAKind) {
  LoadReport report = ReportOf({OpenRun(), OpenRun(), OpenRun()});
  report.runs[0].warnings = {"Not stable: by 12 %.", "Late."};
  report.runs[2].warnings = {"Not stable: by 50 %."};
  report.runs[2].point.rate = 70;
  EXPECT_THAT(RenderTable(report), HasSubstr("WARNING: Not stable: by 12 %. (50/s poisson; and so 1 more run)\n"
                                             "WARNING: Late. (50/s poisson)\n"));
  report.capacity = Capacity{.objective = "p99=20ms", .rate = 70, .failed_rate = 0, .probes = 3};
  EXPECT_THAT(RenderTable(report), HasSubstr("WARNING: Not stable: by 50 %. (70/s poisson)\n"));
  EXPECT_THAT(RenderTable(report), Not(HasSubstr("Late")));
}

TEST(RenderTableTest, EndsWithCapacityConditionsAndWarnings) {
  LoadReport report = ReportOf({OpenRun()});
  report.runs[0].warnings = {"The client was the bottleneck."};
  report.runs[0].point.rate = 383;
  report.capacity = Capacity{.objective = "p99=20ms", .rate = 383, .failed_rate = 400, .probes = 23};
  report.conditions = {{"p99>20ms", true, "p99 was 99.0 ms at 50/s poisson"}};
  EXPECT_THAT(RenderTable(report), HasSubstr("Capacity: 383/s held p99=20ms, 400/s did not (23 probes).\n"
                                             "FAILED  --fail-if p99>20ms: p99 was 99.0 ms at 50/s poisson\n"
                                             "WARNING: The client was the bottleneck.\n"));
  report.capacity->finished = false;
  EXPECT_THAT(RenderTable(report), HasSubstr("Capacity: search ended early: at least 383/s held p99=20ms, 400/s did"));
  report.runs[0].interrupted = true;
  EXPECT_THAT(RenderTable(report), HasSubstr("Capacity: search interrupted: at least 383/s held"));
  report.capacity = Capacity{.objective = "p99=20ms", .rate = 0, .failed_rate = 0.1, .probes = 1};
  EXPECT_THAT(RenderTable(report), HasSubstr("Capacity: no rate down to 0.1/s held p99=20ms (1 probe).\n"));
}

TEST(RenderTableTest, ShowsEveryRequestOfAMix) {
  RunResult run = OpenRun();
  run.works = {{"tiny", 60, run.response}, {"vit", 40, run.service}};
  EXPECT_THAT(RenderTable(ReportOf({run})),
              HasSubstr("response time by request  calls      p50      p90      p99      max\n"
                        "tiny                         60  50.0 ms  90.0 ms  99.0 ms   100 ms\n"
                        "vit                          40  1.00 ms  1.00 ms  1.00 ms  1.00 ms\n"));
}

TEST(RenderTableTest, HasNoRowsWithoutRuns) { EXPECT_THAT(RenderTable(LoadReport()), HasSubstr("There was no run.")); }

TEST(RenderTableTest, FitsAHundredColumns) {
  LoadReport report = ReportOf({});
  for (int i = 0; i < 2; ++i) {
    for (const LoadModel model : {LoadModel::kClosed, LoadModel::kConstant, LoadModel::kPoisson, LoadModel::kRamp}) {
      RunResult run = OpenRun();
      run.point = {.model = model, .concurrency = 100000, .rate = 12345.6, .end_rate = 98765.4};
      for (auto* times : {&run.response, &run.service, &run.queue, &run.gather, &run.compute, &run.rest}) {
        times->Record(std::chrono::microseconds(999400));
      }
      run.answered = 99;
      run.good = 98;
      run.server = ServerUse{.cpu_seconds = 123, .handled = 1e6, .refused = 9998, .resident_bytes = 1e9};
      run.statuses["RESOURCE_EXHAUSTED"] = {1, std::string(30, 'a') + ' ' + std::string(40, 'b')};
      run.arrivals = ArrivalCheck{12345.6, 12345.1, 1.23456, 0.0123456, 0.0223456};
      run.warnings = {
          "The client's busiest thread was running 99 % of the time, so that what it took for latency "
          "of the server may have been its own."};
      run.stability = {false, 0.123, 0.456};
      report.runs.push_back(run);
    }
  }
  EXPECT_LE(WidthOf(RenderTable(report)), 100) << RenderTable(report);
}

}  // namespace
}  // namespace attnd::load
