// The commands of attnctl, after their flags were read. Each prints its result to `out` and
// returns why there is none. Errors that a different command line would avoid are found by
// the Check functions beforehand.
#ifndef ATTND_CLIENT_ATTNCTL_COMMANDS_H_
#define ATTND_CLIENT_ATTNCTL_COMMANDS_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/case.h"
#include "client/client.h"
#include "proto/codec.h"

namespace attnd::attnctl {

struct CaseFlags {
  CaseSource source;
  // .npy or .safetensors; empty for none.
  std::string output;
};

// Fails if the flags make no case, or ask for results that the output file cannot hold.
absl::Status CheckCase(const CaseFlags& flags);

// What the server answers to the case.
absl::StatusOr<codec::MultiHeadReply> Ask(Client& client, const Case& input);

// Computes the case, prints the result and writes it to a file if asked to.
absl::Status Compute(const ClientOptions& options, const CaseFlags& flags, std::ostream& out);

// Prints what the server is and can do: aligned lines, or the message as JSON.
absl::Status Info(const ClientOptions& options, bool json, std::ostream& out);

// Prints SERVING, NOT_SERVING or UNKNOWN, and returns whether it is SERVING.
absl::StatusOr<bool> Health(const ClientOptions& options, const std::string& service, std::ostream& out);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_COMMANDS_H_
