// Checks that every tensor of a request goes through before its shape is believed.
#ifndef ATTND_CORE_ATTENTION_TENSOR_CHECKS_H_
#define ATTND_CORE_ATTENTION_TENSOR_CHECKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "core/attention/tensor.h"

namespace attnd {

// What a tensor may hold.
enum class TensorUse { kNumbers, kMask };

// "<tensor>.<part>".
std::string FieldPath(std::string_view tensor, std::string_view part);

// That dtype fits `use`, no extent is negative, and the bytes are those of the shape.
absl::Status CheckTensor(std::string_view name, const TensorView& tensor, TensorUse use);

// That the tensor, if there is one, has a number for each of `heads`: [heads].
absl::Status CheckPerHead(std::string_view name, const std::optional<TensorView>& tensor, int64_t heads);

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_TENSOR_CHECKS_H_
