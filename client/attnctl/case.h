// What `attnctl attend` and `attnctl multihead` compute: a request from files, or a built-in example.
#ifndef ATTND_CLIENT_ATTNCTL_CASE_H_
#define ATTND_CLIENT_ATTNCTL_CASE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/weights_choice.h"

namespace attnd::attnctl {

// Values of flags, by option name, in the order they came.
using FlagValues = std::map<std::string, std::vector<std::string>>;

// Where the case comes from: exactly one of `input`, `example`, and the flags query, key and
// value (kAttend: all of them; kMultiHead: at least query).
struct CaseSource {
  CaseKind kind = CaseKind::kAttend;
  // A .safetensors file: tensors by option name, mask and bias also as NAME.0, NAME.1, ...;
  // other options as metadata.
  std::string input = {};
  // Name of a built-in example.
  std::string example = {};
  // Options given as flags; they beat the file's. A value that ends in .npy is a file if
  // the option takes a tensor.
  FlagValues flags = {};
  // kMultiHead.
  WeightsChoice weights = {};
};

// The case without what files will bring. Fails with kInvalidArgument if the command line
// makes no case, whatever the files hold.
absl::StatusOr<Case> CheckUsage(const CaseSource& source);

// Reads the case. Errors name the file and the tensor or metadata key, or the flag.
// REQUIRES: CheckUsage is OK.
absl::StatusOr<Case> LoadCase(const CaseSource& source);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CASE_H_
