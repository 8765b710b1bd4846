// Weights that a server has from the start.
#ifndef ATTND_SERVER_PRELOAD_H_
#define ATTND_SERVER_PRELOAD_H_

#include "absl/status/status.h"
#include "core/linear/weight_store.h"
#include "server/options.h"

namespace attnd {

// Registers what options.weights names, and logs it. A failure is one line that says which
// flag, file and tensor; also if not everything fits the budget or two sets would have one
// name.
absl::Status PreloadWeights(const ServerOptions& options, WeightStore& weights);

}  // namespace attnd

#endif  // ATTND_SERVER_PRELOAD_H_
