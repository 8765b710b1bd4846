// Projection weights that requests name instead of bringing them: packed once, named by
// their content and by aliases, within a budget of bytes.
//
// What new weights need is taken from those that were used least recently and that no
// request uses now. Nothing is evicted for weights that would not fit even so.
#ifndef ATTND_CORE_LINEAR_WEIGHT_STORE_H_
#define ATTND_CORE_LINEAR_WEIGHT_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/linear/packed_weights.h"
#include "core/linear/projection_weights.h"
#include "core/runtime/clock.h"

namespace attnd {

// Weights in use: as long as one of the copies lives, the weights are resident and count as
// used by one request. May outlive the store. Freed on any thread.
using PinnedWeights = std::shared_ptr<const PackedWeights>;

// A tensor of registered weights, as it came.
struct WeightTensorInfo {
  WeightRole role = WeightRole::kQuery;
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
};

// One registered set of weights.
struct WeightsInfo {
  std::string id;
  // In alphabetical order.
  std::vector<std::string> aliases;
  // Resident.
  int64_t bytes = 0;
  // Pins.
  int64_t requests = 0;
  // Since the last pin was made or freed, or they were registered.
  Duration idle{};
  Orientation orientation = Orientation::kUnset;
  // In the order of roles.
  std::vector<WeightTensorInfo> tensors;
};

struct WeightStoreStats {
  int64_t sets = 0;
  // Resident, deleted weights that are still in use included.
  int64_t resident_bytes = 0;
  // Promised to weights that are being packed.
  int64_t reserved_bytes = 0;
  int64_t budget_bytes = 0;
  // Since construction.
  int64_t evictions = 0;
};

struct RegisteredWeights {
  std::string id;
  // Whether they had been there already.
  bool existed = false;
};

// Thread-safe.
class WeightStore {
 public:
  struct Options {
    // Most bytes resident and reserved together, at any time. Raising it keeps more weights.
    int64_t budget_bytes = int64_t{4} << 30;
    // Most sets, whatever their size: bounds what the budget does not count.
    int64_t max_sets = 4096;
    // Names per set.
    int64_t max_aliases = 64;
  };

  // `clock` must outlive the store and the pins.
  WeightStore(const Options& options, const Clock& clock);
  ~WeightStore();
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;

  // Pins weights. kNotFound if there are none of that name (any more); the message names
  // what was asked for. Does not wait for weights that are being packed: they are not there.
  absl::StatusOr<PinnedWeights> FindById(std::string_view id);
  absl::StatusOr<PinnedWeights> FindByAlias(std::string_view alias);

  // kInvalidArgument if weights of these shapes can never fit.
  [[nodiscard]] absl::Status CheckFits(const WeightShapes& shapes) const;

  // Checks the weights, computes their id, packs them unless they are there, and gives them
  // the alias unless it is empty, taking it from others that have it. Takes as long as
  // hashing and packing take, or as others take who are packing the same. The weights' bytes
  // are not needed afterwards. On failure the store is as before, but for evictions:
  //   kInvalidArgument   the weights or the alias are wrong, or larger than the budget
  //   kResourceExhausted no room beside weights in use (RetryAfterOf says when to come
  //                      back), or no memory
  absl::StatusOr<RegisteredWeights> Register(const ProjectionWeights& weights, std::string_view alias = {});

  // The same for weights that CheckWeights accepted and whose id the caller has computed.
  absl::StatusOr<RegisteredWeights> RegisterAs(std::string_view id, const ProjectionWeights& weights,
                                               const WeightShapes& shapes, std::string_view alias);

  // If weights of this id are there: counts them as used, gives them the alias unless it is
  // empty, and returns true. kInvalidArgument for a bad alias. Never waits.
  absl::StatusOr<bool> Reuse(std::string_view id, std::string_view alias);

  // `name` is an id or an alias. kNotFound if unknown.
  [[nodiscard]] absl::StatusOr<WeightsInfo> Describe(std::string_view name) const;
  // Most recently used first.
  [[nodiscard]] std::vector<WeightsInfo> List() const;
  // Forgets weights and their names and returns their id. Those in use are finished with
  // and freed then; until then they count. kNotFound if unknown.
  absl::StatusOr<std::string> Delete(std::string_view name);
  // Gives the weights called `name` an alias, taking it from others, and returns their id.
  // kNotFound if unknown, kInvalidArgument for a bad alias.
  absl::StatusOr<std::string> SetAlias(std::string_view name, std::string_view alias);

  [[nodiscard]] WeightStoreStats Stats() const;

 private:
  class Impl;
  // Shared with the pins.
  const std::shared_ptr<Impl> impl_;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_WEIGHT_STORE_H_
