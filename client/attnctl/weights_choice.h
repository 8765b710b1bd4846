// Which weights `attnctl multihead` uses.
#ifndef ATTND_CLIENT_ATTNCTL_WEIGHTS_CHOICE_H_
#define ATTND_CLIENT_ATTNCTL_WEIGHTS_CHOICE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// As given by flags.
struct WeightsChoice {
  // An id, an alias, or a file or folder whose weights go with the request.
  std::string weights = {};
  // Of a file or folder: a preset or a JSON file; empty for "auto".
  std::string mapping = {};
  // Which of several sets: the one of this layer, of this name, or of both.
  std::optional<int64_t> layer = {};
  std::string name = {};
};

// Whether the text means a file or folder: there is one, or no alias would be called so.
bool IsWeightsPath(const std::string& text);

// Fails if the command line makes no choice, whatever the files hold.
absl::Status CheckChoice(const WeightsChoice& choice);

// Puts the weights, or their name, into the call; the owner of what was read into `owner`.
// Errors name the file. REQUIRES: CheckChoice is OK.
absl::Status ChooseWeights(const WeightsChoice& choice, codec::MultiHeadCall* call, std::shared_ptr<const void>* owner);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_WEIGHTS_CHOICE_H_
