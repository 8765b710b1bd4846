// What a layer does one after the other, cut into tiles that workers share.
#ifndef ATTND_CORE_LINEAR_STAGES_H_
#define ATTND_CORE_LINEAR_STAGES_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "core/linear/multihead_request.h"
#include "core/linear/packed_matrix.h"

namespace attnd {

// A step of which all tiles are done before the next begins. Tiles may run at the same time.
struct Stage {
  int64_t tiles = 0;
  // Predicted floating-point operations of all tiles.
  double flops = 0;
  std::function<absl::Status(int64_t tile)> run;
};

// y = activation(x W + bias) + residual for `rows` rows, or, with a gate,
// y = silu(x G + gate_bias) * (x W + bias).
struct MatrixProduct {
  const PackedMatrix* weights = nullptr;
  // Of the weights. Column c of y is column columns.begin + c of theirs.
  Columns columns;
  // Of the columns; nullptr: none.
  const float* bias = nullptr;
  ConstRows x;
  int64_t rows = 0;
  MutableRows y;
  Activation activation = Activation::kUnset;
  // nullptr: none.
  ConstRows residual;
  // Takes what y is before the residual is added; nullptr: nobody.
  MutableRows before_residual;
  const PackedMatrix* gate = nullptr;
  const float* gate_bias = nullptr;
  // Memory for x G, as y.
  MutableRows gated;
};

// All products together.
Stage ProductStage(const std::vector<MatrixProduct>& products);

// f(begin, end) for ranges of [0, rows), whose cost is `flops_per_row` each.
Stage RowStage(int64_t rows, double flops_per_row, std::function<absl::Status(int64_t begin, int64_t end)> f);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_STAGES_H_
