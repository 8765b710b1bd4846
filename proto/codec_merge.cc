// MergeRequest and MergeResponse, both ways.
#include <google/protobuf/arena.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "attnd/v1/attention.pb.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"
#include "proto/wire_tensors.h"
#include "proto/wire_types.h"

namespace attnd::codec {

absl::StatusOr<MergeCall> DecodeMergeRequest(MessagePieces message, std::shared_ptr<const void> owner) {
  const SplitOptions options{
      .root = "request", .max_skeleton_bytes = kMaxRequestSkeleton, .max_repeats = kMaxRequestRepeats};
  google::protobuf::Arena arena;
  auto& wire = *google::protobuf::Arena::CreateMessage<v1::MergeRequest>(&arena);
  absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, options, wire);
  if (!skeleton.ok()) return skeleton.status();

  MergeCall call;
  if (absl::Status s = CheckKnown("layout", wire.layout()); !s.ok()) return s;
  call.inputs.layout = FromWire(wire.layout());
  for (int i = 0; i < wire.parts_size(); ++i) {
    const v1::PartialResult& part = wire.parts(i);
    const std::string name = absl::StrCat("parts[", i, "]");
    PartialResult& to = call.inputs.parts.emplace_back();
    if (absl::Status s = ReadTensor(name + ".output", part.has_output(), part.output(), *skeleton, to.output);
        !s.ok()) {
      return s;
    }
    if (absl::Status s = ReadTensor(name + ".lse", part.has_lse(), part.lse(), *skeleton, to.lse); !s.ok()) return s;
  }
  if (absl::Status s = ReadOptionalTensor("sinks", wire.has_sinks(), wire.sinks(), *skeleton, call.inputs.sinks);
      !s.ok()) {
    return s;
  }
  call.reply_with_values = wire.parts_size() > 0 && CameAsValues(wire.parts(0).output(), *skeleton);
  call.inputs.owner = OwnerOf(std::move(owner), *std::move(skeleton));
  return call;
}

std::vector<Chunk> EncodeMergeResponse(const MergeResult& result, bool reply_with_values) {
  ChunkWriter out;
  WriteTensor(v1::MergeResponse::kOutputFieldNumber, result.output, reply_with_values, out);
  WriteTensor(v1::MergeResponse::kLseFieldNumber, result.lse, reply_with_values, out);
  return std::move(out).Finish();
}

std::vector<Chunk> EncodeMergeRequest(const MergeInputs& inputs) {
  using Wire = v1::MergeRequest;
  ChunkWriter out;
  for (const PartialResult& part : inputs.parts) {
    out.Message(Wire::kPartsFieldNumber, [&] {
      WriteTensor(v1::PartialResult::kOutputFieldNumber, part.output, out);
      WriteTensor(v1::PartialResult::kLseFieldNumber, part.lse, out);
    });
  }
  if (inputs.sinks) WriteTensor(Wire::kSinksFieldNumber, *inputs.sinks, out);
  Wire small;
  small.set_layout(ToWire(inputs.layout));
  out.Fields(small);
  return std::move(out).Finish();
}

absl::StatusOr<MergeReply> DecodeMergeResponse(MessagePieces message) {
  v1::MergeResponse wire;
  const absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, {.root = "response"}, wire);
  if (!skeleton.ok()) {
    return absl::InternalError("the response is malformed: " + std::string(skeleton.status().message()));
  }
  MergeReply reply;
  if (absl::Status s = ReadReplyTensor("output", wire.output(), *skeleton, reply.output); !s.ok()) return s;
  if (absl::Status s = ReadReplyTensor("lse", wire.lse(), *skeleton, reply.lse); !s.ok()) return s;
  return reply;
}

}  // namespace attnd::codec
