// Weights from safetensors files: one file, or all of a folder, in which a model may be
// split at any place.
#ifndef ATTND_CORE_LINEAR_WEIGHT_FILES_H_
#define ATTND_CORE_LINEAR_WEIGHT_FILES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/linear/projection_weights.h"
#include "core/linear/safetensors.h"
#include "core/linear/weight_mapping.h"

namespace attnd {

// The weights of a layer, with the name to register them by: as the mapping says, else
// MODEL.layer.N, or MODEL for what has no layers. MODEL is the name given, else the
// preset's ("bert.layer.0") or, without layers, the file's. Where several parts of a model
// have layers of the same number, what their tensors' names begin with comes before
// "layer"; characters that aliases may not have become '_'.
struct NamedWeights {
  std::string alias;
  // Among those of its part of the model; -1 for what has no layers.
  int64_t layer = -1;
  // CheckWeights accepts them.
  ProjectionWeights weights;
};

struct LoadedWeights {
  // By parts of the model and numbers of layers.
  std::vector<NamedWeights> sets;
  // Tensors that have no role, by name.
  std::vector<std::string> passed_over;
  // Own what the weights refer to.
  std::vector<Safetensors> files;
};

// Reads `path`, a file or a folder with *.safetensors (those in folders below are not
// looked at), into memory. Files of a folder whose tensors' names do not collide are one
// model, others are models of their own. Errors name the file or folder, and the tensors:
//   kInvalidArgument   a file is malformed, no layer is recognised, one is incomplete, of
//                      another kind, or wrong
//   others             as ReadFile
// Thread-safe.
absl::StatusOr<LoadedWeights> LoadWeights(const std::string& path, const WeightMapping& mapping,
                                          const std::string& name = "");

// The same for files that were read; `path` is for errors, `names` are those of the files.
absl::StatusOr<LoadedWeights> MapWeights(const std::string& path, std::vector<Safetensors> files,
                                         const std::vector<std::string>& names, const WeightMapping& mapping,
                                         const std::string& name = "");

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_WEIGHT_FILES_H_
