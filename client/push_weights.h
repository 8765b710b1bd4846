// Weights of files to a server.
#ifndef ATTND_CLIENT_PUSH_WEIGHTS_H_
#define ATTND_CLIENT_PUSH_WEIGHTS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "core/linear/weight_files.h"

namespace attnd {

struct PushSource {
  // A .safetensors file or a folder of them.
  std::string path;
  // A preset ("auto", "bert", ...) or a JSON file; see core/linear/weight_mapping.h.
  std::string mapping = "auto";
  // What the model is called instead of its preset or file; may be empty.
  std::string name = {};
};

// One set that was registered.
struct PushedWeights {
  std::string alias;
  RegisteredWeights registered;
};

struct PushResult {
  // In the order of the files' layers.
  std::vector<PushedWeights> sets;
  // Tensors that have no role.
  std::vector<std::string> passed_over;
};

// Reads the files, finds the weights in them and registers each by its alias. `pushed`, if
// there is one, is told of each as it is done. Fails as LoadWeights and RegisterWeights do,
// and with kResourceExhausted if in the end the server does not have all of them, since they
// take more than its budget; what was registered stays.
absl::StatusOr<PushResult> PushWeights(Client& client, const PushSource& source,
                                       const std::function<void(const PushedWeights&)>& pushed = nullptr);

}  // namespace attnd

#endif  // ATTND_CLIENT_PUSH_WEIGHTS_H_
