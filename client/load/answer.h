// What a load test needs of every answer, without taking it apart.
#ifndef ATTND_CLIENT_LOAD_ANSWER_H_
#define ATTND_CLIENT_LOAD_ANSWER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/load/verifier.h"
#include "proto/codec.h"

namespace attnd::load {

struct AnswerSummary {
  ServerTimings timings;
  // Of everything that equal requests must get equal: all tensors with dtype and shape, but
  // no timings, counts and numerics_id. 0 if not asked for.
  uint64_t hash = 0;
  std::string numerics_id;
};

// Walks an AttendResponse or MultiHeadAttendResponse once. kInternal if it is none, or has
// no output. Thread-safe.
absl::StatusOr<AnswerSummary> SummarizeAnswer(codec::MessagePieces message, bool with_hash);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_ANSWER_H_
