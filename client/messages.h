// Messages as gRPC carries them, to and from chunks and generated types. Used inside client/.
#ifndef ATTND_CLIENT_MESSAGES_H_
#define ATTND_CLIENT_MESSAGES_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/codec.h"

namespace attnd {

// Copies everything, once. kInvalidArgument for 2 GiB or more.
absl::StatusOr<grpc::ByteBuffer> CopyToSlices(const std::vector<codec::Chunk>& message);

absl::StatusOr<std::vector<grpc::Slice>> SlicesOf(const grpc::ByteBuffer& message);
std::vector<std::string_view> PiecesOf(const std::vector<grpc::Slice>& slices);

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message);

// Bytes that are no such message come from something that is no attnd.
absl::Status ParseInto(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message);

template <typename Message>
absl::StatusOr<Message> Parse(const grpc::ByteBuffer& bytes) {
  Message message;
  if (absl::Status status = ParseInto(bytes, message); !status.ok()) return status;
  return message;
}

}  // namespace attnd

#endif  // ATTND_CLIENT_MESSAGES_H_
