// Memory that shows what was written beside it.
#ifndef ATTND_TESTS_SUPPORT_GUARDED_H_
#define ATTND_TESTS_SUPPORT_GUARDED_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/support/attention_problem.h"

namespace attnd {

// `n` floats between others that must stay as they are, NaN with a payload of their own. The
// first one is `misalign` floats behind a multiple of 64 bytes.
class GuardedFloats {
 public:
  explicit GuardedFloats(int64_t n, float fill = 0, int64_t misalign = 0)
      : n_(n), begin_(kGuard + misalign), memory_(static_cast<size_t>(begin_ + n + kGuard), Guard()) {
    std::fill_n(data(), n, fill);
  }

  float* data() { return memory_.data() + begin_; }
  [[nodiscard]] const float* data() const { return memory_.data() + begin_; }
  [[nodiscard]] int64_t size() const { return n_; }
  [[nodiscard]] std::span<const float> all() const { return {data(), static_cast<size_t>(n_)}; }
  float& operator[](int64_t i) { return data()[i]; }
  float operator[](int64_t i) const { return data()[i]; }
  operator float*() { return data(); }              // NOLINT(google-explicit-constructor)
  operator const float*() const { return data(); }  // NOLINT(google-explicit-constructor)

  // Whether nothing beside the floats has been written.
  [[nodiscard]] bool intact() const {
    const auto untouched = [](float x) { return std::bit_cast<uint32_t>(x) == kUntouchedBits; };
    return std::all_of(memory_.begin(), memory_.begin() + begin_, untouched) &&
           std::all_of(memory_.begin() + begin_ + n_, memory_.end(), untouched);
  }

 private:
  static constexpr int64_t kGuard = 64;
  static float Guard() { return std::bit_cast<float>(kUntouchedBits); }

  int64_t n_;
  int64_t begin_;
  AlignedFloats memory_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_GUARDED_H_
