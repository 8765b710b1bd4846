// Takes a message apart without touching its tensors' bytes. The message is walked once,
// guided by its descriptor; everything but the payload fields of attnd.v1.Tensor (`data`
// and `values`) and attnd.v1.WeightsChunk (`data`) is copied into a skeleton that the generated parser reads, and
// payloads stay where they are as Fragments. The cost is that of the small fields plus one step per piece of the
// message, whatever the size of the tensors.
//
// What the generated parser accepts is accepted, and means the same, with these exceptions:
// a singular sub-message that occurs twice, which protobuf would merge, and what is over a
// limit of SplitOptions are refused.
#ifndef ATTND_PROTO_SKELETON_H_
#define ATTND_PROTO_SKELETON_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "attnd/v1/tensor.pb.h"
#include "attnd/v1/weights.pb.h"
#include "core/attention/tensor.h"
#include "proto/codec.h"

namespace attnd::codec {

// Small fields of a request: room for offsets of a batch of several hundred thousand.
constexpr size_t kMaxRequestSkeleton = size_t{8} << 20;
// Masks, biases or parts of a request.
constexpr uint32_t kMaxRequestRepeats = 1024;

// Few, so that looking through all is the fastest.
using FieldSet = std::vector<const google::protobuf::FieldDescriptor*>;

struct SplitOptions {
  // What an error about the message as a whole calls it.
  std::string_view root = "request";
  // Most bytes of small fields. The generated message may take eight times as much, so
  // this bounds what a hostile message costs beyond its own size.
  size_t max_skeleton_bytes = size_t{1} << 30;
  // Most elements of a repeated sub-message: each costs far more than its two bytes.
  uint32_t max_repeats = std::numeric_limits<uint32_t>::max();
  // Fields that must not be set. They are passed over whole; if one is set, a message that
  // is otherwise well-formed fails with UnservedField and the path of the first.
  const FieldSet* unserved = nullptr;
};

// The two payload fields of one Tensor, or the one of a WeightsChunk. `values` are little-endian float32, a multiple of
// 4 bytes; pieces may end inside an element.
struct TensorPayload {
  Fragments data;
  Fragments values;
};

// A message taken apart. Payloads refer to the message and to `copies`. Movable;
// immutable once made, so thread-compatible.
struct Skeleton {
  // The message, serialized, where what has a payload has as `data` a key for
  // PayloadOf.
  std::string bytes;
  std::vector<TensorPayload> payloads;
  // Holds what could not be borrowed, such as `values` that came one by one.
  std::vector<std::unique_ptr<std::byte[]>> copies;
};

// Takes `message`, serialized as `type`, apart. Fails with InvalidField, naming the place
// as a path of field names such as "options.masks[1].tensor", when the message is
// truncated or malformed, and with UnservedField as SplitOptions says. Malformed values
// inside small fields are left to the generated parser.
absl::StatusOr<Skeleton> SplitPayloads(MessagePieces message, const google::protobuf::Descriptor& type,
                                       const SplitOptions& options);

// SplitPayloads for the type of `parsed`, and the skeleton parsed into it. Fails with
// InvalidField naming the small field that the generated parser refuses, too.
absl::StatusOr<Skeleton> ParseWithoutPayloads(MessagePieces message, const SplitOptions& options,
                                              google::protobuf::Message& parsed);

// The payload of a Tensor parsed from skeleton.bytes.
const TensorPayload& PayloadOf(const Skeleton& skeleton, const v1::Tensor& tensor);
// That of a chunk.
const Fragments& PayloadOf(const Skeleton& skeleton, const v1::WeightsChunk& chunk);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_SKELETON_H_
