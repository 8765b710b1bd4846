// attnctl load and attnctl report against real servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/linear/safetensors.h"
#include "tests/support/attnctl_run.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json ReadReport(const std::string& path) {
  auto report = nlohmann::json::parse(ReadAll(path), nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(report.is_discarded()) << path;
  return report;
}

StoredTensor F32(const std::string& name, std::vector<int64_t> shape, const std::vector<float>& values) {
  return {name, StoredType::kF32, std::move(shape), std::as_bytes(std::span(values))};
}

// What a server counted of calls that it answered.
constexpr char kAnswered[] =
    R"(grpc_server_handled_total{grpc_code="OK",grpc_method="Attend",grpc_service="attnd.v1.AttentionService",)"
    R"(grpc_type="unary"})";

class AttnctlLoadTest : public ::testing::Test {
 protected:
  // Short: 60 calls of 16 tokens, unless the arguments say otherwise.
  Outcome Load(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"load", "--server", server_.address(), "--warm-up", "0s"});
    return Attnctl(arguments);
  }

  // The same with 60 calls of 16 tokens; returns what --json wrote.
  nlohmann::json LoadTiny(std::vector<std::string> arguments) {
    const std::string path = TempPath("report.json");
    arguments.insert(arguments.end(), {"--preset", "tiny", "--calls", "60", "--json", path});
    const Outcome outcome = Load(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    return ReadReport(path);
  }

  RunningServer server_;
};

TEST_F(AttnctlLoadTest, AClosedLoopMeasuresAndVerifiesEveryCall) {
  const nlohmann::json report = LoadTiny({"--concurrency", "4"});
  ASSERT_EQ(report["runs"].size(), 1);
  const nlohmann::json& run = report["runs"][0];
  EXPECT_EQ(run["point"]["text"], "4 in flight");
  EXPECT_EQ(run["calls"], 60);
  EXPECT_EQ(run["answered"], 60);
  EXPECT_EQ(run["statuses"]["OK"]["calls"], 60);
  EXPECT_EQ(run["response_seconds"]["count"], 60);
  EXPECT_EQ(run["works"][0]["name"], "tiny");
  EXPECT_EQ(run["works"][0]["calls"], 60);
  for (const char* kind : {"response_seconds", "service_seconds"}) {
    const nlohmann::json& latency = run[kind];
    EXPECT_GT(latency["min"], 0);
    EXPECT_LE(latency["min"], latency["p50"]);
    EXPECT_LE(latency["p50"], latency["p99"]);
    EXPECT_LE(latency["p99"], latency["max"]);
  }
  const nlohmann::json& verification = run["verification"];
  EXPECT_EQ(verification["failures"], 0);
  EXPECT_EQ(verification["against_oracle"], 1);
  EXPECT_EQ(verification["against_local"], 1);
  EXPECT_GE(verification["against_first"], 59);
  EXPECT_EQ(report["works"][0], "tiny: Attend [1, 1, 16, 64] float32");
  EXPECT_EQ(report["targets"][0]["address"], server_.address());
  EXPECT_EQ(report["targets"][0]["workers"], 2);
  EXPECT_THAT(report["command"], StartsWith("attnctl load --server "));
}

TEST_F(AttnctlLoadTest, AnOpenLoopSendsAtTheRate) {
  const std::string path = TempPath("open.json");
  for (const char* arrivals : {"poisson", "constant"}) {
    const Outcome outcome =
        Load({"--preset", "tiny", "--rate", "200", "--arrivals", arrivals, "--duration", "1s", "--json", path});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const nlohmann::json run = ReadReport(path)["runs"][0];
    EXPECT_EQ(run["point"]["model"], arrivals);
    EXPECT_EQ(run["point"]["rate_per_second"], 200);
    // Chance, and a machine that is busy with other things.
    EXPECT_GE(run["calls"], 100);
    EXPECT_LE(run["calls"], 300);
    EXPECT_EQ(run["answered"], run["calls"]);
    EXPECT_FALSE(run["arrivals"].is_null());
  }
}

TEST_F(AttnctlLoadTest, SweepsAndRepetitionsAreRunsInOrder) {
  const nlohmann::json report = LoadTiny({"--concurrency", "1,3", "--repeat", "2"});
  ASSERT_EQ(report["runs"].size(), 4);
  const std::vector<std::pair<int, int>> expected = {{1, 0}, {1, 1}, {3, 0}, {3, 1}};
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(report["runs"][i]["point"]["concurrency"], expected[i].first);
    EXPECT_EQ(report["runs"][i]["repetition"], expected[i].second);
  }
}

TEST_F(AttnctlLoadTest, EveryPresetIsServedAndRight) {
  for (const char* preset : {"bert-base", "llama-decode", "vit", "tiny", "rag-rerank"}) {
    const std::string path = TempPath("preset.json");
    const Outcome outcome = Load({"--preset", preset, "--calls", "4", "--json", path});
    EXPECT_EQ(outcome.exit_code, 0) << preset << ": " << outcome.err;
    const nlohmann::json run = ReadReport(path)["runs"][0];
    EXPECT_EQ(run["answered"], 4);
    EXPECT_GE(run["verification"]["against_oracle"], 1);
    EXPECT_EQ(run["verification"]["failures"], 0);
  }
}

TEST_F(AttnctlLoadTest, AMixSendsItsWorksBySharesAndCases) {
  const std::vector<float> numbers(2 * 3, 0.5F);
  const std::string case_path = TempPath("recorded.safetensors");
  ASSERT_THAT(WriteSafetensors(case_path,
                               std::vector{F32("query", {2, 3}, numbers), F32("key", {2, 3}, numbers),
                                           F32("value", {2, 3}, numbers)},
                               {{"causal", "top_left"}}),
              IsOk());
  const std::string mix = TempPath("mix.yaml");
  std::ofstream(mix) << "works:\n  - {preset: tiny, weight: 3}\n  - {name: masked, heads: 2, q_len: [8, 9], "
                        "mask_density: 0.5}\n  - {case: "
                     << case_path << "}\n";
  const std::string path = TempPath("mix.json");
  const Outcome outcome = Load({"--mix", mix, "--calls", "300", "--concurrency", "2", "--json", path});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json run = ReadReport(path)["runs"][0];
  std::map<std::string, int> calls;
  for (const nlohmann::json& work : run["works"]) calls[work["name"]] = work["calls"];
  ASSERT_EQ(calls.size(), 4);
  // Expected are 180, 30, 30 and 60.
  EXPECT_GT(calls["tiny"], calls["case"]);
  EXPECT_GT(calls["case"], 20);
  EXPECT_GT(calls["masked.1"], 5);
  EXPECT_GT(calls["masked.2"], 5);
  EXPECT_EQ(run["verification"]["against_oracle"], 4);
  EXPECT_EQ(run["verification"]["failures"], 0);
}

TEST_F(AttnctlLoadTest, WeightsOfAFileArePushedAndAnswersVerified) {
  std::vector<float> numbers(16 * 16);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 7) * 0.1F - 0.3F;
  const std::string weights = TempPath("layer.safetensors");
  ASSERT_THAT(WriteSafetensors(weights,
                               std::vector{F32("w_query", {16, 16}, numbers), F32("w_key", {16, 16}, numbers),
                                           F32("w_value", {16, 16}, numbers), F32("w_output", {16, 16}, numbers)},
                               {{"orientation", "IN_OUT"}}),
              IsOk());
  const std::string path = TempPath("multihead.json");
  const std::vector<std::string> shape = {"--heads", "2", "--q-len", "6", "--calls", "20", "--json", path};
  std::vector<std::string> by_file = {"--weights", weights};
  by_file.insert(by_file.end(), shape.begin(), shape.end());
  const Outcome pushed = Load(by_file);
  ASSERT_EQ(pushed.exit_code, 0) << pushed.err;
  nlohmann::json report = ReadReport(path);
  EXPECT_EQ(report["works"][0], "custom: MultiHeadAttend [1, 6, 16] float32 2 heads");
  EXPECT_EQ(report["runs"][0]["verification"]["against_oracle"], 1);
  EXPECT_EQ(report["runs"][0]["verification"]["failures"], 0);

  // Who only names weights cannot compute the answer, but compare answers.
  ASSERT_EQ(Attnctl({"weights", "push", weights, "--server", server_.address()}).exit_code, 0);
  std::vector<std::string> by_alias = {"--weights", "layer"};
  by_alias.insert(by_alias.end(), shape.begin(), shape.end());
  const Outcome named = Load(by_alias);
  ASSERT_EQ(named.exit_code, 0) << named.err;
  report = ReadReport(path);
  EXPECT_EQ(report["runs"][0]["verification"]["against_oracle"], 0);
  EXPECT_GE(report["runs"][0]["verification"]["against_first"], 19);
}

TEST_F(AttnctlLoadTest, TheTableFitsAndTheMetricsAreTheServers) {
  const std::string path = TempPath("metrics.json");
  const Outcome outcome = Load({"--preset", "tiny", "--calls", "60", "--metrics", server_.http(), "--json", path});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("tiny: Attend"), HasSubstr("1 in flight"), HasSubstr("all right")));
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100) << line;
  const nlohmann::json server = ReadReport(path)["runs"][0]["server"];
  EXPECT_GE(server["handled"], 60);
  EXPECT_EQ(server["refused"], 0);
  EXPECT_GE(server["cpu_seconds"], 0);
  EXPECT_GT(server["resident_bytes"], 1e6);
}

TEST_F(AttnctlLoadTest, FailIfDecidesTheExitStatus) {
  const Outcome good = Load({"--preset", "tiny", "--calls", "20", "--fail-if", "p99>50s", "--fail-if", "errors>1%"});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  const Outcome bad = Load({"--preset", "tiny", "--calls", "20", "--fail-if", "errors>1%", "--fail-if", "p50>1ns"});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.err, AllOf(IsOneLineOfComplaint(), StartsWith("attnctl: p50>1ns came true: ")));
  EXPECT_THAT(bad.out, HasSubstr("1 in flight"));
}

TEST_F(AttnctlLoadTest, TheSearchForCapacityReportsARateOrThatThereIsNone) {
  const Outcome none = Load({"--preset", "tiny", "--find-capacity", "--slo", "p99=1us", "--duration", "50ms"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("attnctl: no rate held p99=1us"));
}

TEST_F(AttnctlLoadTest, CallsGoToAllEndpoints) {
  const RunningServer other;
  const std::string path = TempPath("endpoints.json");
  const Outcome outcome = Load({"--preset", "tiny", "--calls", "60", "--concurrency", "4", "--endpoints",
                                server_.address() + "," + other.address(), "--metrics",
                                server_.http() + "," + other.http(), "--json", path});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json report = ReadReport(path);
  EXPECT_EQ(report["targets"].size(), 2);
  EXPECT_EQ(report["runs"][0]["answered"], 60);
  EXPECT_GE(Metric(server_.http(), kAnswered), 20);
  EXPECT_GE(Metric(other.http(), kAnswered), 20);
}

TEST_F(AttnctlLoadTest, AnInterruptEndsEarlyWithTheResultsSoFar) {
  const std::string path = TempPath("interrupted.json");
  // Once calls are answered the handler is there.
  std::thread interrupter([&] {
    const bool answered = Eventually([&] { return Metric(server_.http(), kAnswered) > 20; });
    EXPECT_TRUE(answered);
    if (answered) kill(getpid(), SIGINT);
  });
  const Outcome outcome = Load({"--preset", "tiny", "--duration", "5m", "--concurrency", "1,2", "--json", path});
  interrupter.join();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json report = ReadReport(path);
  ASSERT_EQ(report["runs"].size(), 1);
  EXPECT_TRUE(report["runs"][0]["interrupted"]);
  EXPECT_GT(report["runs"][0]["answered"], 0);
}

TEST_F(AttnctlLoadTest, AnInterruptedSearchSaysSo) {
  const std::string path = TempPath("searching.json");
  std::thread interrupter([&] {
    // More than the first probe's.
    const bool answered = Eventually([&] { return Metric(server_.http(), kAnswered) > 150; });
    EXPECT_TRUE(answered);
    if (answered) kill(getpid(), SIGINT);
  });
  const Outcome outcome = Load({"--preset", "tiny", "--find-capacity", "--slo", "p50=10s,errors=50%", "--rate", "20",
                                "--duration", "1s", "--json", path});
  interrupter.join();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Capacity: search interrupted: at least "));
  EXPECT_EQ(ReadReport(path)["capacity"]["finished"], false);
}

TEST_F(AttnctlLoadTest, ReportComparesTwoFiles) {
  const std::string before = TempPath("before.json");
  const std::string after = TempPath("after.json");
  for (const std::string& path : {before, after}) {
    EXPECT_EQ(Load({"--preset", "tiny", "--calls", "30", "--repeat", "3", "--json", path}).exit_code, 0);
  }
  const Outcome outcome = Attnctl({"report", before, after});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("1 in flight"));
  const Outcome missing = Attnctl({"report", before, TempPath("nowhere.json")});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.err, AllOf(IsOneLineOfComplaint(), HasSubstr("nowhere.json")));
}

TEST_F(AttnctlLoadTest, ThePageHoldsTheResults) {
  const std::string path = TempPath("page.html");
  EXPECT_EQ(Load({"--preset", "tiny", "--calls", "20", "--html", path}).exit_code, 0);
  EXPECT_THAT(ReadAll(path), AllOf(HasSubstr("<html"), HasSubstr("attnctl load report")));
  const Outcome unwritable = Load({"--preset", "tiny", "--calls", "5", "--html", "/nowhere/page.html"});
  EXPECT_EQ(unwritable.exit_code, 1);
  EXPECT_THAT(unwritable.err, AllOf(IsOneLineOfComplaint(), HasSubstr("/nowhere/page.html")));
}

TEST(AttnctlLoadHelpTest, FitsAndHasItsGroupsAndExamples) {
  const Outcome outcome = Attnctl({"load", "--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100) << line;
  size_t at = 0;
  for (const char* part : {"How hard:", "What:", "How long:", "Truth:", "Limits and connections:", "Results:",
                           "Examples:", "attnctl load --preset", "attnctl load --rate", "attnctl load --mix"}) {
    const size_t next = outcome.out.find(part, at);
    ASSERT_NE(next, std::string::npos) << part;
    at = next;
  }
}

}  // namespace
}  // namespace attnd
