// attnctl weights: registers, lists, describes, renames and deletes weights of a server.
#ifndef ATTND_CLIENT_ATTNCTL_WEIGHTS_COMMANDS_H_
#define ATTND_CLIENT_ATTNCTL_WEIGHTS_COMMANDS_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "client/client.h"
#include "client/push_weights.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
class Option;
}  // namespace CLI

namespace attnd::attnctl {

struct WeightsFlags {
  PushSource push;
  // Id or alias.
  std::string name;
  std::string alias;
  bool json = false;
};

// Adds --mapping, which says how the tensors of files are named, to `command`.
CLI::Option* AddMapping(CLI::App* command, std::string* mapping);

// Adds the command and its flags to `app`.
void AddWeights(CLI::App* app, WeightsFlags* flags);

// Runs the command that was given. REQUIRES: app.got_subcommand("weights").
absl::Status Weights(const CLI::App& app, const ClientOptions& options, const WeightsFlags& flags, std::ostream& out);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_WEIGHTS_COMMANDS_H_
