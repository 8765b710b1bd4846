// AttendResponse and MultiHeadAttendResponse, both ways.
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "attnd/v1/attention.pb.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"
#include "proto/wire_summaries.h"
#include "proto/wire_tensors.h"

namespace attnd::codec {
namespace {

int64_t SaturatedInteger(double value) {
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (std::isnan(value)) return 0;
  if (value >= kLimit) return std::numeric_limits<int64_t>::max();
  if (value < -kLimit) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

// What both responses have, in the order of field numbers up to `explain`.
template <typename Wire>
void WriteResults(const AttentionResult& result, bool reply_with_values, ChunkWriter& out) {
  WriteTensor(Wire::kOutputFieldNumber, result.output, reply_with_values, out);
  if (result.lse) WriteTensor(Wire::kLseFieldNumber, *result.lse, reply_with_values, out);
  if (result.weights) WriteTensor(Wire::kWeightsFieldNumber, *result.weights, reply_with_values, out);
  if (result.scores) WriteTensor(Wire::kScoresFieldNumber, *result.scores, reply_with_values, out);
  if (result.top_k) WriteTopK(Wire::kTopKFieldNumber, *result.top_k, reply_with_values, out);
  if (result.diagnostics) {
    WriteDiagnostics(Wire::kDiagnosticsFieldNumber, *result.diagnostics, reply_with_values, out);
  }
}

// And behind it.
template <typename Wire>
void WriteRest(const AttentionResult& result, bool reply_with_values, std::string_view numerics_id, ChunkWriter& out) {
  out.Message(Wire::kTimingsFieldNumber, [&] {
    out.Real(v1::Timings::kQueueSecondsFieldNumber, Seconds(result.timings.queue));
    out.Real(v1::Timings::kGatherSecondsFieldNumber, Seconds(result.timings.prepare));
    out.Real(v1::Timings::kComputeSecondsFieldNumber, Seconds(result.timings.compute));
  });
  out.Message(Wire::kCountsFieldNumber, [&] {
    out.Number(v1::Counts::kTilesFieldNumber, result.tiles);
    out.Number(v1::Counts::kFlopsFieldNumber, SaturatedInteger(result.flops));
    out.Number(v1::Counts::kEmptyRowsFieldNumber, result.rows.empty);
    out.Number(v1::Counts::kNonFiniteRowsFieldNumber, result.rows.non_finite);
  });
  out.Text(Wire::kNumericsIdFieldNumber, numerics_id);
  if (result.heatmap) WriteHeatmap(Wire::kHeatmapFieldNumber, *result.heatmap, reply_with_values, out);
}

template <typename Wire>
absl::Status ReadReply(const Wire& wire, const Skeleton& skeleton, AttendReply& reply) {
  if (absl::Status s = ReadReplyTensor("output", wire.output(), skeleton, reply.output); !s.ok()) return s;
  for (const auto& [name, present, tensor, read] :
       {std::tuple{"lse", wire.has_lse(), &wire.lse(), &reply.lse},
        std::tuple{"weights", wire.has_weights(), &wire.weights(), &reply.weights},
        std::tuple{"scores", wire.has_scores(), &wire.scores(), &reply.scores}}) {
    if (!present) continue;
    if (absl::Status s = ReadReplyTensor(name, *tensor, skeleton, read->emplace()); !s.ok()) return s;
  }
  if (wire.has_top_k()) {
    if (absl::Status s = ReadTopK(wire.top_k(), skeleton, reply.top_k.emplace()); !s.ok()) return s;
  }
  if (wire.has_diagnostics()) {
    if (absl::Status s = ReadDiagnostics(wire.diagnostics(), skeleton, reply.diagnostics.emplace()); !s.ok()) return s;
  }
  if (wire.has_heatmap()) {
    if (absl::Status s = ReadHeatmap(wire.heatmap(), skeleton, reply.heatmap.emplace()); !s.ok()) return s;
  }
  reply.queue_seconds = wire.timings().queue_seconds();
  reply.gather_seconds = wire.timings().gather_seconds();
  reply.compute_seconds = wire.timings().compute_seconds();
  reply.tiles = wire.counts().tiles();
  reply.flops = wire.counts().flops();
  reply.empty_rows = wire.counts().empty_rows();
  reply.non_finite_rows = wire.counts().non_finite_rows();
  reply.numerics_id = wire.numerics_id();
  return absl::OkStatus();
}

template <typename Wire>
absl::StatusOr<Skeleton> ParseResponse(MessagePieces message, Wire& wire) {
  absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, {.root = "response"}, wire);
  if (skeleton.ok()) return skeleton;
  return absl::InternalError("the response is malformed: " + std::string(skeleton.status().message()));
}

}  // namespace

std::vector<Chunk> EncodeAttendResponse(const AttentionResult& result, bool reply_with_values,
                                        std::string_view numerics_id) {
  using Wire = v1::AttendResponse;
  ChunkWriter out;
  WriteResults<Wire>(result, reply_with_values, out);
  WriteExplained(Wire::kExplainFieldNumber, result.explain, reply_with_values, out);
  WriteRest<Wire>(result, reply_with_values, numerics_id, out);
  return std::move(out).Finish();
}

std::vector<Chunk> EncodeMultiHeadResponse(const MultiHeadResult& result, bool reply_with_values,
                                           std::string_view numerics_id) {
  using Wire = v1::MultiHeadAttendResponse;
  ChunkWriter out;
  WriteResults<Wire>(result.attention, reply_with_values, out);
  WriteExplained(Wire::kExplainFieldNumber, result.explain, reply_with_values, out);
  WriteRest<Wire>(result.attention, reply_with_values, numerics_id, out);
  return std::move(out).Finish();
}

absl::StatusOr<AttendReply> DecodeAttendResponse(MessagePieces message) {
  v1::AttendResponse wire;
  const absl::StatusOr<Skeleton> skeleton = ParseResponse(message, wire);
  if (!skeleton.ok()) return skeleton.status();
  AttendReply reply;
  if (absl::Status s = ReadReply(wire, *skeleton, reply); !s.ok()) return s;
  if (absl::Status s = ReadExplained(wire.explain(), *skeleton, reply.explain); !s.ok()) return s;
  return reply;
}

absl::StatusOr<MultiHeadReply> DecodeMultiHeadResponse(MessagePieces message) {
  v1::MultiHeadAttendResponse wire;
  const absl::StatusOr<Skeleton> skeleton = ParseResponse(message, wire);
  if (!skeleton.ok()) return skeleton.status();
  MultiHeadReply reply;
  if (absl::Status s = ReadReply(wire, *skeleton, reply.attention); !s.ok()) return s;
  if (absl::Status s = ReadExplained(wire.explain(), *skeleton, reply.explain); !s.ok()) return s;
  return reply;
}

}  // namespace attnd::codec
