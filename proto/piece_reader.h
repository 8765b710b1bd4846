// Reads bytes and varints across the pieces of a message.
#ifndef ATTND_PROTO_PIECE_READER_H_
#define ATTND_PROTO_PIECE_READER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proto/codec.h"

namespace attnd::codec {

// A position in a message. Offsets count from the message's first byte.
// Thread-compatible.
class PieceReader {
 public:
  explicit PieceReader(MessagePieces pieces) : rest_(pieces) {
    for (const auto piece : pieces) size_ += piece.size();
    SkipEmpty();
  }

  // Of all pieces together, in bytes.
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] uint64_t position() const { return position_; }

  // Reads a varint of at most `max_bytes` that ends at offset `end` or before; bits over
  // the 64th are dropped. False if there is none; the position is then where that showed.
  bool ReadVarint(uint64_t end, int max_bytes, uint64_t& value) {
    value = 0;
    for (int i = 0; i < max_bytes; ++i) {
      if (position_ == end) return false;
      const auto byte = static_cast<uint8_t>(piece_[offset_]);
      Advance(1);
      value |= uint64_t{byte & 0x7fU} << (7 * i);
      if (byte < 0x80) return true;
    }
    return false;
  }

  // Calls take(span) for `count` bytes, as few spans as there are pieces. REQUIRES:
  // position() + count <= size().
  template <typename Take>
  void Read(uint64_t count, Take take) {
    while (count > 0) {
      const size_t here = std::min<uint64_t>(count, piece_.size() - offset_);
      take(std::as_bytes(std::span(piece_.data() + offset_, here)));
      Advance(here);
      count -= here;
    }
  }

  // REQUIRES: as Read.
  void Skip(uint64_t count) {
    Read(count, [](std::span<const std::byte>) {});
  }

 private:
  void Advance(size_t count) {
    position_ += count;
    offset_ += count;
    if (offset_ == piece_.size()) SkipEmpty();
  }

  // Moves to the next piece that has bytes.
  void SkipEmpty() {
    offset_ = 0;
    piece_ = {};
    while (piece_.empty() && !rest_.empty()) {
      piece_ = rest_.front();
      rest_ = rest_.subspan(1);
    }
  }

  // Invariant: offset_ < piece_.size(), or all is read and both are 0.
  MessagePieces rest_;
  std::string_view piece_;
  size_t offset_ = 0;
  uint64_t position_ = 0;
  uint64_t size_ = 0;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_PIECE_READER_H_
