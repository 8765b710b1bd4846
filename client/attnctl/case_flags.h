// Flags of commands that take a case.
#ifndef ATTND_CLIENT_ATTNCTL_CASE_FLAGS_H_
#define ATTND_CLIENT_ATTNCTL_CASE_FLAGS_H_

#include <string>

#include "client/attnctl/case.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/weights_choice.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
class Option;
}  // namespace CLI

namespace attnd::attnctl {

// Adds the option of a case as `flag`, whose values go to `values`.
CLI::Option* AddOption(const OptionRule& rule, const std::string& flag, CLI::App* command, FlagValues* values);

// Adds the flags that say which weights a case with embeddings uses.
void AddWeightsChoice(CLI::App* command, WeightsChoice* choice);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CASE_FLAGS_H_
