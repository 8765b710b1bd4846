// Between rows and strips, in every instruction set this machine has.
#include "core/attention/simd_transpose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "core/attention/simd_strip.h"
#include "tests/support/guarded.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"
#include "tests/support/strip_widths.h"

namespace attnd::simd {
namespace {

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Any 32 bits, so that NaN with its payload and denormals are among them.
float AnyBits(Random& random) { return std::bit_cast<float>(static_cast<uint32_t>(random.Bits())); }

struct Form {
  int64_t width;
  int64_t n;
  int64_t stride;
  int64_t misalign;

  [[nodiscard]] int64_t whole() const { return RoundUp(n, kTransposeMultiple); }
  // Up to the end of the last row's last element.
  [[nodiscard]] int64_t row_floats() const { return (width - 1) * stride + whole(); }
};

// Runs `body` for rows of every length, apart and aligned in several ways.
template <typename Body>
void ForEachForm(const Body& body) {
  ForEachTarget([&body] {
    for (const int64_t width : StripWidths()) {
      for (const int64_t n : StripLengths()) {
        const int64_t whole = RoundUp(n, kTransposeMultiple);
        for (const int64_t stride : {whole, whole + 5, RoundUp(n, 16)}) {
          for (const int64_t misalign : {0, 1, 3}) {
            SCOPED_TRACE(testing::Message() << n << " of " << width << " rows " << stride << " apart");
            body(Form{width, n, stride, misalign});
          }
        }
      }
    }
  });
}

TEST(SimdTransposeTest, RowsBecomeColumns) {
  Random random(1);
  ForEachForm([&random](const Form& f) {
    GuardedFloats rows(f.row_floats(), 0, f.misalign);
    for (int64_t i = 0; i < rows.size(); ++i) rows[i] = AnyBits(random);
    GuardedFloats strip(f.whole() * f.width);
    RowsToStrip(rows, f.stride, f.width, f.n, strip);
    for (int64_t i = 0; i < f.n; ++i) {
      for (int64_t r = 0; r < f.width; ++r) {
        ASSERT_EQ(std::bit_cast<uint32_t>(strip[i * f.width + r]), std::bit_cast<uint32_t>(rows[r * f.stride + i]))
            << "element " << i << " of row " << r;
      }
    }
    ASSERT_TRUE(strip.intact());
    ASSERT_TRUE(rows.intact());
  });
}

TEST(SimdTransposeTest, RowsAreAddedToColumns) {
  Random random(2);
  ForEachForm([&random](const Form& f) {
    GuardedFloats rows(f.row_floats(), 0, f.misalign);
    for (int64_t i = 0; i < rows.size(); ++i) rows[i] = random.Normal();
    GuardedFloats strip(f.whole() * f.width);
    for (int64_t i = 0; i < strip.size(); ++i) strip[i] = random.Normal();
    const GuardedFloats before = strip;
    AddRowsToStrip(rows, f.stride, f.width, f.n, strip);
    for (int64_t i = 0; i < f.n; ++i) {
      for (int64_t r = 0; r < f.width; ++r) {
        ASSERT_EQ(strip[i * f.width + r], before[i * f.width + r] + rows[r * f.stride + i]) << i << " " << r;
      }
    }
    ASSERT_TRUE(strip.intact());
  });
}

TEST(SimdTransposeTest, ColumnsBecomeRowsAndNothingBetweenThemChanges) {
  Random random(3);
  ForEachForm([&random](const Form& f) {
    GuardedFloats strip(f.whole() * f.width);
    for (int64_t i = 0; i < strip.size(); ++i) strip[i] = AnyBits(random);
    GuardedFloats rows(f.row_floats(), 7, f.misalign);
    StripToRows(strip, f.width, f.n, rows, f.stride);
    for (int64_t r = 0; r < f.width; ++r) {
      for (int64_t i = 0; i < f.n; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(rows[r * f.stride + i]), std::bit_cast<uint32_t>(strip[i * f.width + r]))
            << "element " << i << " of row " << r;
      }
      for (int64_t i = f.whole(); i < f.stride && r + 1 < f.width; ++i) ASSERT_EQ(rows[r * f.stride + i], 7);
    }
    ASSERT_TRUE(rows.intact());
    ASSERT_TRUE(strip.intact());
  });
}

struct Bits {
  int64_t stride;
  std::vector<uint8_t> bytes;

  [[nodiscard]] bool At(int64_t row, int64_t i) const {
    return (bytes[static_cast<size_t>(row * stride + i / 8)] >> (i % 8) & 1) != 0;
  }
};

// The rows' bits in their words, 0 in other columns of the width, and nothing behind the end.
void CheckWords(const Bits& bits, int64_t rows, int64_t width, int64_t n) {
  constexpr uint32_t kGuard = 0xA5A5A5A5;
  const int64_t size = RoundUp(n, 32) / 32 * width;
  std::vector<uint32_t> words(static_cast<size_t>(size) + 2, kGuard);
  BitsToStrip(bits.bytes.data(), bits.stride, rows, width, n, words.data());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t r = 0; r < width; ++r) {
      const bool bit = (words[static_cast<size_t>(i / 32 * width + r)] >> (i % 32) & 1) != 0;
      ASSERT_EQ(bit, r < rows && bits.At(r, i)) << "bit " << i << " of row " << r << " of " << rows;
    }
  }
  ASSERT_EQ(words[static_cast<size_t>(size)], kGuard);
  ASSERT_EQ(words[static_cast<size_t>(size) + 1], kGuard);
}

TEST(SimdTransposeTest, BitsOfRowsBecomeWordsOfColumns) {
  Random random(4);
  for (int64_t rows = 1; rows <= kMaxStripWidth; ++rows) {
    for (const int64_t n : StripLengths()) {
      const int64_t whole = RoundUp(n, 32) / 8;
      // Rows may overlap in what is read beyond n bits, and begin anywhere.
      const int64_t stride = (n + 7) / 8 + rows % 3;
      Bits bits{stride, std::vector<uint8_t>(static_cast<size_t>((rows - 1) * stride + whole))};
      for (uint8_t& byte : bits.bytes) byte = static_cast<uint8_t>(random.Bits());
      for (const int64_t width : {rows, RoundUp(rows, 4), RoundUp(rows, 8), RoundUp(rows, 32), kMaxStripWidth}) {
        CheckWords(bits, rows, width, n);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Each row alone: a bit that lands elsewhere has nothing to hide behind.
TEST(SimdTransposeTest, BitsOfARowStayInItsColumn) {
  for (const int64_t rows : {1, 7, 8, 9, 24, 63, 64}) {
    for (int64_t row = 0; row < rows; ++row) {
      Bits bits{12, std::vector<uint8_t>(64 * 12, 0)};
      std::fill_n(bits.bytes.begin() + row * 12, 12, uint8_t{0xFF});
      CheckWords(bits, rows, RoundUp(rows, 8), 70);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace attnd::simd
