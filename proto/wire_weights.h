// Projection weights between the wire and core, payloads untouched. Used inside proto/.
#ifndef ATTND_PROTO_WIRE_WEIGHTS_H_
#define ATTND_PROTO_WIRE_WEIGHTS_H_

#include <string>

#include "absl/status/status.h"
#include "attnd/v1/attention.pb.h"
#include "core/linear/projection_weights.h"
#include "proto/chunk_writer.h"
#include "proto/skeleton.h"

namespace attnd::codec {

// Reads the weights of a request that errors call `where`, such as "inline". They refer to
// what `skeleton` refers to. InvalidField as ReadTensor says, and for an unknown
// orientation; shapes and what goes together are left to CheckWeights.
absl::Status ReadProjectionWeights(const std::string& where, const v1::ProjectionWeights& wire,
                                   const Skeleton& skeleton, ProjectionWeights& weights);

// The same for weights without elements: InvalidField if there are any.
absl::Status ReadWeightsWithoutElements(const std::string& where, const v1::ProjectionWeights& wire,
                                        const Skeleton& skeleton, ProjectionWeights& weights);

// The fields of a v1::ProjectionWeights, tensors as `data`. Borrows their bytes.
void WriteProjectionWeights(const ProjectionWeights& weights, ChunkWriter& out);

// As WriteProjectionWeights, without elements.
v1::ProjectionWeights DescribeProjectionWeights(const ProjectionWeights& weights);

v1::ProjectionWeights::Orientation ToWire(Orientation orientation);
Orientation FromWire(v1::ProjectionWeights::Orientation orientation);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_WIRE_WEIGHTS_H_
