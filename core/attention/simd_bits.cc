#include "core/attention/simd_bits.h"

#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/attention/simd_bits.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <typename Word>
HWY_INLINE void AndWord(const uint8_t* kept, uint8_t* bits) {
  Word word;
  Word other;
  std::memcpy(&word, bits, sizeof(word));
  std::memcpy(&other, kept, sizeof(other));
  word = static_cast<Word>(word & other);
  std::memcpy(bits, &word, sizeof(word));
}

// bits &= test(elements), where `test` maps a vector to a mask and `test1` does one element.
template <typename T, typename Test, typename Test1>
HWY_INLINE void Keep(const T* elements, int64_t count, uint8_t* bits, Test test, Test1 test1) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const auto n = static_cast<size_t>(count);
  size_t k = 0;
  if (lanes >= 8) {
    uint8_t kept[HWY_MAX_BYTES + 8];
    for (; k + lanes <= n; k += lanes) {
      hn::StoreMaskBits(d, test(d, hn::LoadU(d, elements + k)), kept);
      if (lanes == 64) {
        AndWord<uint64_t>(kept, bits + k / 8);
      } else if (lanes == 32) {
        AndWord<uint32_t>(kept, bits + k / 8);
      } else {
        for (size_t i = 0; i < lanes / 8; ++i) AndWord<uint8_t>(kept + i, bits + k / 8 + i);
      }
    }
  }
  for (; k < n; ++k) {
    if (!test1(elements[k])) bits[k / 8] = static_cast<uint8_t>(bits[k / 8] & ~(1U << (k % 8)));
  }
}

void KeepByBool(const std::byte* mask, int64_t n, bool keep, uint8_t* bits) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(mask);
  if (keep) {
    Keep(
        bytes, n, bits, [](auto d, auto v) { return hn::Ne(v, hn::Zero(d)); }, [](uint8_t b) { return b != 0; });
  } else {
    Keep(
        bytes, n, bits, [](auto d, auto v) { return hn::Eq(v, hn::Zero(d)); }, [](uint8_t b) { return b == 0; });
  }
}

void KeepEqual(const int32_t* ids, int64_t n, int32_t id, uint8_t* bits) {
  Keep(
      ids, n, bits, [id](auto d, auto v) { return hn::Eq(v, hn::Set(d, id)); }, [id](int32_t v) { return v == id; });
}

template <typename T>
HWY_INLINE void KeepOther(const std::byte* elements, int64_t n, T value, uint8_t* bits) {
  Keep(
      reinterpret_cast<const T*>(elements), n, bits, [value](auto d, auto v) { return hn::Ne(v, hn::Set(d, value)); },
      [value](T v) { return v != value; });
}

void KeepAboveMinusInfinity(const std::byte* bias, DataType dtype, int64_t n, uint8_t* bits) {
  switch (dtype) {
    case DataType::kFloat32:
      return KeepOther<uint32_t>(bias, n, 0xFF800000, bits);
    case DataType::kFloat16:
      return KeepOther<uint16_t>(bias, n, 0xFC00, bits);
    case DataType::kBfloat16:
      return KeepOther<uint16_t>(bias, n, 0xFF80, bits);
    case DataType::kBool:
    case DataType::kBit:
      return;
  }
}

int64_t CountBits(const uint8_t* bits, int64_t bytes) {
  const hn::ScalableTag<uint64_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t words = bytes / 8;
  auto counts = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= words; i += lanes) {
    counts = hn::Add(counts, hn::PopulationCount(hn::LoadU(d, reinterpret_cast<const uint64_t*>(bits + 8 * i))));
  }
  auto count = static_cast<int64_t>(hn::GetLane(hn::SumOfLanes(d, counts)));
  for (; i < words; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, bits + 8 * i, sizeof(word));
    count += std::popcount(word);
  }
  return count;
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(CountBits);
HWY_EXPORT(KeepByBool);
HWY_EXPORT(KeepEqual);
HWY_EXPORT(KeepAboveMinusInfinity);

void KeepByBool(const std::byte* mask, int64_t n, bool keep, uint8_t* bits) {
  HWY_DYNAMIC_DISPATCH(KeepByBool)(mask, n, keep, bits);
}
void KeepEqual(const int32_t* ids, int64_t n, int32_t id, uint8_t* bits) {
  HWY_DYNAMIC_DISPATCH(KeepEqual)(ids, n, id, bits);
}
void KeepAboveMinusInfinity(const std::byte* bias, DataType dtype, int64_t n, uint8_t* bits) {
  HWY_DYNAMIC_DISPATCH(KeepAboveMinusInfinity)(bias, dtype, n, bits);
}

int64_t CountBits(const uint8_t* bits, int64_t bytes) { return HWY_DYNAMIC_DISPATCH(CountBits)(bits, bytes); }

void KeepByBit(const std::byte* mask, int64_t n, bool keep, uint8_t* bits) {
  const uint8_t flip = keep ? 0 : 0xFF;
  const int64_t whole = n / 8;
  for (int64_t i = 0; i < whole; ++i) bits[i] = static_cast<uint8_t>(bits[i] & (static_cast<uint8_t>(mask[i]) ^ flip));
  if (n % 8 == 0) return;
  const auto behind = static_cast<uint8_t>(0xFF << (n % 8));
  bits[whole] = static_cast<uint8_t>(bits[whole] & ((static_cast<uint8_t>(mask[whole]) ^ flip) | behind));
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
