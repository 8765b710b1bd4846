// codec.h's part for WeightsService: its messages become core's types and back here.
// All functions are thread-safe.
#ifndef ATTND_PROTO_CODEC_WEIGHTS_H_
#define ATTND_PROTO_CODEC_WEIGHTS_H_

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "attnd/v1/weights.pb.h"
#include "core/attention/tensor.h"
#include "core/linear/projection_weights.h"
#include "core/linear/weight_store.h"
#include "proto/codec.h"

namespace attnd::codec {

// A decoded WeightsHeader.
struct UploadHeader {
  // Without elements.
  ProjectionWeights weights;
  std::string id;
  std::string alias;
};

// A decoded WeightsChunk.
struct UploadChunk {
  // Empty: that of the chunk before.
  std::string tensor;
  Fragments data;
  // Keeps the bytes alive.
  std::shared_ptr<const void> owner;
};

using UploadPart = std::variant<UploadHeader, UploadChunk>;

// Decodes an attnd.v1.RegisterWeightsRequest. The result refers to the bytes of `message`,
// which `owner` keeps alive. InvalidField for bytes that are no such message, for one
// without a part, for an unknown enum number and for a header with elements. What a header
// says is left to CheckWeights and its like. Beside elements a message may hold 64 KiB.
absl::StatusOr<UploadPart> DecodeRegisterWeightsRequest(MessagePieces message, std::shared_ptr<const void> owner);

// Encode attnd.v1.RegisterWeightsRequest. The header's weights may have elements, which are
// left out; the chunk's bytes are borrowed.
std::vector<Chunk> EncodeUploadHeader(const ProjectionWeights& weights, std::string_view id, std::string_view alias);
std::vector<Chunk> EncodeUploadChunk(std::string_view tensor, const Fragments& data);

// What the store says, as the contract says it.
v1::WeightsInfo ToWire(const WeightsInfo& info);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_CODEC_WEIGHTS_H_
