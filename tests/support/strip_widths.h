// Widths of strips (core/attention/simd_strip.h) of the instruction set at hand.
#ifndef ATTND_TESTS_SUPPORT_STRIP_WIDTHS_H_
#define ATTND_TESTS_SUPPORT_STRIP_WIDTHS_H_

#include <cstdint>
#include <vector>

#include "core/attention/simd_strip.h"

namespace attnd {

// Every width there is, narrowest first.
inline std::vector<int64_t> StripWidths() {
  std::vector<int64_t> widths;
  for (int64_t rows = 1; rows <= simd::FullStripWidth(); ++rows) {
    const int64_t width = simd::StripWidth(rows);
    if (widths.empty() || widths.back() != width) widths.push_back(width);
  }
  return widths;
}

// Lengths around everything that vectors and blocks of registers hold.
inline std::vector<int64_t> StripLengths() {
  std::vector<int64_t> lengths;
  for (int64_t n = 1; n <= 40; ++n) lengths.push_back(n);
  lengths.insert(lengths.end(), {64, 128, 257});
  return lengths;
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_STRIP_WIDTHS_H_
