// Options and wanted outputs between the wire and core. Used inside proto/.
#ifndef ATTND_PROTO_WIRE_OPTIONS_H_
#define ATTND_PROTO_WIRE_OPTIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "attnd/v1/options.pb.h"
#include "core/attention/request.h"
#include "proto/chunk_writer.h"
#include "proto/skeleton.h"

namespace attnd::codec {

// Tensors refer to what `skeleton` refers to. InvalidField for unknown enumerators,
// UnservedField for what this build does not serve.
absl::Status ReadOptions(const v1::AttentionOptions& wire, const Skeleton& skeleton, AttentionOptions& options);

// What AttentionOutputs has.
absl::Status ReadOutputs(const v1::Outputs& wire, AttentionOutputs& outputs);

// The fields of a v1::AttentionOptions, tensors as `data`. Borrows their bytes.
void WriteOptions(const AttentionOptions& options, ChunkWriter& out);

void WriteOutputs(const AttentionOutputs& outputs, v1::Outputs& wire);

// `value`, or what an int32 has nearest to it.
int32_t ClampedInteger(int64_t value);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_WIRE_OPTIONS_H_
