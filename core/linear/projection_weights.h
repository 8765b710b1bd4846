// The weights of multi-head attention as they come: tensors by role, not owned, not packed.
// What each role means and its shape are written once, in proto/attnd/v1/attention.proto
// (ProjectionWeights, BlockWeights).
#ifndef ATTND_CORE_LINEAR_PROJECTION_WEIGHTS_H_
#define ATTND_CORE_LINEAR_PROJECTION_WEIGHTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/tensor.h"

namespace attnd {

// In the order of the contract's field numbers, which is that of the id.
enum class WeightRole {
  kQuery,
  kKey,
  kValue,
  kOutput,
  kQueryBias,
  kKeyBias,
  kValueBias,
  kOutputBias,
  kQkv,
  kQkvBias,
  kExtraKey,
  kExtraValue,
  kQueryNorm,
  kKeyNorm,
  kPositionTable,
  kAttentionNormScale,
  kAttentionNormShift,
  kFfnNormScale,
  kFfnNormShift,
  kUp,
  kUpBias,
  kGate,
  kGateBias,
  kDown,
  kDownBias,
};
inline constexpr size_t kWeightRoles = 25;

enum class WeightKind {
  kMatrix,  // two dimensions, which `orientation` tells apart
  kVector,  // one dimension
  kTable,   // [positions, width]
};

struct WeightRoleInfo {
  // The contract's: "w_query", "block.w_up".
  const char* name;
  WeightRole role;
  WeightKind kind;
};

// All roles, in order.
std::span<const WeightRoleInfo> WeightRoles();

inline const WeightRoleInfo& InfoOf(WeightRole role) { return WeightRoles()[static_cast<size_t>(role)]; }

// The role of that name, if there is one.
std::optional<WeightRole> WeightRoleFromName(std::string_view name);

enum class Orientation {
  kUnset,
  kInOut,  // y = x W
  kOutIn,  // y = x W^T
};

// Something for every role.
template <typename T>
class PerRole {
 public:
  T& operator[](WeightRole role) { return all_[static_cast<size_t>(role)]; }
  const T& operator[](WeightRole role) const { return all_[static_cast<size_t>(role)]; }

 private:
  std::array<T, kWeightRoles> all_{};
};

struct ProjectionWeights {
  Orientation orientation = Orientation::kUnset;
  PerRole<std::optional<TensorView>> tensors;
};

// Extents of every tensor that is there, matrices as [in, out]; empty for others.
struct WeightShapes {
  PerRole<std::vector<int64_t>> extents;

  [[nodiscard]] bool has(WeightRole role) const { return !extents[role].empty(); }
  // Of a matrix that is there.
  [[nodiscard]] int64_t in(WeightRole role) const { return extents[role][0]; }
  [[nodiscard]] int64_t out(WeightRole role) const { return extents[role][1]; }
};

// Elements that the tensors may have together: so that no sum of their sizes overflows.
inline constexpr int64_t kMaxWeightElements = int64_t{1} << 40;

// Checks what can be checked without knowing the numbers of heads: orientation, dtypes,
// ranks, extents >= 1 and how many elements they make, bytes as dtype and shape say unless `without_bytes`, which
// tensors go together, and that extents that must be equal are. Errors name the field under `where`, such as
// "inline.w_query" (InvalidField).
absl::StatusOr<WeightShapes> CheckWeights(const ProjectionWeights& weights, std::string_view where,
                                          bool without_bytes = false);

// "FLOAT32" elements that all tensors have together.
int64_t ElementsOf(const WeightShapes& shapes);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_PROJECTION_WEIGHTS_H_
