// attnctl inside a test.
#ifndef ATTND_TESTS_SUPPORT_ATTNCTL_RUN_H_
#define ATTND_TESTS_SUPPORT_ATTNCTL_RUN_H_

#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "client/attnctl/cli.h"

namespace attnd {

struct Outcome {
  int exit_code = 0;
  std::string out;
  std::string err;
};

inline Outcome Attnctl(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"attnctl"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = attnctl::Run(static_cast<int>(argv.size()), argv.data(), out, err);
  return {exit_code, out.str(), err.str()};
}

// One line, for a person, with the program's name.
MATCHER(IsOneLineOfComplaint, "") {
  *result_listener << "'" << arg << "'";
  return std::count(arg.begin(), arg.end(), '\n') == 1 && arg.back() == '\n' && arg.rfind("attnctl: ", 0) == 0;
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_ATTNCTL_RUN_H_
