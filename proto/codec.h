// The only place where messages become core's types and back. Knows protobuf, not gRPC.
//
// Tensor payloads are never parsed or copied here: a message is walked once with its
// descriptor, everything but the payloads goes into a skeleton that the generated parser
// reads, and payloads stay where they are as Fragments. All functions are thread-safe.
#ifndef ATTND_PROTO_CODEC_H_
#define ATTND_PROTO_CODEC_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/attention/attention_job.h"
#include "core/attention/merge.h"
#include "core/attention/request.h"
#include "core/linear/multihead_request.h"
#include "core/linear/multihead_run.h"
#include "core/linear/projection_weights.h"

namespace attnd::codec {

// A message as it came from the wire: consecutive pieces, not owned.
using MessagePieces = std::span<const std::string_view>;

// A message as it goes to the wire: owned bytes and borrowed payloads, in order.
using Chunk = std::variant<std::string, std::span<const std::byte>>;

// A decoded AttendRequest.
struct AttendCall {
  AttentionRequest request;
  // The query came as `values`; the response's tensors go the same way.
  bool reply_with_values = false;
};

// Decodes an attnd.v1.AttendRequest. The result refers to the bytes of `message`, which
// `owner` keeps alive. Fails with a status that names the field: INVALID_ARGUMENT for
// bytes that are no such message, for an unknown enum number or a bad tensor form,
// UNIMPLEMENTED for a field that this build does not serve. Sizes and shapes are left to
// PlanAttention; beside tensors' elements a message may hold 8 MiB.
absl::StatusOr<AttendCall> DecodeAttendRequest(MessagePieces message, std::shared_ptr<const void> owner);

// Encodes an attnd.v1.AttendResponse. The chunks borrow from `result`.
std::vector<Chunk> EncodeAttendResponse(const AttentionResult& result, bool reply_with_values,
                                        std::string_view numerics_id);

// Encodes an attnd.v1.AttendRequest with everything that `request` has, tensors as `data`.
// Borrows the tensors' bytes.
std::vector<Chunk> EncodeAttendRequest(const AttentionRequest& request);

// A tensor of a reply, owned.
struct ReplyTensor {
  // As it came.
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  // Its elements as float32, which holds every one of them exactly.
  std::vector<float> values;
};

struct TopKReply {
  ReplyTensor weights;
  std::vector<int64_t> keys;
};

// By Statistic.
using StatisticsReply = std::array<ReplyTensor, kStatistics>;

struct DiagnosticsReply {
  StatisticsReply heads;
  std::optional<StatisticsReply> rows;
  ReplyTensor column_mass;
  std::vector<int64_t> column_keys;
  // As they came: a newer server may know more words.
  std::vector<std::string> patterns;
  ReplyTensor pattern_scores;
};

struct HeatmapReply {
  ReplyTensor mean;
  ReplyTensor max;
};

// By name, in the order they came.
using ExplainReply = std::vector<std::pair<std::string, ReplyTensor>>;

// A decoded AttendResponse. What was not asked for is not there.
struct AttendReply {
  ReplyTensor output;
  std::optional<ReplyTensor> lse;
  std::optional<ReplyTensor> weights;
  std::optional<ReplyTensor> scores;
  std::optional<TopKReply> top_k;
  std::optional<DiagnosticsReply> diagnostics;
  std::optional<HeatmapReply> heatmap;
  ExplainReply explain;
  double queue_seconds = 0;
  double gather_seconds = 0;
  double compute_seconds = 0;
  int64_t tiles = 0;
  int64_t flops = 0;
  int64_t empty_rows = 0;
  int64_t non_finite_rows = 0;
  std::string numerics_id;
};

// Decodes an attnd.v1.AttendResponse. Fails with kInternal if it is none.
absl::StatusOr<AttendReply> DecodeAttendResponse(MessagePieces message);

// A decoded MultiHeadAttendRequest.
struct MultiHeadCall {
  MultiHeadRequest request;
  // Exactly one of these three says where the weights are.
  std::optional<ProjectionWeights> with_request;
  std::string weights_id;
  std::string weights_alias;
  // The query came as `values`; the response's tensors go the same way.
  bool reply_with_values = false;
};

// Decodes an attnd.v1.MultiHeadAttendRequest; otherwise as DecodeAttendRequest. Sizes and
// shapes are left to CheckWeights and PlanMultiHead.
absl::StatusOr<MultiHeadCall> DecodeMultiHeadRequest(MessagePieces message, std::shared_ptr<const void> owner);

// Encodes an attnd.v1.MultiHeadAttendResponse. The chunks borrow from `result`.
std::vector<Chunk> EncodeMultiHeadResponse(const MultiHeadResult& result, bool reply_with_values,
                                           std::string_view numerics_id);

// Encodes an attnd.v1.MultiHeadAttendRequest, tensors as `data`. Borrows the tensors' bytes.
std::vector<Chunk> EncodeMultiHeadRequest(const MultiHeadCall& call);

// A decoded MultiHeadAttendResponse.
struct MultiHeadReply {
  // Without explain.
  AttendReply attention;
  ExplainReply explain;
};

// Decodes an attnd.v1.MultiHeadAttendResponse. Fails with kInternal if it is none.
absl::StatusOr<MultiHeadReply> DecodeMultiHeadResponse(MessagePieces message);

// A decoded MergeRequest.
struct MergeCall {
  MergeInputs inputs;
  // The first part's output came as `values`; the response's tensors go the same way.
  bool reply_with_values = false;
};

// Decodes an attnd.v1.MergeRequest; otherwise as DecodeAttendRequest. Sizes and shapes are
// left to PlanMerge.
absl::StatusOr<MergeCall> DecodeMergeRequest(MessagePieces message, std::shared_ptr<const void> owner);

// Encodes an attnd.v1.MergeResponse. The chunks borrow from `result`.
std::vector<Chunk> EncodeMergeResponse(const MergeResult& result, bool reply_with_values);

// Encodes an attnd.v1.MergeRequest, tensors as `data`. Borrows the tensors' bytes.
std::vector<Chunk> EncodeMergeRequest(const MergeInputs& inputs);

// A decoded MergeResponse.
struct MergeReply {
  ReplyTensor output;
  ReplyTensor lse;
};

// Decodes an attnd.v1.MergeResponse. Fails with kInternal if it is none.
absl::StatusOr<MergeReply> DecodeMergeResponse(MessagePieces message);

// The google.rpc.Status that carries `status` with its details (BadRequest, RetryInfo),
// serialized, for the trailer `grpc-status-details-bin`. Empty if there are no details.
std::string EncodeErrorDetails(const absl::Status& status);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_CODEC_H_
