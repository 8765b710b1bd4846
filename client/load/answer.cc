#include "client/load/answer.h"

#include <xxhash.h>

#include <cmath>
#include <cstddef>
#include <memory>
#include <span>

#include "attnd/v1/attention.pb.h"
#include "proto/piece_reader.h"

namespace attnd::load {
namespace {

using Wire = v1::AttendResponse;
using MultiHeadWire = v1::MultiHeadAttendResponse;
// Both answers are read as one.
constexpr int kOutput = Wire::kOutputFieldNumber;
constexpr int kTimings = Wire::kTimingsFieldNumber;
constexpr int kNumericsId = Wire::kNumericsIdFieldNumber;
static_assert(kOutput == int{MultiHeadWire::kOutputFieldNumber} &&
              kTimings == int{MultiHeadWire::kTimingsFieldNumber} &&
              kNumericsId == int{MultiHeadWire::kNumericsIdFieldNumber});

// Longest timings and numerics_id that are believed.
constexpr uint64_t kLongestText = 4096;

// XXH3 over bytes that come in pieces; where these end does not matter.
class Hash {
 public:
  Hash() : state_(StateOfThisThread()) { XXH3_64bits_reset(state_); }

  void Add(std::span<const std::byte> bytes) { XXH3_64bits_update(state_, bytes.data(), bytes.size()); }
  void Add(uint64_t number) { XXH3_64bits_update(state_, &number, sizeof(number)); }
  [[nodiscard]] uint64_t value() const { return XXH3_64bits_digest(state_); }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  static XXH3_state_t* StateOfThisThread() {
    thread_local const std::unique_ptr<XXH3_state_t, Free> state(XXH3_createState());
    return state.get();
  }

  XXH3_state_t* state_;
};

absl::Status Malformed() { return absl::InternalError("the answer is malformed"); }

std::string ReadText(codec::PieceReader& reader, uint64_t length) {
  std::string text;
  reader.Read(length, [&text](std::span<const std::byte> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return text;
}

Duration ToDuration(double seconds) {
  // Also what is not a number; a year is more than any answer took.
  constexpr double kLongest = 365.0 * 24 * 3600;
  if (!(seconds > 0 && seconds < kLongest)) return {};
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

bool ReadTimings(const std::string& text, ServerTimings& timings) {
  v1::Timings wire;
  if (!wire.ParseFromString(text)) return false;
  timings = {ToDuration(wire.queue_seconds()), ToDuration(wire.gather_seconds()), ToDuration(wire.compute_seconds())};
  return true;
}

// Reads past a field that is no message, string or bytes.
bool SkipNumber(codec::PieceReader& reader, uint64_t wire_type) {
  constexpr uint64_t kVarint = 0;
  constexpr uint64_t kFixed64 = 1;
  constexpr uint64_t kFixed32 = 5;
  if (uint64_t ignored = 0; wire_type == kVarint) return reader.ReadVarint(reader.size(), 10, ignored);
  if (wire_type != kFixed64 && wire_type != kFixed32) return false;
  const uint64_t bytes = wire_type == kFixed64 ? 8 : 4;
  if (bytes > reader.size() - reader.position()) return false;
  reader.Skip(bytes);
  return true;
}

}  // namespace

absl::StatusOr<AnswerSummary> SummarizeAnswer(codec::MessagePieces message, bool with_hash) {
  constexpr uint64_t kLengthDelimited = 2;
  codec::PieceReader reader(message);
  AnswerSummary summary;
  Hash hash;
  bool has_output = false;
  while (reader.position() < reader.size()) {
    uint64_t tag = 0;
    uint64_t length = 0;
    if (!reader.ReadVarint(reader.size(), 5, tag)) return Malformed();
    const uint64_t field = tag >> 3;
    if (const uint64_t wire_type = tag & 7; wire_type != kLengthDelimited) {
      if (!SkipNumber(reader, wire_type)) return Malformed();
      continue;
    }
    if (!reader.ReadVarint(reader.size(), 10, length) || length > reader.size() - reader.position()) return Malformed();
    const bool is_text = field == kTimings || field == kNumericsId;
    if (is_text && length > kLongestText) return Malformed();
    if (field == kTimings) {
      if (!ReadTimings(ReadText(reader, length), summary.timings)) return Malformed();
    } else if (field == kNumericsId) {
      summary.numerics_id = ReadText(reader, length);
    } else if (with_hash && field < kTimings) {
      hash.Add(field);
      hash.Add(length);
      reader.Read(length, [&hash](std::span<const std::byte> bytes) { hash.Add(bytes); });
    } else {
      reader.Skip(length);
    }
    has_output = has_output || field == kOutput;
  }
  if (!has_output) return absl::InternalError("the answer has no output");
  if (with_hash) summary.hash = hash.value();
  return summary;
}

}  // namespace attnd::load
