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

// The same row by row.
template <typename T, typename Test, typename Test1>
HWY_INLINE void KeepInRows(const ElementRows& elements, int64_t n, const BitRows& bits, Test test, Test1 test1) {
  for (int64_t r = 0; r < bits.rows; ++r) {
    Keep(reinterpret_cast<const T*>(elements.rows[r] + elements.offset), n, bits.bits + r * bits.stride, test, test1);
  }
}

void KeepByBool(const ElementRows& mask, int64_t n, bool keep, const BitRows& bits) {
  if (keep) {
    KeepInRows<uint8_t>(
        mask, n, bits, [](auto d, auto v) { return hn::Ne(v, hn::Zero(d)); }, [](uint8_t b) { return b != 0; });
  } else {
    KeepInRows<uint8_t>(
        mask, n, bits, [](auto d, auto v) { return hn::Eq(v, hn::Zero(d)); }, [](uint8_t b) { return b == 0; });
  }
}

void KeepEqual(const int32_t* ids, int64_t n, int32_t id, uint8_t* bits) {
  Keep(
      ids, n, bits, [id](auto d, auto v) { return hn::Eq(v, hn::Set(d, id)); }, [id](int32_t v) { return v == id; });
}

template <typename T>
HWY_INLINE void KeepOther(const ElementRows& elements, int64_t n, T value, const BitRows& bits) {
  KeepInRows<T>(
      elements, n, bits, [value](auto d, auto v) { return hn::Ne(v, hn::Set(d, value)); },
      [value](T v) { return v != value; });
}

void KeepAboveMinusInfinity(const ElementRows& bias, DataType dtype, int64_t n, const BitRows& bits) {
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

void KeepByBool(const ElementRows& mask, int64_t n, bool keep, const BitRows& bits) {
  HWY_DYNAMIC_DISPATCH(KeepByBool)(mask, n, keep, bits);
}
void KeepEqual(const int32_t* ids, int64_t n, int32_t id, uint8_t* bits) {
  HWY_DYNAMIC_DISPATCH(KeepEqual)(ids, n, id, bits);
}
void KeepAboveMinusInfinity(const ElementRows& bias, DataType dtype, int64_t n, const BitRows& bits) {
  HWY_DYNAMIC_DISPATCH(KeepAboveMinusInfinity)(bias, dtype, n, bits);
}

int64_t CountBits(const uint8_t* bits, int64_t bytes) { return HWY_DYNAMIC_DISPATCH(CountBits)(bits, bytes); }

namespace {

// Keeps bits by those of `mask` turned over where `flip` says so.
void KeepByBitInRow(const uint8_t* mask, int64_t n, uint8_t flip, uint8_t* bits) {
  const uint64_t flips = flip * 0x0101010101010101ULL;
  int64_t i = 0;
  for (; i + 8 <= n / 8; i += 8) {
    uint64_t word = 0;
    uint64_t other = 0;
    std::memcpy(&word, bits + i, sizeof(word));
    std::memcpy(&other, mask + i, sizeof(other));
    word &= other ^ flips;
    std::memcpy(bits + i, &word, sizeof(word));
  }
  for (; i < n / 8; ++i) bits[i] = static_cast<uint8_t>(bits[i] & (mask[i] ^ flip));
  if (n % 8 == 0) return;
  const auto behind = static_cast<uint8_t>(0xFF << (n % 8));
  bits[i] = static_cast<uint8_t>(bits[i] & ((mask[i] ^ flip) | behind));
}

}  // namespace

void KeepByBit(const ElementRows& mask, int64_t n, bool keep, const BitRows& bits) {
  for (int64_t r = 0; r < bits.rows; ++r) {
    KeepByBitInRow(reinterpret_cast<const uint8_t*>(mask.rows[r] + mask.offset), n, keep ? 0 : 0xFF,
                   bits.bits + r * bits.stride);
  }
}

}  // namespace attnd::simd
#endif  // HWY_ONCE
