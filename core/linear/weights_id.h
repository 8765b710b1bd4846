// Names of weights by their content.
#ifndef ATTND_CORE_LINEAR_WEIGHTS_ID_H_
#define ATTND_CORE_LINEAR_WEIGHTS_ID_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/linear/projection_weights.h"

namespace attnd {

// SHA-256 of weights as proto/attnd/v1/weights.proto defines their id, tensor by tensor and
// piece by piece. Thread-compatible.
class WeightsHash {
 public:
  WeightsHash();
  ~WeightsHash();
  WeightsHash(const WeightsHash&) = delete;
  WeightsHash& operator=(const WeightsHash&) = delete;

  // Begins the next tensor, whose bytes Append is to bring. REQUIRES: in the order of
  // WeightRoles().
  void BeginTensor(const WeightRoleInfo& info, const TensorView& tensor, Orientation orientation);
  // The next of its bytes.
  void Append(std::span<const std::byte> bytes);
  // 64 hexadecimal digits in lower case. Call once, last. kInternal if OpenSSL has failed.
  absl::StatusOr<std::string> Finish();

 private:
  void Append(std::string_view text);

  struct State;
  std::unique_ptr<State> state_;
};

// The id. Reads the bytes where they are. kInternal if OpenSSL fails. REQUIRES:
// CheckWeights accepted the weights. Thread-safe.
absl::StatusOr<std::string> WeightsId(const ProjectionWeights& weights);

// Whether it has the form of an id: 64 hexadecimal digits in lower case.
bool IsWeightsId(std::string_view text);

// That `alias` may be the name of weights: 1 to 256 letters, digits, '.', '_', '-', '/' or
// ':', not 64 hexadecimal digits (in either case). InvalidField naming `field`.
absl::Status CheckAlias(std::string_view field, std::string_view alias);

}  // namespace attnd

#endif  // ATTND_CORE_LINEAR_WEIGHTS_ID_H_
