#include "core/attention/visibility.h"

namespace attnd {

Visibility Visibility::Causal(int64_t q_len, int64_t kv_len, std::vector<int64_t> shift) {
  Visibility visibility(q_len, kv_len);
  visibility.shift_ = std::move(shift);
  return visibility;
}

double Visibility::Pairs(int64_t b) const {
  const auto q_len = static_cast<double>(q_len_);
  const auto kv_len = static_cast<double>(kv_len_);
  if (shift_.empty()) return q_len * kv_len;
  // Query q sees clamp(q + shift + 1, 0, kv_len) keys: none before `first`, all from `full` on.
  const int64_t first = std::clamp<int64_t>(-ShiftOf(b), 0, q_len_);
  const int64_t full = std::clamp<int64_t>(kv_len_ - 1 - ShiftOf(b), first, q_len_);
  const auto ramp = static_cast<double>(full - first);
  const auto lowest = static_cast<double>(std::clamp<int64_t>(first + ShiftOf(b) + 1, 0, kv_len_));
  return ramp * lowest + ramp * (ramp - 1) / 2 + (q_len - static_cast<double>(full)) * kv_len;
}

}  // namespace attnd
