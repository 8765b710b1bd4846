// Collects the pieces of a tensor's payload on the way through a message.
#ifndef ATTND_PROTO_PAYLOAD_BUILDER_H_
#define ATTND_PROTO_PAYLOAD_BUILDER_H_

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/attention/tensor.h"

namespace attnd::codec {

using Bytes = std::span<const std::byte>;

// Shorter pieces of a payload are copied together: a piece costs more to note than that.
constexpr size_t kMinBorrowed = 64;

// Memory for pieces that are copied, in blocks that grow and never move.
class CopyStore {
 public:
  explicit CopyStore(std::vector<std::unique_ptr<std::byte[]>>& blocks) : blocks_(blocks) {}

  // REQUIRES: bytes.size() <= kMinBorrowed.
  Bytes Copy(Bytes bytes) {
    if (free_.size() < bytes.size()) Grow();
    std::copy(bytes.begin(), bytes.end(), free_.begin());
    const Bytes copy = free_.first(bytes.size());
    free_ = free_.subspan(bytes.size());
    return copy;
  }

 private:
  void Grow() {
    blocks_.emplace_back(new std::byte[next_size_]);
    free_ = {blocks_.back().get(), next_size_};
    next_size_ = std::min<size_t>(2 * next_size_, size_t{1} << 20);
  }

  std::vector<std::unique_ptr<std::byte[]>>& blocks_;
  std::span<std::byte> free_;
  size_t next_size_ = 1024;
};

// Collects the pieces of one payload field, joining what is adjacent.
class PayloadBuilder {
 public:
  void Clear() {
    done_.Clear();
    last_ = {};
  }

  void Append(Bytes piece, CopyStore& store) {
    if (!last_.empty() && piece.size() < kMinBorrowed && !Follows(piece)) piece = store.Copy(piece);
    AppendStable(piece);
  }

  void AppendCopy(Bytes piece, CopyStore& store) { AppendStable(store.Copy(piece)); }

  Fragments Finish() {
    done_.Append(last_);
    return std::move(done_);
  }

 private:
  [[nodiscard]] bool Follows(Bytes piece) const { return last_.data() + last_.size() == piece.data(); }

  void AppendStable(Bytes piece) {
    if (!last_.empty() && Follows(piece)) {
      last_ = {last_.data(), last_.size() + piece.size()};
    } else {
      done_.Append(last_);
      last_ = piece;
    }
  }

  Fragments done_;
  Bytes last_;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_PAYLOAD_BUILDER_H_
