// What summarises or explains weights in responses, both ways. Used inside proto/.
#ifndef ATTND_PROTO_WIRE_SUMMARIES_H_
#define ATTND_PROTO_WIRE_SUMMARIES_H_

#include <vector>

#include "absl/status/status.h"
#include "attnd/v1/attention.pb.h"
#include "core/attention/diagnostics.h"
#include "core/attention/result_tensor.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"

namespace attnd::codec {

// Each adds a sub-message in `field` that borrows the tensors' bytes, as `values` if asked for.
void WriteTopK(int field, const TopKResult& top_k, bool as_values, ChunkWriter& out);
void WriteDiagnostics(int field, const DiagnosticsResult& diagnostics, bool as_values, ChunkWriter& out);
void WriteHeatmap(int field, const HeatmapResult& heatmap, bool as_values, ChunkWriter& out);
// The same for each of them.
void WriteExplained(int field, const std::vector<NamedResult>& explain, bool as_values, ChunkWriter& out);

// Each copies what came. kInternal, naming the tensor, if one is none.
absl::Status ReadTopK(const v1::TopK& wire, const Skeleton& skeleton, TopKReply& top_k);
absl::Status ReadDiagnostics(const v1::Diagnostics& wire, const Skeleton& skeleton, DiagnosticsReply& diagnostics);
absl::Status ReadHeatmap(const v1::Heatmap& wire, const Skeleton& skeleton, HeatmapReply& heatmap);
absl::Status ReadExplained(const google::protobuf::RepeatedPtrField<v1::NamedTensor>& wire, const Skeleton& skeleton,
                           ExplainReply& explain);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_WIRE_SUMMARIES_H_
