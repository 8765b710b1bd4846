// attnd: attention as a network service.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/runtime/lock_tuning.h"
#include "core/runtime/malloc_tuning.h"
#include "server/address.h"
#include "server/command_line.h"
#include "server/healthcheck.h"
#include "server/logging.h"
#include "server/ready_file.h"
#include "server/server.h"
#include "server/signals.h"

namespace attnd {
namespace {

constexpr int kSuccess = 0;
constexpr int kFailure = 1;

void Print(std::FILE* file, const std::string& text) {
  std::fputs(text.c_str(), file);
  std::fflush(file);
}

int Fail(const absl::Status& status) {
  Print(stderr, absl::StrCat("attnd: ", std::string(status.message()), "\n"));
  return kFailure;
}

int Probe(const ServerOptions& options) {
  const absl::StatusOr<Address> address = ParseAddress(options.listen.front());
  if (!address.ok()) return Fail(address.status());
  const Address server = ForLocalClient(*address);
  if (const absl::Status status = CheckHealth(server); !status.ok()) {
    return Fail(absl::UnavailableError(absl::StrCat(server.ToString(), ": ", std::string(status.message()))));
  }
  Print(stdout, absl::StrCat("attnd at ", server.ToString(), ": SERVING\n"));
  return kSuccess;
}

// The file first: who waits for the line may then read it.
absl::Status Announce(const ServerOptions& options, const Server& server) {
  if (!options.ready_file.empty()) {
    absl::Status written = WriteReadyFile(options.ready_file, server.grpc_addresses(), server.http_address());
    if (!written.ok()) return written;
  }
  std::string line = absl::StrCat("attnd ready grpc=", absl::StrJoin(server.grpc_addresses(), ","));
  if (!server.http_address().empty()) absl::StrAppend(&line, " http=", server.http_address());
  Print(stdout, line + "\n");
  return absl::OkStatus();
}

// When descriptors run out gRPC stops accepting for good, so take all there are.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) Log(LogLevel::kWarning, "cannot raise the limit of open files");
}

int Serve(const ServerOptions& options) {
  RaiseFileLimit();
  StopSignals signals;
  const absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options);
  if (!server.ok()) return Fail(server.status());
  if (const absl::Status status = Announce(options, **server); !status.ok()) return Fail(status);
  const int signal = signals.AwaitFirst();
  Log(LogLevel::kInfo, "stopping", {{"signal", int64_t{signal}}});
  if (!options.ready_file.empty()) unlink(options.ready_file.c_str());
  return (*server)->Drain() ? kSuccess : kFailure;
}

int Main(int argc, const char* const* argv) {
  TuneMalloc();
  TuneLocks();
  BlockStopSignals();
  const CommandLine command = ParseCommandLine(argc, argv);
  if (command.exit_status.has_value()) {
    Print(*command.exit_status == kSuccess ? stdout : stderr, command.text);
    return *command.exit_status;
  }
  if (command.healthcheck) return Probe(command.options);
  if (const absl::Status status = SetUpLogging(command.options.log); !status.ok()) return Fail(status);
  const int exit_status = Serve(command.options);
  StopLogging();
  return exit_status;
}

}  // namespace
}  // namespace attnd

int main(int argc, char** argv) { return attnd::Main(argc, argv); }
