// attnctl load and attnctl report, after their flags were read.
#ifndef ATTND_CLIENT_ATTNCTL_LOAD_COMMAND_H_
#define ATTND_CLIENT_ATTNCTL_LOAD_COMMAND_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/load_options.h"
#include "client/client.h"

namespace attnd::attnctl {

// Runs the load test, prints the table to `out` and progress to `err`, and writes the files.
// False, with a line to `err` that says why, if answers were wrong, a condition of --fail-if
// came true, or no rate held the objective. Fails if there is nothing to tell: no server, or
// not one call answered. `command` is what the results say they come from.
absl::StatusOr<bool> Load(const ClientOptions& client, const LoadOptions& options, const std::string& command,
                          std::ostream& out, std::ostream& err);

// Compares two files that --json wrote.
absl::Status Report(const std::string& before, const std::string& after, std::ostream& out);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_LOAD_COMMAND_H_
