// Kinds of requests as users describe them, by flags or in a mix file: a table of fields whose
// names are the flags' and, with '_', the file's keys.
#ifndef ATTND_CLIENT_LOAD_WORK_SHAPE_H_
#define ATTND_CLIENT_LOAD_WORK_SHAPE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "core/attention/tensor.h"

namespace attnd::load {

// A kind of request with random numbers in it, or a case from a file. Dimensions are elements.
struct WorkShape {
  std::string name = "custom";
  // How often it is sent, relative to others; all its lengths together.
  double weight = 1;
  int64_t batch = 1;
  int64_t heads = 12;
  // Default `heads`.
  std::optional<int64_t> kv_heads;
  // Several: a request of each. kv_len: as many as q_len, or one of the two has one; default
  // q_len.
  std::vector<int64_t> q_len = {128};
  std::vector<int64_t> kv_len;
  // Of an Attend; the weights of a MultiHeadAttend say theirs.
  int64_t head_dim = 64;
  // Default head_dim.
  std::optional<int64_t> value_dim;
  DataType dtype = DataType::kFloat32;
  // The last query sees the last key.
  bool causal = false;
  // Keys before the query's position that it sees.
  std::optional<int64_t> window;
  // Share of (query, key) pairs that a random mask keeps, the same for all heads.
  std::optional<double> mask_density;
  // Keys that are no padding, one per batch entry.
  std::vector<int64_t> kv_lengths;
  // A batch of sequences of these lengths without padding, instead of batch, q_len and kv_len.
  std::vector<int64_t> packed;
  // Makes it a MultiHeadAttend: an id, an alias, or a .safetensors file.
  std::string weights;
  // Width of its embeddings; default what the weights take.
  std::optional<int64_t> model_dim;
  // A .safetensors case, instead of all but name and weight (and weights).
  std::string case_file;

  [[nodiscard]] bool is_multihead() const { return !weights.empty(); }
};

// One thing that a user may say of a shape.
struct ShapeField {
  // With '_'.
  const char* name = nullptr;
  // What the help shows for the value, and what it says.
  const char* value = nullptr;
  const char* help = nullptr;
  // The error says what came and what is allowed, not where.
  absl::Status (*read)(const std::string& text, WorkShape* shape) = nullptr;
};

// All of them but name, weight and case_file, in the order of the help. Lives as long as the
// program.
std::span<const ShapeField> ShapeFields();

// The field of that name, or nullptr.
const ShapeField* FindShapeField(std::string_view name);

// Readers of the others, for those who read mixes. Errors as of ShapeField::read.
absl::Status ReadName(const std::string& text, WorkShape* shape);
absl::Status ReadWeight(const std::string& text, WorkShape* shape);

// What is wrong with the fields together, by their names; OK for what a server may take or not.
absl::Status CheckShape(const WorkShape& shape);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_WORK_SHAPE_H_
