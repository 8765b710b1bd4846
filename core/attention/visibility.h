// Which keys a query sees, as ranges. The rules combine to one range of keys per query
// here; engines ask for ranges of whole tiles to skip blocks nobody sees and to pay for
// masking only where a block is seen in part.
#ifndef ATTND_CORE_ATTENTION_VISIBILITY_H_
#define ATTND_CORE_ATTENTION_VISIBILITY_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace attnd {

// Keys [begin, end); empty if begin >= end.
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;

  [[nodiscard]] int64_t size() const { return std::max<int64_t>(0, end - begin); }
  [[nodiscard]] bool empty() const { return begin >= end; }
};

// Thread-compatible; immutable after construction.
class Visibility {
 public:
  // Every query sees every key.
  Visibility() = default;
  Visibility(int64_t q_len, int64_t kv_len) : q_len_(q_len), kv_len_(kv_len) {}

  // Query i of batch entry b sees key j iff j <= i + shift[b], where shift is
  // q_offset - k_offset. `shift` has one element per entry, or one for all.
  // REQUIRES: |shift| <= 2^61.
  static Visibility Causal(int64_t q_len, int64_t kv_len, std::vector<int64_t> shift);

  // Keys that query `q` of entry `b` sees.
  [[nodiscard]] KeyRange Keys(int64_t b, int64_t q) const {
    if (shift_.empty()) return {0, kv_len_};
    return {0, std::clamp<int64_t>(q + ShiftOf(b) + 1, 0, kv_len_)};
  }

  // Keys that at least one of the queries [q_begin, q_end) sees. REQUIRES: q_begin < q_end.
  [[nodiscard]] KeyRange SeenByAny(int64_t b, int64_t q_begin, int64_t q_end) const {
    return {Keys(b, q_begin).begin, Keys(b, q_end - 1).end};
  }

  // Keys that each of the queries [q_begin, q_end) sees. REQUIRES: q_begin < q_end.
  [[nodiscard]] KeyRange SeenByAll(int64_t b, int64_t q_begin, int64_t q_end) const {
    return {Keys(b, q_end - 1).begin, Keys(b, q_begin).end};
  }

  // Number of visible (query, key) pairs of entry `b`; a double, as it may pass 2^63.
  [[nodiscard]] double Pairs(int64_t b) const;

 private:
  [[nodiscard]] int64_t ShiftOf(int64_t b) const {
    return shift_.size() == 1 ? shift_[0] : shift_[static_cast<size_t>(b)];
  }

  int64_t q_len_ = 0;
  int64_t kv_len_ = 0;
  std::vector<int64_t> shift_;  // empty: not causal
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_VISIBILITY_H_
