// Layers among the tensors of a model. Used by weight_files.
#ifndef ATTND_CORE_LINEAR_LAYER_FINDER_H_
#define ATTND_CORE_LINEAR_LAYER_FINDER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/linear/projection_weights.h"
#include "core/linear/safetensors.h"
#include "core/linear/weight_mapping.h"

namespace attnd {

// The tensors of a layer.
struct FoundLayer {
  const NamingScheme* scheme = nullptr;
  std::string prefix;
  // -1: none.
  int64_t layer = -1;
  PerRole<const StoredTensor*> tensors;
};

// Thread-compatible.
class LayerFinder {
 public:
  // `tensors` and `mapping` must outlive the finder and the layers.
  LayerFinder(const std::vector<const StoredTensor*>& tensors, const WeightMapping& mapping)
      : tensors_(tensors), mapping_(mapping) {}

  // All layers, by scheme, prefix and number. kInvalidArgument for one that is incomplete
  // or of another kind, naming the tensors in question, and for two tensors of one role.
  absl::StatusOr<std::vector<FoundLayer>> Find();
  // Tensors that belong to none.
  [[nodiscard]] std::vector<std::string> LeftOver() const;

 private:
  using Key = std::pair<std::string, int64_t>;
  // What might have been a layer.
  struct NearMiss {
    std::vector<const StoredTensor*> tensors;
    std::string problem;
  };

  absl::Status FindBy(const NamingScheme& scheme);
  void Judge(const NamingScheme& scheme, FoundLayer found, const std::string* foreign);
  [[nodiscard]] bool IsTaken(const StoredTensor* tensor) const { return taken_.contains(tensor); }

  const std::vector<const StoredTensor*>& tensors_;
  const WeightMapping& mapping_;
  std::set<const StoredTensor*> taken_;
  std::vector<FoundLayer> layers_;
  std::vector<NearMiss> near_misses_;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_LAYER_FINDER_H_
