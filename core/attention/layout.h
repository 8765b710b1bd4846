// Layouts: what a tensor's shape says in one, and where its elements are.
#ifndef ATTND_CORE_ATTENTION_LAYOUT_H_
#define ATTND_CORE_ATTENTION_LAYOUT_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/attention/request.h"
#include "core/attention/tensor.h"

namespace attnd {

// Distance in elements between neighbours along each dimension; a row's elements are
// contiguous.
struct Strides {
  int64_t batch = 0;
  int64_t head = 0;
  int64_t token = 0;
};

// What a tensor's shape says in its layout. `dim` is head_dim or value_dim.
struct TensorDims {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t len = 0;
  int64_t dim = 0;
};

// The dimensions of the tensor that errors call `name`. `heads` is what the request says of
// them, in `heads_name`: needed for 3-D TOKENS_FIRST, else it must agree if given. A packed
// tensor has a batch of 1. heads and dim are at least 1; otherwise InvalidField.
absl::StatusOr<TensorDims> DimsOf(std::string_view name, const TensorView& tensor, Layout layout,
                                  std::string_view heads_name, std::optional<int64_t> heads);

// REQUIRES: the products of the extents fit.
Strides StridesOf(Layout layout, int64_t heads, int64_t len, int64_t dim);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_LAYOUT_H_
