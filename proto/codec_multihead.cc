// MultiHeadAttendRequest, both ways; its response is in codec_response.cc.
#include <google/protobuf/arena.h>

#include <utility>

#include "attnd/v1/attention.pb.h"
#include "core/errors.h"
#include "proto/chunk_writer.h"
#include "proto/codec.h"
#include "proto/skeleton.h"
#include "proto/wire_options.h"
#include "proto/wire_tensors.h"
#include "proto/wire_types.h"
#include "proto/wire_weights.h"

namespace attnd::codec {
namespace {

using Wire = v1::MultiHeadAttendRequest;

absl::Status ReadTensors(const Wire& wire, const Skeleton& skeleton, MultiHeadRequest& request) {
  if (absl::Status s = ReadTensor("query", wire.has_query(), wire.query(), skeleton, request.query); !s.ok()) return s;
  if (absl::Status s = ReadOptionalTensor("key", wire.has_key(), wire.key(), skeleton, request.key); !s.ok()) return s;
  return ReadOptionalTensor("value", wire.has_value(), wire.value(), skeleton, request.value);
}

absl::Status ReadBlock(const v1::TransformerBlock& wire, TransformerBlock& block) {
  if (absl::Status s = CheckKnown("block.norm_placement", wire.norm_placement()); !s.ok()) return s;
  if (absl::Status s = CheckKnown("block.norm", wire.norm()); !s.ok()) return s;
  if (absl::Status s = CheckKnown("block.activation", wire.activation()); !s.ok()) return s;
  block.placement = FromWire(wire.norm_placement());
  block.norm = FromWire(wire.norm());
  block.activation = FromWire(wire.activation());
  if (wire.has_norm_epsilon()) block.norm_epsilon = wire.norm_epsilon();
  return absl::OkStatus();
}

absl::Status ReadSmallFields(const Wire& wire, MultiHeadRequest& request) {
  if (absl::Status s = CheckKnown("layout", wire.layout()); !s.ok()) return s;
  if (absl::Status s = CheckKnown("position_encoding", wire.position_encoding()); !s.ok()) return s;
  request.layout = wire.layout() == v1::LAYOUT_UNSPECIFIED ? Layout::kTokensFirst : FromWire(wire.layout());
  request.heads = wire.heads();
  if (wire.has_kv_heads()) request.kv_heads = wire.kv_heads();
  if (wire.has_value_dim()) request.value_dim = wire.value_dim();
  request.position_encoding = FromWire(wire.position_encoding());
  request.add_zero_attn = wire.add_zero_attn();
  if (wire.has_norm_epsilon()) request.norm_epsilon = wire.norm_epsilon();
  request.explain = wire.outputs().has_explain();
  return wire.has_block() ? ReadBlock(wire.block(), request.block.emplace()) : absl::OkStatus();
}

absl::Status ReadWeights(const Wire& wire, const Skeleton& skeleton, MultiHeadCall& call) {
  switch (wire.weights_case()) {
    case Wire::kInline:
      return ReadProjectionWeights("inline", wire.inline_(), skeleton, call.with_request.emplace());
    case Wire::kWeightsId:
      call.weights_id = wire.weights_id();
      if (call.weights_id.empty()) {
        return InvalidField("weights_id", "is empty; the id of registered weights is needed");
      }
      return absl::OkStatus();
    case Wire::kWeightsAlias:
      call.weights_alias = wire.weights_alias();
      if (call.weights_alias.empty()) {
        return InvalidField("weights_alias", "is empty; a name of registered weights is needed");
      }
      return absl::OkStatus();
    case Wire::WEIGHTS_NOT_SET:
      break;
  }
  return InvalidField("weights", "is not set; inline, weights_id or weights_alias is needed");
}

// All but tensors, weights, options and outputs.
Wire SmallFields(const MultiHeadRequest& request) {
  Wire small;
  small.set_heads(ClampedInteger(request.heads));
  if (request.kv_heads) small.set_kv_heads(ClampedInteger(*request.kv_heads));
  if (request.value_dim) small.set_value_dim(ClampedInteger(*request.value_dim));
  small.set_layout(ToWire(request.layout));
  small.set_position_encoding(ToWire(request.position_encoding));
  small.set_add_zero_attn(request.add_zero_attn);
  if (request.norm_epsilon) small.set_norm_epsilon(*request.norm_epsilon);
  if (request.block) {
    v1::TransformerBlock& block = *small.mutable_block();
    block.set_norm_placement(ToWire(request.block->placement));
    block.set_norm(ToWire(request.block->norm));
    block.set_activation(ToWire(request.block->activation));
    if (request.block->norm_epsilon) block.set_norm_epsilon(*request.block->norm_epsilon);
  }
  return small;
}

}  // namespace

absl::StatusOr<MultiHeadCall> DecodeMultiHeadRequest(MessagePieces message, std::shared_ptr<const void> owner) {
  const SplitOptions options{
      .root = "request", .max_skeleton_bytes = kMaxRequestSkeleton, .max_repeats = kMaxRequestRepeats};
  google::protobuf::Arena arena;
  auto& wire = *google::protobuf::Arena::CreateMessage<Wire>(&arena);
  absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, options, wire);
  if (!skeleton.ok()) return skeleton.status();

  MultiHeadCall call;
  if (absl::Status s = ReadTensors(wire, *skeleton, call.request); !s.ok()) return s;
  if (absl::Status s = ReadSmallFields(wire, call.request); !s.ok()) return s;
  if (absl::Status s = ReadWeights(wire, *skeleton, call); !s.ok()) return s;
  if (absl::Status s = ReadOptions(wire.options(), *skeleton, call.request.options); !s.ok()) return s;
  if (absl::Status s = ReadOutputs(wire.outputs(), call.request.outputs); !s.ok()) return s;
  call.reply_with_values = CameAsValues(wire.query(), *skeleton);
  call.request.owner = OwnerOf(std::move(owner), *std::move(skeleton));
  return call;
}

std::vector<Chunk> EncodeMultiHeadRequest(const MultiHeadCall& call) {
  const MultiHeadRequest& request = call.request;
  ChunkWriter out;
  WriteTensor(Wire::kQueryFieldNumber, request.query, out);
  if (request.key) WriteTensor(Wire::kKeyFieldNumber, *request.key, out);
  if (request.value) WriteTensor(Wire::kValueFieldNumber, *request.value, out);
  if (call.with_request) {
    out.Message(Wire::kInlineFieldNumber, [&] { WriteProjectionWeights(*call.with_request, out); });
  }
  Wire weights;
  if (!call.weights_id.empty()) weights.set_weights_id(call.weights_id);
  if (!call.weights_alias.empty()) weights.set_weights_alias(call.weights_alias);
  out.Fields(weights);
  out.Fields(SmallFields(request));
  out.Message(Wire::kOptionsFieldNumber, [&] { WriteOptions(request.options, out); });
  Wire outputs;
  WriteOutputs(request.outputs, *outputs.mutable_outputs());
  if (request.explain) outputs.mutable_outputs()->mutable_explain();
  out.Fields(outputs);
  return std::move(out).Finish();
}

}  // namespace attnd::codec
