// Mix files: what a load test sends, and how often each.
//
//   works:                  # YAML, or the same as JSON
//     - preset: bert-base
//       weight: 3           # three of four requests
//     - name: decode
//       heads: 32
//       kv_heads: 8
//       q_len: 1
//       kv_len: [1024, 4096]
//       head_dim: 128
//       dtype: bf16
//       causal: true
//     - case: recorded.safetensors
#ifndef ATTND_CLIENT_LOAD_MIX_H_
#define ATTND_CLIENT_LOAD_MIX_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/work_shape.h"

namespace attnd::load {

// The works of the file at `path`. Keys of a work are name, weight, preset or case, and those
// of ShapeFields(). Errors as ReadFile, and kInvalidArgument "PATH:LINE: works[1].dtype: ...".
absl::StatusOr<std::vector<WorkShape>> ReadMix(const std::string& path);

// The same for contents that errors call `name`.
absl::StatusOr<std::vector<WorkShape>> ParseMix(const std::string& contents, const std::string& name);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_MIX_H_
