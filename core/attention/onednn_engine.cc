#include "core/attention/onednn_engine.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "absl/strings/str_cat.h"
#include "core/attention/simd.h"
#include "oneapi/dnnl/dnnl.h"

// oneDNN's OpenMP. Declared here because clang has no omp.h for GCC's library.
extern "C" void omp_set_num_threads(int threads);

namespace attnd {
namespace {

constexpr int64_t kRows = kOnednnRowsPerTile;
constexpr float kNegInf = -std::numeric_limits<float>::infinity();

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Keys per block, a constant of the shape: K and V of a block stay in a 512 KiB L2.
int64_t KeyBlock(const Dims& dims) {
  const int64_t keys = 65536 / (dims.head_dim + dims.value_dim);
  return std::clamp<int64_t>(keys / 64 * 64, 64, 512);
}

// sgemm is slower and its bits differ when the number of columns is not whole vectors.
KeyRange WholeVectors(KeyRange keys, int64_t kv_len) {
  if (keys.empty()) return keys;
  return {keys.begin, std::min(RoundUp(keys.end, simd::kRowMultiple), kv_len)};
}

struct FreeDeleter {
  void operator()(float* p) const { std::free(p); }
};

// 64-byte aligned floats that grow and never shrink.
class Scratch {
 public:
  absl::Status Reserve(int64_t floats) {
    if (floats <= capacity_) return absl::OkStatus();
    const auto bytes = static_cast<size_t>(RoundUp(floats, simd::kRowMultiple)) * sizeof(float);
    memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    capacity_ = memory_ == nullptr ? 0 : floats;
    if (memory_ == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes of scratch"));
    }
    return absl::OkStatus();
  }
  [[nodiscard]] float* data() const { return memory_.get(); }

 private:
  std::unique_ptr<float, FreeDeleter> memory_;
  int64_t capacity_ = 0;
};

// C [kRows, n] = A [kRows, k] op(B) + beta C. No alpha: with one, the bits of a row depend
// on its place among the rows.
absl::Status Product(char transpose_b, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                     float beta, float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm('N', transpose_b, kRows, n, k, 1.0F, a, lda, b, ldb, beta, c, ldc);
  if (status == dnnl_success) return absl::OkStatus();
  if (status == dnnl_out_of_memory) return absl::ResourceExhaustedError("oneDNN has no memory for a product");
  return absl::InternalError(
      absl::StrCat("dnnl_sgemm failed with status ", static_cast<int>(status), " for n=", n, " k=", k));
}

class OnednnEngine final : public TileEngine {
 public:
  [[nodiscard]] int64_t rows_per_tile() const override { return kRows; }
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override;

 private:
  // Everything about the tile at hand that its steps share.
  struct Context {
    const AttentionPlan& plan;
    const AttentionData& data;
    const Tile& tile;
    const float* key;    // of this batch entry and key head
    const float* value;  // of this batch entry and key head
    int64_t rows;
    int64_t key_block;
    KeyRange any;  // keys that some row sees, its end rounded up to whole vectors
    KeyRange all;  // keys that every row sees
  };
  struct RowPlace {
    int64_t head;
    int64_t query;
  };
  static RowPlace PlaceOf(const Context& c, int64_t row) {
    const int64_t stacked = c.tile.row_begin + row;
    const int64_t group = c.plan.dims.group();
    return {c.tile.kv_head * group + stacked % group, stacked / group};
  }

  absl::Status ReserveScratch(const Context& c);
  void LoadQuery(const Context& c);
  // Unscaled scores of keys [begin, end), end - begin <= key_block.
  absl::Status Scores(const Context& c, int64_t begin, int64_t end);
  // Fills visible_ for keys [begin, end); nullptr if every row sees all of them.
  const KeyRange* VisibleIn(const Context& c, int64_t begin, int64_t end);
  static bool HiddenValuesFinite(const Context& c, int64_t begin, int64_t end);
  absl::Status AddBlock(const Context& c, int64_t begin, int64_t end);
  RowCounts WriteOutput(const Context& c);
  absl::Status WriteWeights(const Context& c);

  Scratch query_;
  Scratch scores_;
  Scratch acc_;
  int64_t query_stride_ = 0;
  int64_t score_stride_ = 0;
  int64_t acc_stride_ = 0;
  float max_[kRows] = {};
  float sum_[kRows] = {};
  KeyRange visible_[kRows] = {};
};

absl::StatusOr<RowCounts> OnednnEngine::Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  const int64_t group = plan.dims.group();
  const int64_t q_begin = tile.row_begin / group;
  const int64_t q_end = (tile.row_end - 1) / group + 1;
  const Context c{plan,
                  data,
                  tile,
                  data.key + tile.batch * plan.key.batch + tile.kv_head * plan.key.head,
                  data.value + tile.batch * plan.value.batch + tile.kv_head * plan.value.head,
                  tile.row_end - tile.row_begin,
                  KeyBlock(plan.dims),
                  WholeVectors(plan.visibility.SeenByAny(tile.batch, q_begin, q_end), plan.dims.kv_len),
                  plan.visibility.SeenByAll(tile.batch, q_begin, q_end)};
  if (absl::Status status = ReserveScratch(c); !status.ok()) return status;
  LoadQuery(c);
  std::fill(max_, max_ + kRows, kNegInf);
  std::fill(sum_, sum_ + kRows, 0.0F);
  std::fill(acc_.data(), acc_.data() + kRows * acc_stride_, 0.0F);

  for (int64_t begin = c.any.begin / c.key_block * c.key_block; begin < c.any.end; begin += c.key_block) {
    const int64_t end = std::min(begin + c.key_block, c.any.end);
    if (absl::Status status = AddBlock(c, begin, end); !status.ok()) return status;
  }
  const RowCounts counts = WriteOutput(c);
  if (data.weights != nullptr) {
    if (absl::Status status = WriteWeights(c); !status.ok()) return status;
  }
  return counts;
}

absl::Status OnednnEngine::ReserveScratch(const Context& c) {
  query_stride_ = RoundUp(c.plan.dims.head_dim, simd::kRowMultiple);
  acc_stride_ = RoundUp(c.plan.dims.value_dim, simd::kRowMultiple);
  // One line more than the block keeps the rows out of the same cache sets.
  score_stride_ = c.key_block + simd::kRowMultiple;
  if (absl::Status status = query_.Reserve(kRows * query_stride_); !status.ok()) return status;
  if (absl::Status status = acc_.Reserve(kRows * acc_stride_); !status.ok()) return status;
  return scores_.Reserve(kRows * score_stride_);
}

void OnednnEngine::LoadQuery(const Context& c) {
  const Strides& strides = c.plan.query;
  for (int64_t r = 0; r < c.rows; ++r) {
    const RowPlace place = PlaceOf(c, r);
    const float* source =
        c.data.query + c.tile.batch * strides.batch + place.head * strides.head + place.query * strides.token;
    std::copy(source, source + c.plan.dims.head_dim, query_.data() + r * query_stride_);
  }
  std::fill(query_.data() + c.rows * query_stride_, query_.data() + kRows * query_stride_, 0.0F);
}

absl::Status OnednnEngine::Scores(const Context& c, int64_t begin, int64_t end) {
  return Product('T', end - begin, c.plan.dims.head_dim, query_.data(), query_stride_, c.key + begin * c.plan.key.token,
                 c.plan.key.token, 0.0F, scores_.data(), score_stride_);
}

const KeyRange* OnednnEngine::VisibleIn(const Context& c, int64_t begin, int64_t end) {
  if (c.all.begin <= begin && end <= c.all.end) return nullptr;
  for (int64_t r = 0; r < c.rows; ++r) {
    const KeyRange seen = c.plan.visibility.Keys(c.tile.batch, PlaceOf(c, r).query);
    visible_[r] = {std::clamp(seen.begin, begin, end) - begin, std::clamp(seen.end, begin, end) - begin};
  }
  return visible_;
}

absl::Status OnednnEngine::AddBlock(const Context& c, int64_t begin, int64_t end) {
  if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
  const simd::ScoreBlock block{scores_.data(),           score_stride_, c.rows, end - begin,
                               VisibleIn(c, begin, end), c.plan.scale};
  const simd::RowState state{max_, sum_, acc_.data(), acc_stride_};
  simd::SoftmaxBlock(block, state);

  const float* value = c.value + begin * c.plan.value.token;
  const int64_t value_dim = c.plan.dims.value_dim;
  if (block.visible != nullptr && !HiddenValuesFinite(c, begin, end)) {
    simd::AccumulateVisible(block, value, c.plan.value.token, value_dim, state);
    return absl::OkStatus();
  }
  return Product('N', value_dim, end - begin, scores_.data(), score_stride_, value, c.plan.value.token, 1.0F,
                 acc_.data(), acc_stride_);
}

// Whether the values of keys [begin, end) that some row does not see are finite. If not,
// the product would carry them over to that row: 0 * NaN is NaN.
bool OnednnEngine::HiddenValuesFinite(const Context& c, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    const bool seen_by_all = c.all.begin <= k && k < c.all.end;
    if (!seen_by_all && !simd::AllFinite(c.value + k * c.plan.value.token, c.plan.dims.value_dim)) return false;
  }
  return true;
}

RowCounts OnednnEngine::WriteOutput(const Context& c) {
  RowCounts counts;
  const Strides& strides = c.plan.output;
  const int64_t value_dim = c.plan.dims.value_dim;
  for (int64_t r = 0; r < c.rows; ++r) {
    const RowPlace place = PlaceOf(c, r);
    float* output =
        c.data.output + c.tile.batch * strides.batch + place.head * strides.head + place.query * strides.token;
    const bool empty = sum_[r] == 0;
    if (empty) {
      ++counts.empty;
      std::fill(output, output + value_dim, 0.0F);
    } else if (!simd::DivideRow(acc_.data() + r * acc_stride_, value_dim, sum_[r], output)) {
      ++counts.non_finite;
    }
    if (c.data.lse != nullptr) {
      const int64_t row = (c.tile.batch * c.plan.dims.heads + place.head) * c.plan.dims.q_len + place.query;
      c.data.lse[row] = empty ? kNegInf : max_[r] + std::log(sum_[r]);
    }
  }
  return counts;
}

absl::Status OnednnEngine::WriteWeights(const Context& c) {
  const int64_t kv_len = c.plan.dims.kv_len;
  const auto row_of = [&](int64_t r) {
    const RowPlace place = PlaceOf(c, r);
    return c.data.weights +
           ((c.tile.batch * c.plan.dims.heads + place.head) * c.plan.dims.q_len + place.query) * kv_len;
  };
  for (int64_t r = 0; r < c.rows; ++r) {
    float* row = row_of(r);
    std::fill(row, row + c.any.begin, 0.0F);
    std::fill(row + c.any.end, row + kv_len, 0.0F);
  }
  for (int64_t begin = c.any.begin / c.key_block * c.key_block; begin < c.any.end; begin += c.key_block) {
    const int64_t end = std::min(begin + c.key_block, c.any.end);
    if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
    const KeyRange* visible = VisibleIn(c, begin, end);
    for (int64_t r = 0; r < c.rows; ++r) {
      float* row = row_of(r) + begin;
      const KeyRange seen = visible == nullptr ? KeyRange{0, end - begin} : visible[r];
      if (sum_[r] == 0 || seen.empty()) {
        std::fill(row, row + (end - begin), 0.0F);
        continue;
      }
      float* scores = scores_.data() + r * score_stride_;
      simd::ScaleRow(scores, end - begin, c.plan.scale, scores);
      simd::WeightsRow(scores, end - begin, max_[r], sum_[r], row);
      std::fill(row, row + seen.begin, 0.0F);
      std::fill(row + seen.end, row + (end - begin), 0.0F);
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<TileEngine> NewOnednnEngine() {
  omp_set_num_threads(1);
  return std::make_unique<OnednnEngine>();
}

std::string OnednnLibraryVersion() {
  const dnnl_version_t* version = dnnl_version();
  return absl::StrCat(version->major, ".", version->minor, ".", version->patch);
}

std::string OnednnIsa() { return absl::StrCat("0x", absl::Hex(static_cast<unsigned>(dnnl_get_effective_cpu_isa()))); }

}  // namespace attnd
