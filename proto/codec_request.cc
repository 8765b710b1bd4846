// AttendRequest, both ways.
#include <utility>

#include "attnd/v1/attention.pb.h"
#include "attnd/v1/options.pb.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"
#include "proto/small_arena.h"
#include "proto/wire_options.h"
#include "proto/wire_tensors.h"
#include "proto/wire_types.h"

namespace attnd::codec {
namespace {

absl::Status ReadTensors(const v1::AttendRequest& wire, const Skeleton& skeleton, AttentionRequest& request) {
  if (absl::Status s = ReadTensor("query", wire.has_query(), wire.query(), skeleton, request.query); !s.ok()) return s;
  if (absl::Status s = ReadTensor("key", wire.has_key(), wire.key(), skeleton, request.key); !s.ok()) return s;
  return ReadTensor("value", wire.has_value(), wire.value(), skeleton, request.value);
}

absl::Status ReadLayout(const v1::AttendRequest& wire, AttentionRequest& request) {
  if (absl::Status s = CheckKnown("layout", wire.layout()); !s.ok()) return s;
  request.layout = FromWire(wire.layout());
  if (wire.has_heads()) request.heads = wire.heads();
  if (wire.has_kv_heads()) request.kv_heads = wire.kv_heads();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AttendCall> DecodeAttendRequest(MessagePieces message, std::shared_ptr<const void> owner) {
  const SplitOptions options{
      .root = "request", .max_skeleton_bytes = kMaxRequestSkeleton, .max_repeats = kMaxRequestRepeats};
  SmallArena arena;
  auto& wire = *google::protobuf::Arena::CreateMessage<v1::AttendRequest>(arena.get());
  absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, options, wire);
  if (!skeleton.ok()) return skeleton.status();

  AttendCall call;
  if (absl::Status s = ReadTensors(wire, *skeleton, call.request); !s.ok()) return s;
  if (absl::Status s = ReadLayout(wire, call.request); !s.ok()) return s;
  if (wire.has_options()) {
    if (absl::Status s = ReadOptions(wire.options(), *skeleton, call.request.options); !s.ok()) return s;
  }
  if (absl::Status s = ReadOutputs(wire.outputs(), call.request.outputs); !s.ok()) return s;
  call.request.outputs.explain = wire.outputs().has_explain();
  call.reply_with_values = CameAsValues(wire.query(), *skeleton);
  call.request.owner = OwnerOf(std::move(owner), *std::move(skeleton));
  return call;
}

std::vector<Chunk> EncodeAttendRequest(const AttentionRequest& request) {
  using Wire = v1::AttendRequest;
  ChunkWriter out;
  WriteTensor(Wire::kQueryFieldNumber, request.query, out);
  WriteTensor(Wire::kKeyFieldNumber, request.key, out);
  WriteTensor(Wire::kValueFieldNumber, request.value, out);
  // In the order of field numbers, as generated code writes.
  Wire small;
  small.set_layout(ToWire(request.layout));
  if (request.heads) small.set_heads(ClampedInteger(*request.heads));
  if (request.kv_heads) small.set_kv_heads(ClampedInteger(*request.kv_heads));
  out.Fields(small);
  out.Message(Wire::kOptionsFieldNumber, [&] { WriteOptions(request.options, out); });
  Wire outputs;
  WriteOutputs(request.outputs, *outputs.mutable_outputs());
  out.Fields(outputs);
  return std::move(out).Finish();
}

}  // namespace attnd::codec
