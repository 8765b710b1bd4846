#include "server/byte_buffer.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <span>
#include <string>
#include <variant>

namespace attnd {
namespace {

using Owner = std::shared_ptr<const void>;

void Drop(void* owner) { delete static_cast<Owner*>(owner); }

grpc::Slice ToSlice(const codec::Chunk& chunk, const Owner& owner) {
  if (const auto* text = std::get_if<std::string>(&chunk)) return {*text};
  const auto bytes = std::get<std::span<const std::byte>>(chunk);
  if (bytes.empty()) return {};
  // gRPC asks for a mutable pointer and only reads.
  return {const_cast<std::byte*>(bytes.data()), bytes.size(), Drop, new Owner(owner)};
}

}  // namespace

absl::InlinedVector<std::string_view, 4> PiecesOf(grpc::ByteBuffer& message) {
  absl::InlinedVector<std::string_view, 4> pieces;
  grpc::ProtoBufferReader reader(&message);
  const void* data = nullptr;
  int size = 0;
  while (reader.Next(&data, &size)) pieces.emplace_back(static_cast<const char*>(data), static_cast<size_t>(size));
  return pieces;
}

grpc::ByteBuffer ToByteBuffer(const std::vector<codec::Chunk>& chunks, const std::shared_ptr<const void>& owner) {
  absl::InlinedVector<grpc::Slice, 4> slices;
  slices.reserve(chunks.size());
  for (const codec::Chunk& chunk : chunks) slices.push_back(ToSlice(chunk, owner));
  return {slices.data(), slices.size()};
}

}  // namespace attnd
