// Requests made of shapes.
#ifndef ATTND_CLIENT_LOAD_BUILD_WORKS_H_
#define ATTND_CLIENT_LOAD_BUILD_WORKS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/work.h"
#include "client/load/work_shape.h"
#include "core/attention/request.h"
#include "core/linear/projection_weights.h"
#include "proto/codec.h"

namespace attnd::load {

// Weights of a MultiHeadAttend that the server has.
struct NamedWorkWeights {
  std::string id;
  WeightShapes shapes;
  // The tensors themselves, if they are known here.
  std::shared_ptr<const ProjectionWeights> tensors;
};

// A request from a file: exactly one of the two.
struct CaseRequest {
  std::optional<AttentionRequest> attend;
  std::optional<codec::MultiHeadCall> multihead;
};

// Where comes from what shapes only name. Errors say what is wrong with which file or name.
struct WorkSources {
  std::function<absl::StatusOr<NamedWorkWeights>(const std::string& weights)> weights;
  std::function<absl::StatusOr<CaseRequest>(const WorkShape& shape)> case_file;
};

// One work for each length of each shape, with numbers that `seed` decides. Names are made
// distinct. kInvalidArgument "NAME: ..." for a request that no server would take.
absl::StatusOr<std::vector<Work>> BuildWorks(std::span<const WorkShape> shapes, uint64_t seed,
                                             const WorkSources& sources);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_BUILD_WORKS_H_
