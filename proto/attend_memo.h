// Requests that repeat: of two that differ in their tensors' elements alone, the second need not
// be taken apart.
#ifndef ATTND_PROTO_ATTEND_MEMO_H_
#define ATTND_PROTO_ATTEND_MEMO_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/attention/request.h"
#include "proto/codec.h"

namespace attnd::codec {

// An AttendRequest, remembered with everything but the elements of query, key and value.
// Thread-compatible.
class AttendMemo {
 public:
  // Remembers `message` and what DecodeAttendRequest made of it, if it is worth it: requests of
  // few bytes, without tensors beside those three. Forgets what was remembered before. Returns
  // whether it does remember.
  bool Remember(MessagePieces message, const AttendCall& call);

  // What DecodeAttendRequest would return, if `message` is the one remembered but for elements.
  [[nodiscard]] std::optional<AttendCall> Recall(MessagePieces message, std::shared_ptr<const void> owner) const;

 private:
  static constexpr size_t kTensors = 3;

  // Bytes of the message in a row: elements of a tensor, or none of any.
  struct Stretch {
    // kTensors: none.
    size_t tensor = kTensors;
    uint64_t size = 0;
  };

  // Of the message; 0 if nothing is remembered.
  uint64_t size_ = 0;
  std::vector<Stretch> stretches_;
  // Those without elements, one after the other.
  std::string fixed_;
  // Without elements and owner.
  AttendCall call_;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_ATTEND_MEMO_H_
