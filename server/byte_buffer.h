// Between gRPC's buffers and the codec's pieces and chunks, without copying tensors.
#ifndef ATTND_SERVER_BYTE_BUFFER_H_
#define ATTND_SERVER_BYTE_BUFFER_H_

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "proto/codec.h"

namespace attnd {

// Views of a message's bytes, in order. Valid until `message` is changed or destroyed.
absl::InlinedVector<std::string_view, 4> PiecesOf(grpc::ByteBuffer& message);

// The chunks' bytes as a message. Borrowed chunks are not copied: `owner` keeps them alive
// and is dropped, on any thread, when they have been sent.
grpc::ByteBuffer ToByteBuffer(const std::vector<codec::Chunk>& chunks, const std::shared_ptr<const void>& owner);

}  // namespace attnd

#endif  // ATTND_SERVER_BYTE_BUFFER_H_
