#include "proto/codec_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "core/runtime/clock.h"
#include "proto/chunk_writer.h"
#include "proto/skeleton.h"
#include "proto/wire_tensors.h"
#include "proto/wire_types.h"
#include "proto/wire_weights.h"

namespace attnd::codec {
namespace {

constexpr size_t kMaxSkeleton = size_t{64} << 10;

}  // namespace

absl::StatusOr<UploadPart> DecodeRegisterWeightsRequest(MessagePieces message, std::shared_ptr<const void> owner) {
  v1::RegisterWeightsRequest wire;
  absl::StatusOr<Skeleton> skeleton =
      ParseWithoutPayloads(message, {.root = "request", .max_skeleton_bytes = kMaxSkeleton}, wire);
  if (!skeleton.ok()) return skeleton.status();
  if (wire.has_header()) {
    UploadHeader header{.weights = {}, .id = wire.header().weights_id(), .alias = wire.header().alias()};
    if (absl::Status s =
            ReadWeightsWithoutElements("header.weights", wire.header().weights(), *skeleton, header.weights);
        !s.ok()) {
      return s;
    }
    return header;
  }
  if (!wire.has_chunk()) return InvalidField("part", "is not set; header or chunk is required");
  UploadChunk chunk{.tensor = wire.chunk().tensor(), .data = PayloadOf(*skeleton, wire.chunk()), .owner = nullptr};
  chunk.owner = OwnerOf(std::move(owner), *std::move(skeleton));
  return chunk;
}

std::vector<Chunk> EncodeUploadHeader(const ProjectionWeights& weights, std::string_view id, std::string_view alias) {
  v1::RegisterWeightsRequest wire;
  *wire.mutable_header()->mutable_weights() = DescribeProjectionWeights(weights);
  wire.mutable_header()->set_weights_id(std::string(id));
  wire.mutable_header()->set_alias(std::string(alias));
  return {wire.SerializeAsString()};
}

std::vector<Chunk> EncodeUploadChunk(std::string_view tensor, const Fragments& data) {
  v1::WeightsChunk small;
  small.set_tensor(std::string(tensor));
  ChunkWriter out;
  out.Message(v1::RegisterWeightsRequest::kChunkFieldNumber, [&] {
    out.Fields(small);
    out.Payload(v1::WeightsChunk::kDataFieldNumber, data);
  });
  return std::move(out).Finish();
}

v1::WeightsInfo ToWire(const WeightsInfo& info) {
  v1::WeightsInfo wire;
  wire.set_weights_id(info.id);
  for (const std::string& alias : info.aliases) wire.add_aliases(alias);
  wire.set_bytes(info.bytes);
  wire.set_requests(info.requests);
  wire.set_idle_seconds(Seconds(info.idle));
  wire.set_orientation(ToWire(info.orientation));
  for (const WeightTensorInfo& tensor : info.tensors) {
    v1::WeightsTensor* described = wire.add_tensors();
    described->set_name(InfoOf(tensor.role).name);
    described->set_dtype(ToWire(tensor.dtype));
    described->mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  }
  return wire;
}

}  // namespace attnd::codec
