#include "client/attnctl/load_command.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/attnctl/interrupt.h"
#include "client/attnctl/load_sources.h"
#include "client/channel.h"
#include "client/load/await_server.h"
#include "client/load/build_works.h"
#include "client/load/capacity.h"
#include "client/load/compare.h"
#include "client/load/driver.h"
#include "client/load/progress_line.h"
#include "client/load/report_html.h"
#include "client/load/report_table.h"
#include "client/load/result_json.h"
#include "client/load/server_metrics.h"
#include "client/load/verifier.h"
#include "client/printable.h"
#include "client/unary_caller.h"
#include "core/runtime/file.h"

namespace attnd::attnctl {
namespace {

using load::LoadReport;
using load::RunResult;
using load::Work;

std::string NowAsText() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc = {};
  std::array<char, 32> text = {};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  return text.data();
}

// "Intel(R) Xeon(R) Processor, 2 CPUs".
std::string DescribeMachine() {
  std::ifstream info("/proc/cpuinfo");
  std::string model = "unknown CPU";
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (!line.starts_with("model name") || colon == std::string::npos) continue;
    model = line.substr(colon + 2);
    break;
  }
  return absl::StrCat(model, ", ", std::thread::hardware_concurrency(), " CPUs");
}

absl::Status WriteText(const std::string& path, const std::string& text) {
  const std::array parts = {std::as_bytes(std::span(text))};
  return WriteFile(path, parts);
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  const auto contents = ReadFile(path);
  if (!contents.ok()) return contents.status();
  const auto bytes = contents->bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// What a run would find out too late. A file that is not there must not be made yet.
absl::Status CheckWritable(const std::string& path) {
  const std::filesystem::path file(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(file, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder"));
  }
  const bool exists = std::filesystem::exists(file, ignored);
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  if (access(exists ? file.c_str() : folder.c_str(), W_OK) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, path);
}

// Whether a server that is asked again will say the same.
bool IsFinal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
      return false;
    default:
      return true;
  }
}

class LoadTest {
 public:
  LoadTest(ClientOptions client, const LoadOptions* options, std::ostream* err)
      : client_options_(std::move(client)),
        options_(options),
        progress_(err, /*terminal=*/err == &std::cerr && isatty(STDERR_FILENO) == 1) {}

  absl::Status Prepare() {
    for (const std::string& path : {options_->json, options_->html}) {
      if (path.empty()) continue;
      if (absl::Status status = CheckWritable(path); !status.ok()) return status;
    }
    for (const auto step : {&LoadTest::Connect, &LoadTest::Build, &LoadTest::TryOnce, &LoadTest::StartDriver}) {
      if (absl::Status status = (this->*step)(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status RunAll() {
    if (options_->find_capacity) return FindCapacity();
    for (load::LoadPoint point : options_->points) {
      for (int repetition = 0; repetition < options_->repeat && !InterruptFlag::flag(); ++repetition) {
        auto run = Run(point);
        if (!run.ok()) return run.status();
        run->repetition = repetition;
        report_.runs.push_back(*std::move(run));
      }
    }
    return absl::OkStatus();
  }

  // What the runs say of conditions and works.
  void Judge() {
    LoadReport judged;
    for (const RunResult& run : report_.runs) {
      // Probes beyond the capacity were meant to fail.
      if (!report_.capacity.has_value() || run.point.rate <= report_.capacity->rate) judged.runs.push_back(run);
    }
    for (const load::FailIf& condition : options_->fail_if) {
      report_.conditions.push_back(load::Judge(condition, judged));
    }
    if (report_.runs.empty() || !options_->verifier.enabled) return;
    for (const Work& work : works_) {
      if (work.flops <= options_->verifier.max_flops) continue;
      report_.runs.front().warnings.push_back(absl::StrFormat(
          "%s takes %.1f GFLOP, more than the %.1f that are computed here to compare; its answers were compared with "
          "each other only.",
          work.name, work.flops * 1e-9, options_->verifier.max_flops * 1e-9));
    }
  }

  [[nodiscard]] LoadReport& report() { return report_; }

 private:
  absl::Status Connect() {
    for (const std::string& address : options_->driver.addresses) {
      ClientOptions options = client_options_;
      options.address = address;
      auto server = Client::Connect(options);
      if (!server.ok()) return server.status();
      std::chrono::milliseconds patience = load::kConnectPatience;
      if (options.timeout.count() > 0) patience = std::min(patience, options.timeout);
      absl::Status there =
          load::AwaitServer(address, MakeChannel(address, {.own_connection = true}), patience, InterruptFlag::flag());
      if (!there.ok()) return there;
      const auto info = (*server)->GetInfo({.timeout = patience});
      // A server may not have it.
      if (!info.ok() && info.status().code() != absl::StatusCode::kUnimplemented) return info.status();
      load::TargetInfo& target = report_.targets.emplace_back();
      target.address = address;
      if (info.ok()) target = {address, info->version(), info->isa(), info->numerics_id(), info->workers()};
      servers_.push_back(*std::move(server));
    }
    return absl::OkStatus();
  }

  absl::Status Build() {
    LoadSources sources(&servers_);
    auto works = load::BuildWorks(options_->shapes, options_->driver.seed, sources.Get());
    if (!works.ok()) return works.status();
    works_ = *std::move(works);
    for (const Work& work : works_) report_.works.push_back(absl::StrCat(work.name, ": ", work.description));
    return absl::OkStatus();
  }

  // One call of each work to each server, to find out at once what no server will answer.
  absl::Status TryOnce() {
    for (const std::string& address : options_->driver.addresses) {
      ClientOptions options = client_options_;
      options.address = address;
      UnaryCaller caller(options);
      for (const Work& work : works_) {
        if (InterruptFlag::flag()) return absl::CancelledError("interrupted before the first run");
        const auto answer = caller.Call(work.method, work.message, {.timeout = options.timeout}, /*max_attempts=*/1);
        if (!IsFinal(answer.status())) continue;
        const absl::Status& status = answer.status();
        return {status.code(), absl::StrCat(work.name, ": ", std::string(status.message()))};
      }
    }
    return absl::OkStatus();
  }

  absl::Status StartDriver() {
    verifier_ = std::make_unique<load::Verifier>(options_->verifier, works_);
    driver_ = std::make_unique<load::Driver>(options_->driver, works_, verifier_.get());
    report_.started = NowAsText();
    report_.machine = DescribeMachine();
    report_.version = ATTND_VERSION;
    return driver_->Connect(InterruptFlag::flag());
  }

  absl::StatusOr<RunResult> Run(const load::LoadPoint& point) {
    load::RunPlan plan = options_->plan;
    plan.point = point;
    std::optional<load::ServerCounters> before;
    if (!options_->metrics.empty()) {
      auto counters = load::ScrapeServers(options_->metrics);
      if (!counters.ok()) return counters.status();
      before = *counters;
    }
    auto run =
        driver_->Run(plan, InterruptFlag::flag(), [this](const load::Progress& progress) { progress_.Show(progress); });
    progress_.Clear();
    if (!run.ok() || !before.has_value()) return run;
    // The results are worth more than what a server that has gone can say.
    if (const auto after = load::ScrapeServers(options_->metrics); after.ok()) {
      run->server = load::UseBetween(*before, *after);
    } else {
      run->warnings.push_back(absl::StrCat(std::string(after.status().message()), " after the run."));
    }
    return run;
  }

  absl::Status FindCapacity() {
    load::LoadPoint point = options_->points.front();
    load::CapacityOptions options{.objective = *options_->objective, .start_rate = options_->start_rate};
    const auto probe = [&](double rate) {
      point.rate = rate;
      return Run(point);
    };
    auto found = load::FindCapacity(options, probe, InterruptFlag::flag());
    if (!found.ok()) return found.status();
    report_.capacity = std::move(found->capacity);
    report_.capacity->finished = found->finished;
    report_.runs = std::move(found->probes);
    // Nobody relies on the numbers of the others.
    for (RunResult& run : report_.runs) {
      if (run.point.rate != report_.capacity->rate) run.warnings.clear();
    }
    return absl::OkStatus();
  }

  const ClientOptions client_options_;
  const LoadOptions* options_;
  load::ProgressLine progress_;
  InterruptFlag interrupt_;
  std::vector<std::unique_ptr<Client>> servers_;
  // Must not move while verifier and driver live.
  std::vector<Work> works_;
  std::unique_ptr<load::Verifier> verifier_;
  std::unique_ptr<load::Driver> driver_;
  LoadReport report_;
};

// Not OK if not one call of all runs was answered: with the status that most calls ended with.
absl::Status CheckAnswered(const LoadReport& report) {
  int64_t most = 0;
  // Nothing was due in runs that were not interrupted, or else there would be a status.
  absl::Status status = absl::FailedPreconditionError(
      "no call was due in the measured part of the run: it was too short, or the rate too low");
  if (report.runs.empty() || report.runs.back().interrupted) {
    status = absl::CancelledError("interrupted before a call was answered");
  }
  for (const RunResult& run : report.runs) {
    if (run.answered > 0) return absl::OkStatus();
    for (const auto& [name, count] : run.statuses) {
      if (count.calls <= most) continue;
      most = count.calls;
      status = absl::UnavailableError(
          absl::StrCat("none of ", run.calls, " calls was answered; ", name, ": ", count.first_message));
    }
  }
  return status;
}

absl::Status WriteFiles(const LoadOptions& options, const LoadReport& report) {
  if (options.json.empty() && options.html.empty()) return absl::OkStatus();
  const std::string json = load::ToJson(report);
  if (!options.json.empty()) {
    if (absl::Status status = WriteText(options.json, json); !status.ok()) return status;
  }
  if (options.html.empty()) return absl::OkStatus();
  const auto page = load::RenderHtml("the report", json);
  return page.ok() ? WriteText(options.html, *page) : page.status();
}

// Why the exit status is not 0; empty if it is.
std::string FailureOf(const LoadReport& report) {
  for (const RunResult& run : report.runs) {
    const load::Verification& verification = run.verification;
    if (verification.failures() > 0) return absl::StrCat("wrong answers: ", verification.first_failure);
  }
  for (const load::Condition& condition : report.conditions) {
    if (condition.failed) return absl::StrCat(condition.text, " came true: ", condition.detail);
  }
  if (report.capacity.has_value() && report.capacity->rate <= 0) {
    const bool finished = report.runs.empty() || !report.runs.back().interrupted;
    return absl::StrCat(finished ? "no rate held " : "interrupted before a rate held ", report.capacity->objective);
  }
  return "";
}

}  // namespace

absl::StatusOr<bool> Load(const ClientOptions& client, const LoadOptions& options, const std::string& command,
                          std::ostream& out, std::ostream& err) {
  LoadTest test(client, &options, &err);
  if (absl::Status status = test.Prepare(); !status.ok()) return status;
  if (absl::Status status = test.RunAll(); !status.ok()) return status;
  test.Judge();
  LoadReport& report = test.report();
  report.command = command;
  absl::Status answered = CheckAnswered(report);
  if (answered.ok()) out << Printable(load::RenderTable(report)) << std::flush;
  if (absl::Status status = WriteFiles(options, report); !status.ok()) return status;
  if (!answered.ok()) return answered;
  const std::string failure = FailureOf(report);
  if (!failure.empty()) err << "attnctl: " << Printable(failure) << "\n";
  return failure.empty();
}

absl::Status Report(const std::string& before, const std::string& after, std::ostream& out) {
  auto old_text = ReadText(before);
  if (!old_text.ok()) return old_text.status();
  auto new_text = ReadText(after);
  if (!new_text.ok()) return new_text.status();
  const auto comparison = load::Compare({before, *std::move(old_text)}, {after, *std::move(new_text)});
  if (!comparison.ok()) return comparison.status();
  out << Printable(*comparison);
  return absl::OkStatus();
}

}  // namespace attnd::attnctl
