#include "core/attention/onednn_engine.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/attention/float_rows.h"
#include "core/attention/row_results.h"
#include "core/attention/score_stages.h"
#include "core/attention/scratch.h"
#include "core/attention/simd.h"
#include "core/attention/simd_rows.h"
#include "core/attention/tile_visibility.h"
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

// C [kRows, n] = A [kRows, k] op(B) + beta C. No alpha: with one, the bits of a row depend
// on its place among the rows.
absl::Status Product(char transpose_b, int64_t n, int64_t k, const float* a, int64_t lda, const FloatRows& b,
                     float beta, float* c, int64_t ldc) {
  const dnnl_status_t status = dnnl_sgemm('N', transpose_b, kRows, n, k, 1.0F, a, lda, b.data, b.stride, beta, c, ldc);
  if (status == dnnl_success) return absl::OkStatus();
  if (status == dnnl_out_of_memory) return absl::ResourceExhaustedError("oneDNN has no memory for a product");
  return absl::InternalError(
      absl::StrCat("dnnl_sgemm failed with status ", static_cast<int>(status), " for n=", n, " k=", k));
}

class OnednnEngine final : public TileEngine {
 public:
  absl::StatusOr<RowCounts> Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) override;
  absl::Status MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch, int64_t q_begin,
                           int64_t q_end) override;

 private:
  // Everything about the tile at hand that its steps share.
  struct Context {
    const AttentionPlan& plan;
    const AttentionData& data;
    const Tile& tile;
    TokenRows key;    // of this batch entry and key head
    TokenRows value;  // of this batch entry and key head
    int64_t rows;
    int64_t key_block;
    bool staged;  // whether scores need more than the scale
  };

  absl::StatusOr<Context> Begin(const AttentionPlan& plan, const AttentionData& data, const Tile& tile);
  absl::Status ReserveScratch(const Context& c);
  void LoadQuery(const Context& c);

  // Calls step(begin, end) for the blocks that cover `keys`, in order, until one fails.
  // Blocks end at multiples of key_block; the first begins at whole vectors.
  template <typename Step>
  static absl::Status ForBlocks(const Context& c, KeyRange keys, Step step);

  // Raw scores of keys [begin, end), and of some more up to whole vectors: sgemm is slower
  // and its bits differ when the number of columns is not that.
  absl::Status Scores(const Context& c, int64_t begin, int64_t end);
  absl::Status AddBlock(const Context& c, int64_t begin, int64_t end, int64_t* pairs);
  absl::Status AddValues(const Context& c, const BlockVisibility& visible, const simd::ScoreBlock& block,
                         const FloatRows& values, const simd::RowState& state);
  // Marks in poison_ the keys that some row does not see and whose values are not all
  // finite; returns whether there are any.
  bool FindPoison(const Context& c, const BlockVisibility& visible, const FloatRows& values, int64_t keys);

  // Replaces the scores of row `r` by its weights: exp(score - max) / sum where visible.
  void ToWeights(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end, float max, float sum);
  absl::Status WriteWeights(const Context& c);
  absl::Status WriteScores(const Context& c);
  void WriteScoreRow(const Context& c, const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end);
  absl::Status MeanBlock(const AttentionPlan& plan, const AttentionData& data, const Tile& queries, int64_t begin,
                         int64_t end);

  [[nodiscard]] float* ScoreRow(int64_t r) { return scores_.data() + r * score_stride_; }

  TileVisibility visibility_;
  ScoreStages stages_;
  FloatRowsLoader keys_;
  FloatRowsLoader values_;
  Scratch query_;
  Scratch scores_;
  Scratch acc_;
  Scratch mean_;
  Scratch clean_values_;
  // A bit per key of a block, and the same per row.
  std::vector<uint8_t> poison_;
  std::vector<uint8_t> seen_poison_;
  int64_t query_stride_ = 0;
  int64_t score_stride_ = 0;
  int64_t acc_stride_ = 0;
  float max_[kRows] = {};
  float sum_[kRows] = {};
};

absl::StatusOr<OnednnEngine::Context> OnednnEngine::Begin(const AttentionPlan& plan, const AttentionData& data,
                                                          const Tile& tile) {
  const int64_t key_bytes = ElementBytes(plan.key_dtype);
  const int64_t kv_len = plan.keys.count[tile.batch];
  const Context c{plan,
                  data,
                  tile,
                  {data.key + plan.KeyAt(tile.batch, tile.kv_head, 0) * ElementBytes(plan.gathered_key_dtype()),
                   plan.gathered_key_dtype(), plan.key.token, plan.dims.head_dim, kv_len},
                  {data.value + plan.ValueAt(tile.batch, tile.kv_head, 0) * key_bytes, plan.key_dtype, plan.value.token,
                   plan.dims.value_dim, kv_len},
                  tile.row_end - tile.row_begin,
                  KeyBlock(plan.dims),
                  HasScoreStages(plan)};
  if (absl::Status status = ReserveScratch(c); !status.ok()) return status;
  visibility_.Begin(plan, data, tile);
  stages_.Begin(plan, data, tile);
  LoadQuery(c);
  return c;
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
  const DataType dtype = c.plan.gathered_query_dtype();
  for (int64_t r = 0; r < c.rows; ++r) {
    const RowPlace place = PlaceOf(c.plan.dims, c.tile, r);
    const int64_t at = c.plan.QueryAt(c.tile.batch, place.head, place.query);
    simd::LoadRow(c.data.query + at * ElementBytes(dtype), dtype, c.plan.dims.head_dim,
                  query_.data() + r * query_stride_);
  }
  std::fill(query_.data() + c.rows * query_stride_, query_.data() + kRows * query_stride_, 0.0F);
}

template <typename Step>
absl::Status OnednnEngine::ForBlocks(const Context& c, KeyRange keys, Step step) {
  if (keys.empty()) return absl::OkStatus();
  int64_t begin = keys.begin / simd::kRowMultiple * simd::kRowMultiple;
  while (begin < keys.end) {
    const int64_t end = std::min((begin / c.key_block + 1) * c.key_block, keys.end);
    if (absl::Status status = step(begin, end); !status.ok()) return status;
    begin = end;
  }
  return absl::OkStatus();
}

absl::StatusOr<RowCounts> OnednnEngine::Run(const AttentionPlan& plan, const AttentionData& data, const Tile& tile) {
  const auto c = Begin(plan, data, tile);
  if (!c.ok()) return c.status();
  std::fill(max_, max_ + kRows, kNegInf);
  std::fill(sum_, sum_ + kRows, 0.0F);
  std::fill(acc_.data(), acc_.data() + kRows * acc_stride_, 0.0F);
  int64_t pairs = 0;
  absl::Status status =
      ForBlocks(*c, visibility_.any(), [&](int64_t begin, int64_t end) { return AddBlock(*c, begin, end, &pairs); });
  if (!status.ok()) return status;
  RowCounts counts = WriteRows(plan, data, tile, {max_, sum_, acc_.data(), acc_stride_});
  counts.pairs = pairs;
  if (plan.weights.has_value() && !plan.mean_weights) {
    if (status = WriteWeights(*c); !status.ok()) return status;
  }
  if (plan.scores.has_value()) {
    if (status = WriteScores(*c); !status.ok()) return status;
  }
  return counts;
}

absl::Status OnednnEngine::Scores(const Context& c, int64_t begin, int64_t end) {
  const auto keys = keys_.Load(c.key, begin, end, simd::kRowMultiple, /*finite=*/false);
  if (!keys.ok()) return keys.status();
  return Product('T', RoundUp(end - begin, simd::kRowMultiple), c.plan.dims.head_dim, query_.data(), query_stride_,
                 *keys, 0.0F, scores_.data(), score_stride_);
}

absl::Status OnednnEngine::AddBlock(const Context& c, int64_t begin, int64_t end, int64_t* pairs) {
  const BlockVisibility visible = visibility_.Block(begin, end);
  *pairs += visible.pairs;
  if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
  if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
  for (int64_t r = 0; r < c.rows && c.staged; ++r) stages_.Apply(ScoreStage::kBiased, r, begin, end, ScoreRow(r));
  const int64_t keys = end - begin;
  const simd::ScoreBlock block{scores_.data(), score_stride_,      c.rows,
                               keys,           visible.ranges,     c.staged ? 1.0F : c.plan.scale,
                               visible.bits,   visible.bits_stride};
  const simd::RowState state{max_, sum_, acc_.data(), acc_stride_};
  simd::SoftmaxBlock(block, state);

  const auto values = values_.Load(c.value, begin, end, simd::kRowMultiple, /*finite=*/true);
  if (!values.ok()) return values.status();
  return AddValues(c, visible, block, *values, state);
}

bool OnednnEngine::FindPoison(const Context& c, const BlockVisibility& visible, const FloatRows& values, int64_t keys) {
  poison_.assign(static_cast<size_t>((keys + 7) / 8), 0);
  bool found = false;
  for (int64_t k = 0; k < keys; ++k) {
    if (k % 8 == 0 && visible.seen_by_all[k / 8] == 0xFF) {
      k += 7;
      continue;
    }
    if ((visible.seen_by_all[k / 8] >> (k % 8) & 1) != 0) continue;
    if (simd::AllFinite(values.row(k), c.plan.dims.value_dim)) continue;
    auto& byte = poison_[static_cast<size_t>(k / 8)];
    byte = static_cast<uint8_t>(byte | 1U << (k % 8));
    found = true;
  }
  return found;
}

// acc += p V. A product carries a value that is not finite over to rows that do not see it,
// since 0 * NaN is NaN. So it gets 0 in the place of such values, and rows that do see them
// get them afterwards, one by one: the others keep their bits.
absl::Status OnednnEngine::AddValues(const Context& c, const BlockVisibility& visible, const simd::ScoreBlock& block,
                                     const FloatRows& values, const simd::RowState& state) {
  const int64_t value_dim = c.plan.dims.value_dim;
  const int64_t padded = RoundUp(block.keys, simd::kRowMultiple);
  const auto add = [&](const FloatRows& rows) {
    return Product('N', value_dim, padded, scores_.data(), score_stride_, rows, 1.0F, acc_.data(), acc_stride_);
  };
  if (visible.kind != BlockVisibility::Kind::kSome || !FindPoison(c, visible, values, block.keys)) return add(values);

  if (absl::Status status = clean_values_.Reserve(padded * acc_stride_); !status.ok()) return status;
  const auto bytes = static_cast<int64_t>(poison_.size());
  const auto poisoned = [this](int64_t k) { return (poison_[static_cast<size_t>(k / 8)] >> (k % 8) & 1) != 0; };
  for (int64_t k = 0; k < padded; ++k) {
    float* row = clean_values_.data() + k * acc_stride_;
    if (k < block.keys && poisoned(k)) {
      std::fill(row, row + value_dim, 0.0F);
    } else {
      std::copy(values.row(k), values.row(k) + value_dim, row);
    }
  }
  if (absl::Status status = add({clean_values_.data(), acc_stride_}); !status.ok()) return status;

  seen_poison_.assign(static_cast<size_t>(c.rows * bytes), 0);
  for (int64_t k = 0; k < block.keys; ++k) {
    if (!poisoned(k)) continue;
    for (int64_t r = 0; r < c.rows; ++r) {
      auto& byte = seen_poison_[static_cast<size_t>(r * bytes + k / 8)];
      if (visible.Sees(r, k)) byte = static_cast<uint8_t>(byte | 1U << (k % 8));
    }
  }
  simd::ScoreBlock seen = block;
  seen.visible = nullptr;
  seen.bits = seen_poison_.data();
  seen.bits_stride = bytes;
  simd::AccumulateVisible(seen, values.data, values.stride, value_dim, state);
  return absl::OkStatus();
}

void OnednnEngine::ToWeights(const BlockVisibility& visible, int64_t r, int64_t begin, int64_t end, float max,
                             float sum) {
  float* row = ScoreRow(r);
  const int64_t keys = end - begin;
  if (sum == 0) {
    std::fill(row, row + keys, 0.0F);
    return;
  }
  stages_.Apply(ScoreStage::kBiased, r, begin, end, row);
  simd::WeightsRow(row, keys, max, sum, row);
  for (int64_t k = 0; k < keys && visible.kind == BlockVisibility::Kind::kSome; ++k) {
    if (!visible.Sees(r, k)) row[k] = 0;
  }
}

absl::Status OnednnEngine::WriteWeights(const Context& c) {
  const AttentionPlan& plan = c.plan;
  const int64_t kv_len = c.key.count;
  if (kv_len == 0) return absl::OkStatus();
  const int64_t element = ElementBytes(plan.output_dtype);
  std::byte* rows[kRows] = {};
  bool reported = false;
  for (int64_t r = 0; r < c.rows; ++r) {
    const RowPlace place = PlaceOf(plan.dims, c.tile, r);
    const int64_t slot = plan.WeightsSlot(c.tile.batch, place.query);
    if (slot < 0) continue;
    rows[r] = c.data.weights + plan.PairsAt(*plan.weights, c.tile.batch, place.head, slot) * element;
    std::memset(rows[r], 0, static_cast<size_t>(kv_len * element));
    reported = true;
  }
  if (!reported) return absl::OkStatus();
  return ForBlocks(c, visibility_.any(), [&](int64_t begin, int64_t end) {
    const BlockVisibility visible = visibility_.Block(begin, end);
    if (visible.kind == BlockVisibility::Kind::kNone) return absl::OkStatus();
    if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < c.rows; ++r) {
      if (rows[r] == nullptr) continue;
      ToWeights(visible, r, begin, end, max_[r], sum_[r]);
      simd::StoreRow(ScoreRow(r), end - begin, plan.output_dtype, rows[r] + begin * element);
    }
    return absl::OkStatus();
  });
}

absl::Status OnednnEngine::WriteScores(const Context& c) {
  return ForBlocks(c, {0, c.key.count}, [&](int64_t begin, int64_t end) {
    // Only the last stage hides keys.
    const BlockVisibility visible =
        c.plan.score_stage == ScoreStage::kBiased ? visibility_.Block(begin, end) : BlockVisibility();
    if (absl::Status status = Scores(c, begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < c.rows; ++r) WriteScoreRow(c, visible, r, begin, end);
    return absl::OkStatus();
  });
}

void OnednnEngine::WriteScoreRow(const Context& c, const BlockVisibility& visible, int64_t r, int64_t begin,
                                 int64_t end) {
  const AttentionPlan& plan = c.plan;
  float* row = ScoreRow(r);
  stages_.Apply(plan.score_stage, r, begin, end, row);
  for (int64_t k = 0; k < end - begin && visible.kind != BlockVisibility::Kind::kAll; ++k) {
    if (!visible.Sees(r, k)) row[k] = kNegInf;
  }
  const RowPlace place = PlaceOf(plan.dims, c.tile, r);
  const int64_t at = plan.PairsAt(*plan.scores, c.tile.batch, place.head, place.query) + begin;
  simd::StoreRow(row, end - begin, plan.output_dtype, c.data.scores + at * ElementBytes(plan.output_dtype));
}

absl::Status OnednnEngine::MeanWeights(const AttentionPlan& plan, const AttentionData& data, int64_t batch,
                                       int64_t q_begin, int64_t q_end) {
  const Tile queries{batch, 0, q_begin, q_end, 0};
  bool reported = false;
  for (int64_t q = q_begin; q < q_end && !reported; ++q) reported = plan.WeightsSlot(batch, q) >= 0;
  if (!reported) return absl::OkStatus();
  const int64_t kv_len = plan.keys.count[batch];
  const int64_t key_block = KeyBlock(plan.dims);
  if (absl::Status status = mean_.Reserve(kRows * key_block); !status.ok()) return status;
  for (int64_t begin = 0; begin < kv_len; begin += key_block) {
    const int64_t end = std::min(begin + key_block, kv_len);
    if (absl::Status status = MeanBlock(plan, data, queries, begin, end); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The mean over heads for keys [begin, end): heads in order, so that bits do not depend on
// who computes what.
absl::Status OnednnEngine::MeanBlock(const AttentionPlan& plan, const AttentionData& data, const Tile& queries,
                                     int64_t begin, int64_t end) {
  const int64_t keys = end - begin;
  const int64_t rows = queries.row_end - queries.row_begin;
  std::fill(mean_.data(), mean_.data() + rows * keys, 0.0F);
  for (int64_t head = 0; head < plan.dims.heads; ++head) {
    Tile tile = queries;
    tile.kv_head = head / plan.dims.group();
    tile.only_head = head;
    const auto c = Begin(plan, data, tile);
    if (!c.ok()) return c.status();
    const BlockVisibility visible = visibility_.Block(begin, end);
    if (visible.kind == BlockVisibility::Kind::kNone) continue;
    if (absl::Status status = Scores(*c, begin, end); !status.ok()) return status;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = plan.LseAt(tile.batch, head, tile.row_begin + r);
      ToWeights(visible, r, begin, end, data.row_max[at], data.row_sum[at]);
      simd::AddRow(ScoreRow(r), keys, mean_.data() + r * keys);
    }
  }
  const int64_t element = ElementBytes(plan.output_dtype);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t slot = plan.WeightsSlot(queries.batch, queries.row_begin + r);
    if (slot < 0) continue;
    float* mean = mean_.data() + r * keys;
    (void)simd::DivideRow(mean, keys, static_cast<float>(plan.dims.heads), mean);
    const int64_t at = plan.PairsAt(*plan.weights, queries.batch, 0, slot) + begin;
    simd::StoreRow(mean, keys, plan.output_dtype, data.weights + at * element);
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
