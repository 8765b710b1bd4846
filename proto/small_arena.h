// Memory for a message that is parsed, read and dropped.
#ifndef ATTND_PROTO_SMALL_ARENA_H_
#define ATTND_PROTO_SMALL_ARENA_H_

#include <google/protobuf/arena.h>

#include <array>
#include <cstddef>

namespace attnd::codec {

// An arena that allocates only for messages beyond what is usual. Lives on the stack.
// Thread-compatible.
class SmallArena {
 public:
  SmallArena() : arena_(block_.data(), block_.size()) {}
  ~SmallArena() = default;
  SmallArena(const SmallArena&) = delete;
  SmallArena& operator=(const SmallArena&) = delete;

  google::protobuf::Arena* get() { return &arena_; }

 private:
  alignas(std::max_align_t) std::array<char, 4096> block_;
  google::protobuf::Arena arena_;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_SMALL_ARENA_H_
