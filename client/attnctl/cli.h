// attnctl's command line.
#ifndef ATTND_CLIENT_ATTNCTL_CLI_H_
#define ATTND_CLIENT_ATTNCTL_CLI_H_

#include <ostream>

namespace attnd::attnctl {

// Runs `attnctl` with these arguments (argv[0] is the program). Prints results to `out` and
// exactly one line to `err` if there is none. Returns the exit status: 0 good, 1 failed at
// run time, 2 wrong usage.
int Run(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CLI_H_
