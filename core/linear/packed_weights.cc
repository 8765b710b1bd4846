#include "core/linear/packed_weights.h"

#include <utility>

#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

absl::Status CopyAsFloats(const TensorView& tensor, Scratch& floats) {
  const auto elements = static_cast<int64_t>(tensor.bytes.size()) / ElementBytes(tensor.dtype);
  if (absl::Status s = floats.Reserve(elements); !s.ok()) return s;
  if (tensor.dtype == DataType::kFloat32) {
    tensor.bytes.CopyTo(reinterpret_cast<std::byte*>(floats.data()));
    return absl::OkStatus();
  }
  Scratch raw;
  if (absl::Status s = raw.Reserve((elements + 1) / 2); !s.ok()) return s;
  tensor.bytes.CopyTo(reinterpret_cast<std::byte*>(raw.data()));
  simd::LoadRow(reinterpret_cast<const std::byte*>(raw.data()), tensor.dtype, elements, floats.data());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<PackedWeights>> PackedWeights::Begin(const ProjectionWeights& weights,
                                                                    const WeightShapes& shapes) {
  auto packed = std::make_shared<PackedWeights>();
  packed->shapes_ = shapes;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (!tensor.has_value() || info.kind == WeightKind::kMatrix) continue;
    if (absl::Status s = CopyAsFloats(*tensor, packed->floats_[info.role]); !s.ok()) return s;
  }
  return packed;
}

absl::Status PackedWeights::PackMatrix(const ProjectionWeights& weights, WeightRole role) {
  absl::StatusOr<PackedMatrix> matrix = PackedMatrix::Pack(*weights.tensors[role], weights.orientation);
  if (!matrix.ok()) return matrix.status();
  matrices_[role] = *std::move(matrix);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PackedWeights>> PackedWeights::Pack(const ProjectionWeights& weights,
                                                                         const WeightShapes& shapes) {
  absl::StatusOr<std::shared_ptr<PackedWeights>> packed = Begin(weights, shapes);
  if (!packed.ok()) return packed.status();
  for (const WeightRoleInfo& info : WeightRoles()) {
    if (info.kind != WeightKind::kMatrix || !weights.tensors[info.role].has_value()) continue;
    if (absl::Status s = (*packed)->PackMatrix(weights, info.role); !s.ok()) return s;
  }
  return *std::move(packed);
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
