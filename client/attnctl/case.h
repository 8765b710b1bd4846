// What `attnctl attend` computes: a request from files, or a built-in example.
#ifndef ATTND_CLIENT_ATTNCTL_CASE_H_
#define ATTND_CLIENT_ATTNCTL_CASE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/case_options.h"
#include "client/client.h"
#include "core/attention/request.h"

namespace attnd::attnctl {

// Where the tensors come from: exactly one of `input`, `example`, and `query`, `key` and
// `value` together.
struct CaseSource {
  // A .safetensors file with tensors query, key and value; options as metadata.
  std::string input;
  // .npy files.
  std::string query;
  std::string key;
  std::string value;
  // Name of a built-in example.
  std::string example;
  // Options given as flags; they beat the file's.
  OptionTexts flags;
};

// A request with all it needs: it owns its tensors.
struct Case {
  AttentionRequest request;
  CallOptions call;
  // For people. Empty for cases from files.
  std::string title;
  // One per token. Empty for cases from files.
  std::vector<std::string> tokens;
};

// Fails with kInvalidArgument if the command line makes no case, whatever the files hold.
absl::Status CheckUsage(const CaseSource& source);

// Reads the case. Errors name the file and the tensor or metadata key. REQUIRES: CheckUsage
// is OK.
absl::StatusOr<Case> LoadCase(const CaseSource& source);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CASE_H_
