#include "core/linear/simd_linear.h"

#include <algorithm>
#include <cstddef>

// Blocks of registers are arrays of vectors, which types without a size cannot be.
#include "hwy/detect_compiler_arch.h"
#if HWY_ARCH_ARM_A64
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/linear/simd_linear.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
//
#include "core/attention/simd_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attnd::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kPanel = static_cast<size_t>(kPanelColumns);
using D = hn::CappedTag<float, kPanel>;
using V = hn::Vec<D>;
constexpr size_t kWide = hn::MaxLanes(D());
constexpr size_t kPanelVectors = kPanel / kWide;
constexpr bool kManyRegisters = HWY_MAX_BYTES == 64 || HWY_ARCH_ARM_A64;

// Rows of a strip, and panels side by side: accumulators fill the registers, less those for
// a line of the panels and an element of x.
constexpr size_t kMostRows = HWY_MAX_BYTES == 64 ? 14 : (kManyRegisters || kPanelVectors <= 2) ? 6 : 3;
constexpr size_t kMostPanels = HWY_MAX_BYTES == 64 ? 2 : 1;
// Elements from one k to the next in a strip, which is x[rows, k] with the rows interleaved.
constexpr size_t kStripWidth = (kMostRows + 3) / 4 * 4;

// Up to so many rows, x is read where it is.
constexpr size_t kFewRows = 3;
// Panels side by side for `rows` of few rows: what waits for memory gains from several
// streams, as far as there are registers.
constexpr size_t StreamsFor(size_t rows) {
  constexpr size_t kAccumulators = kManyRegisters ? 24 : 8;
  const size_t streams = kAccumulators / (rows * kPanelVectors);
  return streams >= 4 ? 4 : streams >= 2 ? 2 : 1;
}

// Elements of k at a time, and rows: a strip and a panel stay in the second cache and all
// strips in the third.
constexpr size_t kDepth = 768;
constexpr size_t kRowBlock = 256;

struct BlockArgs {
  // Of a strip: [k][kStripWidth]; in place: row r begins at x + r * x_stride.
  const float* x;
  size_t x_stride;
  const float* panel;
  size_t panel_stride;
  size_t depth;
  const float* soon;
  size_t soon_stride;
  // y continues what it holds, or starts from 0.
  bool resume;
  const float* bias;
  float* y;
  size_t y_stride;
};

// How x lies, and how many panels a block has.
template <size_t kPanels, bool kStrip>
struct Shape {
  static constexpr size_t kVectors = kPanels * kPanelVectors;
  static constexpr bool kIsStrip = kStrip;
  // Lines of the next panels to fetch with each k. The hardware does it for few rows.
  static constexpr size_t kAhead = kStrip ? kPanels : 0;
};

struct Block {
  template <class S, size_t kRows>
  static HWY_NOINLINE void Run(const BlockArgs& args) {
    const D d;
    V acc[kRows][S::kVectors];
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < S::kVectors; ++v) acc[r][v] = hn::Zero(d);
    }
    if (args.resume) {
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
        for (size_t v = 0; v < S::kVectors; ++v) acc[r][v] = hn::LoadU(d, args.y + r * args.y_stride + v * kWide);
      }
    }
    const float* HWY_RESTRICT x = args.x;
    const float* HWY_RESTRICT panel = args.panel;
    const float* soon = args.soon;
    const size_t x_stride = S::kIsStrip ? 1 : args.x_stride;
    const size_t panel_stride = args.panel_stride;
    const size_t soon_stride = args.soon_stride;
    for (size_t k = 0; k < args.depth; ++k) {
      if constexpr (S::kAhead > 0) BringNearer(soon);
      if constexpr (S::kAhead > 1) BringNearer(soon + soon_stride);
      soon += kPanel;
      V w[S::kVectors];
#pragma GCC unroll 16
      for (size_t v = 0; v < S::kVectors; ++v) {
        w[v] = hn::Load(d, panel + v / kPanelVectors * panel_stride + v % kPanelVectors * kWide);
      }
      panel += kPanel;
#pragma GCC unroll 16
      for (size_t r = 0; r < kRows; ++r) {
        const V element = hn::Set(d, x[r * x_stride]);
#pragma GCC unroll 16
        for (size_t v = 0; v < S::kVectors; ++v) acc[r][v] = hn::MulAdd(element, w[v], acc[r][v]);
      }
      x += S::kIsStrip ? kStripWidth : 1;
    }
    if (args.bias != nullptr) {
#pragma GCC unroll 16
      for (size_t v = 0; v < S::kVectors; ++v) {
        const V b = hn::LoadU(d, args.bias + v * kWide);
#pragma GCC unroll 16
        for (size_t r = 0; r < kRows; ++r) acc[r][v] = hn::Add(acc[r][v], b);
      }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (size_t v = 0; v < S::kVectors; ++v) hn::StoreU(acc[r][v], d, args.y + r * args.y_stride + v * kWide);
    }
  }
};

// strip[k][r] = x[r][k] for `rows` rows; places of other rows are not read later.
void FillStrip(const float* x, size_t stride, size_t rows, size_t depth, float* strip) {
  size_t k = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  const hn::Repartition<uint64_t, decltype(d4)> d2;
  for (; k + 4 <= depth; k += 4) {
    for (size_t r = 0; r < rows; r += 4) {
      // Beyond the last row, the last row again.
      const auto at = [&](size_t i) HWY_ATTR { return hn::LoadU(d4, x + std::min(r + i, rows - 1) * stride + k); };
      const auto r0 = at(0);
      const auto r1 = at(1);
      const auto r2 = at(2);
      const auto r3 = at(3);
      const auto a = hn::BitCast(d2, hn::InterleaveLower(d4, r0, r1));
      const auto b = hn::BitCast(d2, hn::InterleaveLower(d4, r2, r3));
      const auto e = hn::BitCast(d2, hn::InterleaveUpper(d4, r0, r1));
      const auto f = hn::BitCast(d2, hn::InterleaveUpper(d4, r2, r3));
      float* to = strip + k * kStripWidth + r;
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, a, b)), d4, to);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, a, b)), d4, to + kStripWidth);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, e, f)), d4, to + 2 * kStripWidth);
      hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, e, f)), d4, to + 3 * kStripWidth);
    }
  }
#endif
  for (; k < depth; ++k) {
    for (size_t r = 0; r < rows; ++r) strip[k * kStripWidth + r] = x[r * stride + k];
  }
}

// Where the results of panels from `column` on go.
struct Group {
  int64_t column;
  const float* bias;
  float* y;
  size_t y_stride;
};

// Calls run(panels, group) until all columns are done, with `most` panels or, near the end,
// fewer. Panels that are not all wanted go to `edges`, [2][rows][16]: the first and the last.
template <typename Run>
void ForGroups(const PanelProduct& p, size_t most, float* edges, const Run& run) {
  HWY_ALIGN float bias[kPanel];
  for (int64_t c = p.begin; c < p.end;) {
    const int64_t panel = c / kPanelColumns * kPanelColumns;
    const auto whole = static_cast<size_t>(panel == c ? (p.end - c) / kPanelColumns : 0);
    if (whole > 0) {
      size_t panels = most;
      while (panels > whole) panels /= 2;
      run(panels, Group{c, p.bias == nullptr ? nullptr : p.bias + (c - p.begin), p.y + (c - p.begin),
                        static_cast<size_t>(p.y_stride)});
      c += static_cast<int64_t>(panels) * kPanelColumns;
      continue;
    }
    const int64_t end = std::min(p.end, panel + kPanelColumns);
    if (p.bias != nullptr) {
      std::fill(bias, bias + kPanel, 0.0F);
      std::copy(p.bias + (c - p.begin), p.bias + (end - p.begin), bias + (c - panel));
    }
    float* y = c == p.begin ? edges : edges + p.rows * kPanelColumns;
    run(1, Group{panel, p.bias == nullptr ? nullptr : bias, y, kPanel});
    for (int64_t r = 0; r < p.rows; ++r, y += kPanel) {
      std::copy(y + (c - panel), y + (end - panel), p.y + r * p.y_stride + (c - p.begin));
    }
    c = end;
  }
}

BlockArgs ArgsFor(const PanelProduct& p, const Group& group) {
  const auto in = static_cast<size_t>(p.in);
  BlockArgs args{};
  args.x = p.x;
  args.x_stride = static_cast<size_t>(p.x_stride);
  args.panel = p.panels + static_cast<size_t>(group.column / kPanelColumns) * in * kPanel;
  args.panel_stride = in * kPanel;
  args.depth = in;
  args.bias = group.bias;
  args.y = group.y;
  args.y_stride = group.y_stride;
  return args;
}

template <size_t kRows>
void MultiplyFew(const PanelProduct& p) {
  constexpr size_t kStreams = StreamsFor(kRows);
  constexpr size_t kPair = kStreams < 2 ? kStreams : 2;
  HWY_ALIGN float edges[2 * kRows * kPanel];
  ForGroups(p, kStreams, edges, [&p](size_t panels, const Group& group) {
    const BlockArgs args = ArgsFor(p, group);
    if (panels == kStreams) {
      Block::template Run<Shape<kStreams, false>, kRows>(args);
    } else if (panels == 2) {
      Block::template Run<Shape<kPair, false>, kRows>(args);
    } else {
      Block::template Run<Shape<1, false>, kRows>(args);
    }
  });
}

size_t StripsOf(size_t rows) { return (rows + kMostRows - 1) / kMostRows; }

// A group of panels for all strips of k's range, which are at `strips`.
template <size_t kPanels>
void MultiplyStrips(const PanelProduct& p, size_t k_begin, size_t k_end, const Group& group, const float* strips) {
  const auto rows = static_cast<size_t>(p.rows);
  const auto in = static_cast<size_t>(p.in);
  const size_t count = StripsOf(rows);
  BlockArgs args = ArgsFor(p, group);
  args.panel += k_begin * kPanel;
  args.depth = k_end - k_begin;
  args.resume = k_begin != 0;
  if (k_end != in) args.bias = nullptr;
  const bool more = group.column + 2 * static_cast<int64_t>(kPanels) * kPanelColumns <= p.end;
  const float* next = more ? args.panel + kPanels * args.panel_stride : args.panel;
  // With one strip it fetches all that comes next, with several each its share.
  args.soon_stride = count < kPanels ? args.panel_stride : 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t begin = RunBegin(rows, i, count);
    args.x = strips + i * args.depth * kStripWidth;
    args.soon = next + i % kPanels * args.panel_stride;
    args.y = group.y + begin * group.y_stride;
    RunRows<Block, Shape<kPanels, true>, kMostRows>(RunBegin(rows, i + 1, count) - begin, args);
  }
}

// Of at most kRowBlock rows.
void MultiplyMany(const PanelProduct& p, float* scratch) {
  const auto rows = static_cast<size_t>(p.rows);
  const auto in = static_cast<size_t>(p.in);
  const auto stride = static_cast<size_t>(p.x_stride);
  float* edges = scratch;
  float* strips = edges + 2 * rows * kPanel;
  const size_t count = StripsOf(rows);
  const size_t parts = (in + kDepth - 1) / kDepth;
  for (size_t part = 0; part < parts; ++part) {
    const size_t k_begin = RunBegin(in, part, parts);
    const size_t k_end = RunBegin(in, part + 1, parts);
    for (size_t i = 0; i < count; ++i) {
      const size_t begin = RunBegin(rows, i, count);
      FillStrip(p.x + begin * stride + k_begin, stride, RunBegin(rows, i + 1, count) - begin, k_end - k_begin,
                strips + i * (k_end - k_begin) * kStripWidth);
    }
    ForGroups(p, kMostPanels, edges, [&](size_t panels, const Group& group) {
      if (panels == kMostPanels) {
        MultiplyStrips<kMostPanels>(p, k_begin, k_end, group, strips);
      } else {
        MultiplyStrips<1>(p, k_begin, k_end, group, strips);
      }
    });
  }
}

void Multiply(const PanelProduct& product, float* scratch) {
  const auto rows = static_cast<size_t>(product.rows);
  const size_t blocks = (rows + kRowBlock - 1) / kRowBlock;
  for (size_t i = 0; i < blocks; ++i) {
    const auto begin = static_cast<int64_t>(RunBegin(rows, i, blocks));
    PanelProduct block = product;
    block.x += begin * product.x_stride;
    block.y += begin * product.y_stride;
    block.rows = static_cast<int64_t>(RunBegin(rows, i + 1, blocks)) - begin;
    if (block.rows == 1) {
      MultiplyFew<1>(block);
    } else if (block.rows == 2) {
      MultiplyFew<2>(block);
    } else if (block.rows == 3) {
      MultiplyFew<kFewRows>(block);
    } else {
      MultiplyMany(block, scratch);
    }
  }
}

int64_t ScratchFor(int64_t rows, int64_t in) {
  const size_t most = std::min(static_cast<size_t>(rows), kRowBlock);
  if (most <= kFewRows) return 0;
  return static_cast<int64_t>(2 * most * kPanel +
                              StripsOf(most) * kStripWidth * std::min(static_cast<size_t>(in), kDepth));
}

}  // namespace attnd::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnd::simd {

HWY_EXPORT(ScratchFor);
HWY_EXPORT(Multiply);

int64_t PanelScratch(int64_t rows, int64_t in) { return HWY_DYNAMIC_DISPATCH(ScratchFor)(rows, in); }
void MultiplyPanels(const PanelProduct& product, float* scratch) { HWY_DYNAMIC_DISPATCH(Multiply)(product, scratch); }

}  // namespace attnd::simd
#endif  // HWY_ONCE
