#include "client/load/random_tensor.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>

namespace attnd::load {
namespace {

uint16_t ToBfloat16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// REQUIRES: |x| < 65504.
uint16_t ToFloat16(float x) {
  const int sign = std::signbit(x) ? 0x8000 : 0;
  const float size = std::abs(x);
  // Units of the last place: those of the exponent -14 for all below.
  const int exponent = size < 0x1p-14F ? -14 : std::ilogb(size);
  const auto significand = static_cast<int>(std::lrint(std::ldexp(size, 10 - exponent)));
  // The leading bit, where there is one, adds 1 to the exponent.
  return static_cast<uint16_t>(sign | (significand + ((exponent + 14) << 10)));
}

}  // namespace

uint64_t RandomBits::Next() {
  state_ += 0x9E3779B97F4A7C15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

double RandomBits::Uniform() { return (static_cast<double>(Next() >> 12) + 0.5) * 0x1p-52; }

std::vector<std::byte> NormalNumbers(DataType dtype, int64_t count, RandomBits& random) {
  const auto size = static_cast<size_t>(ElementBytes(dtype));
  std::vector<std::byte> bytes(static_cast<size_t>(count) * size);
  float pair[2] = {};
  for (int64_t i = 0; i < count; ++i) {
    if (i % 2 == 0) {
      // Box and Muller's transform.
      const double radius = std::sqrt(-2 * std::log(random.Uniform()));
      const double angle = 2 * std::numbers::pi * random.Uniform();
      pair[0] = static_cast<float>(radius * std::cos(angle));
      pair[1] = static_cast<float>(radius * std::sin(angle));
    }
    const float x = pair[i % 2];
    auto bits = std::bit_cast<uint32_t>(x);
    if (dtype == DataType::kFloat16) bits = ToFloat16(x);
    if (dtype == DataType::kBfloat16) bits = ToBfloat16(x);
    std::memcpy(bytes.data() + static_cast<size_t>(i) * size, &bits, size);
  }
  return bytes;
}

std::vector<std::byte> RandomMask(double share, int64_t count, RandomBits& random) {
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& keep : bytes) keep = static_cast<std::byte>(random.Uniform() < share ? 1 : 0);
  return bytes;
}

}  // namespace attnd::load
