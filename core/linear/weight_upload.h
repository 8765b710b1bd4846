// Weights that arrive in pieces, put together and checked against the id they must have.
#ifndef ATTND_CORE_LINEAR_WEIGHT_UPLOAD_H_
#define ATTND_CORE_LINEAR_WEIGHT_UPLOAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/tensor.h"
#include "core/linear/projection_weights.h"
#include "core/linear/weights_id.h"

namespace attnd {

// One upload. Memory is taken tensor by tensor, when the first bytes of one come, and never
// more than the header declares. Bytes are hashed as they come, if tensors come in the
// order of their roles; otherwise as soon as those before them are there. Errors are
// InvalidField in the contract's terms; after one the upload is of no further use.
// Thread-compatible.
class WeightUpload {
 public:
  // `weights` has no elements. Allocates none.
  static absl::StatusOr<std::unique_ptr<WeightUpload>> Begin(ProjectionWeights weights, std::string_view id);

  // Elements that are declared, in bytes.
  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] const WeightShapes& shapes() const { return shapes_; }
  [[nodiscard]] const std::string& id() const { return id_; }

  // The next bytes of `tensor`, by default of the one before. Copies them. A tensor must be
  // complete before the next one begins. kResourceExhausted without memory.
  absl::Status Append(std::string_view tensor, const Fragments& data);

  // That everything has come and has the id. The weights are valid as long as this lives.
  // Call once.
  absl::StatusOr<const ProjectionWeights*> Finish();

 private:
  struct Tensor {
    const WeightRoleInfo* info = nullptr;
    size_t size = 0;
    // nullptr until the first bytes come.
    std::unique_ptr<std::byte[]> data;
    size_t received = 0;
    size_t hashed = 0;

    [[nodiscard]] bool complete() const { return received == size; }
  };

  WeightUpload(ProjectionWeights weights, WeightShapes shapes, std::string_view id);

  absl::Status Select(std::string_view tensor);
  // Hashes what has come of the next tensors in order.
  void Hash();

  ProjectionWeights weights_;
  const WeightShapes shapes_;
  const std::string id_;
  int64_t bytes_ = 0;
  // In the order of roles.
  std::vector<Tensor> tensors_;
  Tensor* current_ = nullptr;
  WeightsHash hash_;
  // Of tensors_, the one being hashed.
  size_t hashing_ = 0;
  bool hashing_begun_ = false;
};

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_WEIGHT_UPLOAD_H_
