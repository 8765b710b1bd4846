#include "core/linear/packed_weights.h"

#include <utility>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

std::vector<float> Floats(const TensorView& tensor) {
  std::vector<std::byte> raw(tensor.bytes.size());
  tensor.bytes.CopyTo(raw.data());
  std::vector<float> floats(raw.size() / static_cast<size_t>(ElementBytes(tensor.dtype)));
  simd::LoadRow(raw.data(), tensor.dtype, static_cast<int64_t>(floats.size()), floats.data());
  return floats;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const PackedWeights>> PackedWeights::Pack(const ProjectionWeights& weights,
                                                                         const WeightShapes& shapes) {
  auto packed = std::make_shared<PackedWeights>();
  packed->shapes_ = shapes;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (!tensor.has_value()) continue;
    if (info.kind != WeightKind::kMatrix) {
      packed->floats_[info.role] = Floats(*tensor);
      continue;
    }
    absl::StatusOr<PackedMatrix> matrix = PackedMatrix::Pack(*tensor, weights.orientation);
    if (!matrix.ok()) return matrix.status();
    packed->matrices_[info.role] = *std::move(matrix);
  }
  return packed;
}

int64_t PackedWeights::BytesFor(const WeightShapes& shapes) {
  int64_t bytes = 0;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& extents = shapes.extents[info.role];
    if (extents.empty()) continue;
    if (info.kind == WeightKind::kMatrix) {
      bytes += PackedMatrix::BytesFor(extents[0], extents[1]);
    } else {
      bytes += *Product(extents) * static_cast<int64_t>(sizeof(float));
    }
  }
  return bytes;
}

}  // namespace attnd
