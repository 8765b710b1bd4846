#include "tests/bench/stages.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "core/attention/float_rows.h"
#include "core/attention/simd_strip.h"
#include "core/attention/simd_transpose.h"
#include "tests/bench/case.h"
#include "tests/support/attention_problem.h"
#include "tests/support/random.h"

namespace attnd::bench {
namespace {

constexpr int64_t kFewQueries = 8;

// What strips of rows compute of a row's problem, in pairs.
struct Coverage {
  double visible = 0;
  double computed = 0;  // keys that some row of a strip sees, for each of its lanes
  double hidden = 0;    // those of them that not every row sees
};

void AddStrip(const AttentionPlan& plan, int64_t b, int64_t row, int64_t rows, Coverage& coverage) {
  KeyRange any;
  KeyRange all{0, std::numeric_limits<int64_t>::max()};
  for (int64_t r = row; r < row + rows; ++r) {
    const KeyRange keys = plan.visibility.Keys(b, r / plan.dims.group());
    coverage.visible += static_cast<double>(keys.size());
    all = all.Intersect(keys);
    if (keys.empty()) continue;
    any = any.empty() ? keys : KeyRange{std::min(any.begin, keys.begin), std::max(any.end, keys.end)};
  }
  const auto width = static_cast<double>(simd::StripWidth(rows));
  coverage.computed += width * static_cast<double>(any.size());
  coverage.hidden += width * static_cast<double>(any.size() - all.Intersect(any).size());
}

Coverage CoverageOf(const AttentionPlan& plan, bool masked) {
  Coverage coverage;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    const int64_t rows = plan.q_used[b] * plan.dims.group();
    for (int64_t row = 0; row < rows; row += simd::FullStripWidth()) {
      AddStrip(plan, b, row, std::min(simd::FullStripWidth(), rows - row), coverage);
    }
  }
  if (masked) {
    coverage.hidden = coverage.computed;
    coverage.visible /= 2;  // the mask hides half
  }
  return coverage;
}

AlignedFloats Normals(int64_t count, Random& random) {
  AlignedFloats numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = random.Normal();
  return numbers;
}

// Memory of one tile of strips and a block of keys, which all stages share.
struct Bench {
  explicit Bench(const Row& row, const AttentionPlan& plan, int64_t tile_rows) : dims(row.dims) {
    Random random(1);
    const int64_t rows = std::min(tile_rows, plan.q_used[0] * dims.group());
    width = simd::StripWidth(std::min(rows, simd::FullStripWidth()));
    strips = std::max<int64_t>(1, rows / width);
    // As the strip path has it: scores of a strip take half of a first cache.
    keys = std::min<int64_t>(dims.kv_len, 4096 / simd::FullStripWidth());
    query = Normals(strips * width * dims.head_dim, random);
    query_rows = query;
    key = Normals(keys * dims.head_dim, random);
    value = Normals(keys * dims.value_dim, random);
    scores = Normals((keys + simd::kMaxStripWidth) * width, random);
    raw_scores = scores;
    acc = Normals(strips * width * dims.value_dim, random);
    for (AlignedFloats* state : {&max, &sum, &alpha, &block_max}) state->assign(simd::kMaxStripWidth, 1.0F);
    stored.resize(static_cast<size_t>(keys * std::max(dims.head_dim, dims.value_dim)));
    begin.assign(simd::kMaxStripWidth, 0);
    for (int32_t r = 0; r < simd::kMaxStripWidth; ++r) end.push_back(r + 1);
    bits.assign(static_cast<size_t>((keys / 32 + 1) * simd::kMaxStripWidth), 0x55555555);
  }

  template <typename Step>
  void ForStrips(const Step& step) const {
    for (int64_t s = 0; s < strips; ++s) step(s);
  }
  [[nodiscard]] double pairs() const { return static_cast<double>(strips * width * keys); }

  Dims dims;
  int64_t width = 0;
  int64_t strips = 0;
  int64_t keys = 0;
  AlignedFloats query, query_rows, key, value, scores, raw_scores, acc, max, sum, alpha, block_max;
  // Key and value as 16-bit elements.
  std::vector<uint16_t, AlignedAllocator<uint16_t>> stored;
  FloatRowsLoader loader;
  std::vector<int32_t, AlignedAllocator<int32_t>> begin, end;
  std::vector<uint32_t> bits;
};

void Qk(Bench& b) {
  const float scale = 1 / std::sqrt(static_cast<float>(b.dims.head_dim));
  b.ForStrips([&b, scale](int64_t s) {
    simd::StripScores(b.query.data() + s * b.width * b.dims.head_dim, b.width, b.dims.head_dim, scale,
                      {b.key.data(), b.dims.head_dim}, b.keys, b.scores.data(), b.block_max.data());
  });
}

// The copy keeps what is exponentiated from becoming its own input; it is a small part.
void Softmax(Bench& b) {
  b.ForStrips([&b](int64_t) {
    std::memcpy(b.scores.data(), b.raw_scores.data(), b.scores.size() * sizeof(float));
    std::fill(b.max.begin(), b.max.end(), 3.0F);
    simd::StripSoftmax(b.width, b.keys, b.block_max.data(), b.scores.data(),
                       {b.max.data(), b.sum.data(), b.alpha.data()});
  });
}

void Pv(Bench& b) {
  b.ForStrips([&b](int64_t s) {
    simd::StripAddValues(b.raw_scores.data(), b.width, b.keys, {b.value.data(), b.dims.value_dim}, b.dims.value_dim,
                         b.alpha.data(), b.acc.data() + s * b.width * b.dims.value_dim);
  });
}

// Keys and values to float32, once per tile, where they are not.
void LoadKeys(Bench& b, DataType dtype) {
  const auto* base = reinterpret_cast<const std::byte*>(b.stored.data());
  for (const int64_t dim : {b.dims.head_dim, b.dims.value_dim}) {
    (void)b.loader.Load({base, dtype, dim, dim, b.keys}, 0, b.keys, 1, /*finite=*/false);
  }
}

void LoadQuery(Bench& b) {
  b.ForStrips([&b](int64_t s) {
    const int64_t at = s * b.width * b.dims.head_dim;
    simd::RowsToStrip(b.query_rows.data() + at, b.dims.head_dim, b.width, b.dims.head_dim, b.query.data() + at);
  });
}

// The diagonal of a strip.
void HideOutside(Bench& b) {
  b.ForStrips([&b](int64_t) {
    simd::StripHideOutside(b.begin.data(), b.end.data(), b.width, 0, std::min(b.keys, b.width), b.scores.data(),
                           b.block_max.data());
  });
}

void HideByBits(Bench& b) {
  b.ForStrips(
      [&b](int64_t) { simd::StripHideByBits(b.bits.data(), b.width, b.keys, b.scores.data(), b.block_max.data()); });
}

}  // namespace

std::vector<Stage> StagesOf(const Row& row, EngineKind engine) {
  const bool masked = row.option == Option::kBoolMask || row.option == Option::kBitMask;
  if (std::string(EngineName(engine)) != "fused" || row.dims.q_len * row.dims.group() <= kFewQueries) return {};
  const AttentionPlan plan = PlanRow(row).plan;
  const Coverage coverage = CoverageOf(plan, masked);
  const auto b = std::make_shared<Bench>(row, plan, RowsPerTile(engine, plan));
  const double visible = b->pairs() * coverage.visible / coverage.computed;
  std::vector<Stage> stages = {
      {"qk", [b] { Qk(*b); }, visible}, {"softmax", [b] { Softmax(*b); }, visible}, {"pv", [b] { Pv(*b); }, visible}};
  // A query is loaded once for all of its keys.
  const double keys_per_query = coverage.visible / static_cast<double>(plan.total_queries * row.dims.group());
  stages.push_back({"loading", [b] { LoadQuery(*b); }, static_cast<double>(b->strips * b->width) * keys_per_query});
  if (row.dtype != DataType::kFloat32) {
    stages.push_back({"loading", [b, dtype = row.dtype] { LoadKeys(*b, dtype); }, visible});
  }
  if (coverage.hidden > 0) {
    const double hidden = masked ? b->pairs() : static_cast<double>(b->strips * b->width * std::min(b->keys, b->width));
    stages.push_back({"masking", [b, masked] { masked ? HideByBits(*b) : HideOutside(*b); },
                      hidden * coverage.visible / coverage.hidden});
  }
  return stages;
}

}  // namespace attnd::bench
