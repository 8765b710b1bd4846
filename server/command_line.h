// attnd's command line, environment and configuration file.
#ifndef ATTND_SERVER_COMMAND_LINE_H_
#define ATTND_SERVER_COMMAND_LINE_H_

#include <optional>
#include <string>

#include "server/options.h"

namespace attnd {

struct CommandLine {
  ServerOptions options;
  // Probe a running server instead of being one.
  bool healthcheck = false;
  // Set if there is nothing to do but to print `text` and exit with this status: to stdout
  // if it is 0 (--help, --version), else one line to stderr.
  std::optional<int> exit_status;
  std::string text;
};

// Reads and validates. Thread-hostile (reads the environment).
CommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace attnd

#endif  // ATTND_SERVER_COMMAND_LINE_H_
