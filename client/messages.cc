#include "client/messages.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

std::span<const std::byte> BytesOf(const codec::Chunk& chunk) {
  if (const auto* text = std::get_if<std::string>(&chunk)) return std::as_bytes(std::span(*text));
  return std::get<std::span<const std::byte>>(chunk);
}

}  // namespace

absl::StatusOr<grpc::ByteBuffer> CopyToSlices(const std::vector<codec::Chunk>& message) {
  constexpr size_t kMaxBytes = std::numeric_limits<int32_t>::max();
  size_t total = 0;
  for (const codec::Chunk& chunk : message) total += BytesOf(chunk).size();
  if (total > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("request: ", total, " bytes; a message holds at most ", kMaxBytes));
  }
  std::vector<grpc::Slice> slices;
  for (const codec::Chunk& chunk : message) {
    const auto bytes = BytesOf(chunk);
    if (!bytes.empty()) slices.emplace_back(bytes.data(), bytes.size());
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::StatusOr<std::vector<grpc::Slice>> SlicesOf(const grpc::ByteBuffer& message) {
  std::vector<grpc::Slice> slices;
  if (!message.Dump(&slices).ok()) return absl::InternalError("the answer cannot be read");
  return slices;
}

std::vector<std::string_view> PiecesOf(const std::vector<grpc::Slice>& slices) {
  std::vector<std::string_view> pieces;
  pieces.reserve(slices.size());
  for (const grpc::Slice& slice : slices) {
    pieces.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return pieces;
}

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return {&slice, 1};
}

absl::Status ParseInto(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite& message) {
  grpc::Slice slice;
  if (!bytes.DumpToSingleSlice(&slice).ok() ||
      slice.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()) ||
      !message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
    return absl::InternalError(absl::StrCat("the answer is no ", message.GetTypeName()));
  }
  return absl::OkStatus();
}

}  // namespace attnd
