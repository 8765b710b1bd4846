// The weights of multi-head attention, ready for use.
#ifndef ATTND_CORE_LINEAR_PACKED_WEIGHTS_H_
#define ATTND_CORE_LINEAR_PACKED_WEIGHTS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/attention/scratch.h"
#include "core/linear/packed_matrix.h"
#include "core/linear/projection_weights.h"

namespace attnd {

// Immutable once packed, so thread-safe then. Shared by the store and the requests that use it.
class PackedWeights {
 public:
  // Packs everything, in float32. kResourceExhausted without memory. REQUIRES:
  // CheckWeights(weights) returned `shapes`.
  static absl::StatusOr<std::shared_ptr<const PackedWeights>> Pack(const ProjectionWeights& weights,
                                                                   const WeightShapes& shapes);

  // The same in steps: all but the matrices, which PackMatrix adds, of each role that is there
  // once, from several threads at the same time. Until then matrix() is empty, but in its place.
  static absl::StatusOr<std::shared_ptr<PackedWeights>> Begin(const ProjectionWeights& weights,
                                                              const WeightShapes& shapes);
  absl::Status PackMatrix(const ProjectionWeights& weights, WeightRole role);

  // Memory that Pack will take.
  static int64_t BytesFor(const WeightShapes& shapes);

  [[nodiscard]] const WeightShapes& shapes() const { return shapes_; }
  // REQUIRES: the role is a matrix that is there.
  [[nodiscard]] const PackedMatrix& matrix(WeightRole role) const { return matrices_[role]; }
  // Of vectors and tables; nullptr if it is not there.
  [[nodiscard]] const float* floats(WeightRole role) const { return floats_[role].data(); }
  // Memory held.
  [[nodiscard]] int64_t bytes() const { return BytesFor(shapes_); }

 private:
  WeightShapes shapes_;
  PerRole<PackedMatrix> matrices_;
  PerRole<Scratch> floats_;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_PACKED_WEIGHTS_H_
