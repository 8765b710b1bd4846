// AttendResponse, both ways.
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "attnd/v1/attention.pb.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"
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

}  // namespace

std::vector<Chunk> EncodeAttendResponse(const AttentionResult& result, bool reply_with_values,
                                        std::string_view numerics_id) {
  using Wire = v1::AttendResponse;
  ChunkWriter out;
  WriteTensor(Wire::kOutputFieldNumber, result.output, reply_with_values, out);
  if (result.lse) WriteTensor(Wire::kLseFieldNumber, *result.lse, reply_with_values, out);
  if (result.weights) WriteTensor(Wire::kWeightsFieldNumber, *result.weights, reply_with_values, out);
  if (result.scores) WriteTensor(Wire::kScoresFieldNumber, *result.scores, reply_with_values, out);
  Wire small;
  small.mutable_timings()->set_queue_seconds(Seconds(result.timings.queue));
  small.mutable_timings()->set_gather_seconds(Seconds(result.timings.prepare));
  small.mutable_timings()->set_compute_seconds(Seconds(result.timings.compute));
  small.mutable_counts()->set_tiles(result.tiles);
  small.mutable_counts()->set_flops(SaturatedInteger(result.flops));
  small.mutable_counts()->set_empty_rows(result.rows.empty);
  small.mutable_counts()->set_non_finite_rows(result.rows.non_finite);
  small.set_numerics_id(std::string(numerics_id));
  out.Fields(small);
  return std::move(out).Finish();
}

absl::StatusOr<AttendReply> DecodeAttendResponse(MessagePieces message) {
  v1::AttendResponse wire;
  const absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, {.root = "response"}, wire);
  if (!skeleton.ok()) {
    return absl::InternalError("the response is malformed: " + std::string(skeleton.status().message()));
  }
  AttendReply reply;
  if (absl::Status s = ReadReplyTensor("output", wire.output(), *skeleton, reply.output); !s.ok()) return s;
  for (const auto& [name, present, tensor, read] :
       {std::tuple{"lse", wire.has_lse(), &wire.lse(), &reply.lse},
        std::tuple{"weights", wire.has_weights(), &wire.weights(), &reply.weights},
        std::tuple{"scores", wire.has_scores(), &wire.scores(), &reply.scores}}) {
    if (!present) continue;
    if (absl::Status s = ReadReplyTensor(name, *tensor, *skeleton, read->emplace()); !s.ok()) return s;
  }
  reply.queue_seconds = wire.timings().queue_seconds();
  reply.gather_seconds = wire.timings().gather_seconds();
  reply.compute_seconds = wire.timings().compute_seconds();
  reply.tiles = wire.counts().tiles();
  reply.flops = wire.counts().flops();
  reply.empty_rows = wire.counts().empty_rows();
  reply.non_finite_rows = wire.counts().non_finite_rows();
  reply.numerics_id = wire.numerics_id();
  return reply;
}

}  // namespace attnd::codec
