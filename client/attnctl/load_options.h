// What `attnctl load` is asked to do.
#ifndef ATTND_CLIENT_ATTNCTL_LOAD_OPTIONS_H_
#define ATTND_CLIENT_ATTNCTL_LOAD_OPTIONS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/load/driver.h"
#include "client/load/objective.h"
#include "client/load/run_result.h"
#include "client/load/verifier.h"
#include "client/load/work_shape.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}  // namespace CLI

namespace attnd::attnctl {

// As given; empty for what was not.
struct LoadFlags {
  std::string concurrency = {};
  std::string rate = {};
  std::string arrivals = {};
  std::string ramp = {};
  bool find_capacity = false;
  std::string slo = {};

  std::string preset = {};
  std::string mix = {};
  std::vector<std::string> cases = {};
  // By name of the field.
  std::map<std::string, std::string> shape = {};
  std::string seed = {};

  std::string duration = {};
  std::string calls = {};
  std::string warm_up = {};
  std::string repeat = {};

  std::string verify = {};

  // Each one or several with commas between them.
  std::vector<std::string> endpoints = {};
  std::string channels = {};
  std::string threads = {};
  std::string attempts = {};
  std::vector<std::string> metrics = {};

  std::string json = {};
  std::string html = {};
  std::vector<std::string> fail_if = {};
};

struct LoadOptions {
  // In this order, each so many times.
  std::vector<load::LoadPoint> points;
  int repeat = 1;
  // Of every run; its point is set for each.
  load::RunPlan plan;
  std::optional<load::Objective> objective;
  bool find_capacity = false;
  double start_rate = 100;
  std::vector<load::WorkShape> shapes;
  load::VerifierOptions verifier;
  load::DriverOptions driver;
  // HTTP addresses of servers; may be none.
  std::vector<std::string> metrics;
  // Files; empty for none.
  std::string json;
  std::string html;
  std::vector<load::FailIf> fail_if;
};

// Adds the command and its flags to `app`.
void AddLoad(CLI::App* app, LoadFlags* flags);

// Checks the flags; reads the mix, if there is one. kInvalidArgument names the flag, or the
// file and the line.
absl::StatusOr<LoadOptions> CheckLoad(const LoadFlags& flags, const ClientOptions& client);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_LOAD_OPTIONS_H_
