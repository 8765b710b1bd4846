#include "tests/bench/rows.h"

#include <utility>

namespace attnd::bench {
namespace {

// Dims: batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim.
constexpr Dims Square(int64_t heads, int64_t len, int64_t dim) { return {1, heads, heads, len, len, dim, dim}; }

constexpr Target kDense64 = {.82, .80};
constexpr Target kDense128 = {.85, .82};
constexpr Target kLongCausal = {.80, .76};
constexpr Target kSixteenBits = {.78, .76};
// Within ten percent.
constexpr Target kFlat = {.90, .90};

constexpr double kOverTorchCausal = 1.2;
constexpr double kOverTorchWeak = 1.3;  // windows, shared key heads, d_v != d_k, tiny shapes, bfloat16
constexpr double kOverTorchAtLimit = .95;

std::vector<Row> Shapes() {
  return {
      {.name = "dense_f32_512_d64", .dims = Square(12, 512, 64), .target = kDense64},
      {.name = "dense_f32_1024_d64", .dims = Square(8, 1024, 64), .target = kDense64},
      {.name = "dense_f32_2048_d64", .dims = Square(8, 2048, 64), .target = kDense64},
      {.name = "dense_f32_4096_d64", .dims = Square(2, 4096, 64), .target = kDense64},
      {.name = "dense_f32_512_d128", .dims = Square(12, 512, 128), .target = kDense128},
      {.name = "dense_f32_2048_d128", .dims = Square(8, 2048, 128), .target = kDense128},
      {.name = "dense_f32_4096_d128", .dims = Square(1, 4096, 128), .target = kDense128},
      {.name = "dense_f32_1024_d40", .dims = Square(8, 1024, 40), .target = {.76, .72}},
      {.name = "dense_f32_1024_d80", .dims = Square(8, 1024, 80), .target = kDense64},
      {.name = "dense_f32_1024_d96", .dims = Square(8, 1024, 96), .target = kDense64},
      {.name = "causal_f32_512_d64",
       .dims = Square(12, 512, 64),
       .causal = true,
       .target = {.74, .70},
       .over_torch = kOverTorchCausal},
      {.name = "causal_f32_2048_d64",
       .dims = Square(8, 2048, 64),
       .causal = true,
       .target = kLongCausal,
       .over_torch = kOverTorchCausal},
      {.name = "causal_f32_8192_d64",
       .dims = Square(1, 8192, 64),
       .causal = true,
       .target = kLongCausal,
       .over_torch = kOverTorchCausal},
      {.name = "causal_f32_2048_d128",
       .dims = Square(8, 2048, 128),
       .causal = true,
       .target = kLongCausal,
       .over_torch = kOverTorchCausal},
      {.name = "causal_f32_8192_d128",
       .dims = Square(1, 8192, 128),
       .causal = true,
       .target = kLongCausal,
       .over_torch = kOverTorchCausal},
      {.name = "short_f32_8x128_d64", .dims = Square(8, 128, 64), .target = {.80, .72}},
      {.name = "tiny_f32_768x16_d64",
       .dims = {64, 12, 12, 16, 16, 64, 64},
       .target = {.45, .30},
       .over_torch = kOverTorchWeak},
      {.name = "wide_value_f32_1024_dk64_dv96",
       .dims = {1, 8, 8, 1024, 1024, 64, 96},
       .target = kDense64,
       .over_torch = kOverTorchWeak},
      {.name = "gqa_f32_32_4_causal_1024_d128",
       .dims = {1, 32, 4, 1024, 1024, 128, 128},
       .causal = true,
       .target = kLongCausal,
       .over_torch = kOverTorchWeak},
      {.name = "dense_f16_2048_d64", .dims = Square(8, 2048, 64), .dtype = DataType::kFloat16, .target = kSixteenBits},
      {.name = "dense_bf16_2048_d64",
       .dims = Square(8, 2048, 64),
       .dtype = DataType::kBfloat16,
       .target = kSixteenBits,
       .over_torch = kOverTorchWeak},
  };
}

std::vector<Row> Options() {
  const Row window = {.name = "window_512_of_8192_d64",
                      .dims = Square(1, 8192, 64),
                      .causal = true,
                      .option = Option::kWindow,
                      .target = {.70, .70},
                      .over_torch = kOverTorchWeak};
  Row long_window = window;
  long_window.name = "window_512_of_32768_d64";
  long_window.dims = Square(1, 32768, 64);
  std::vector<Row> rows = {
      window,
      long_window,
      {.name = "documents_512_of_8192_d64",
       .dims = Square(1, 8192, 64),
       .option = Option::kDocuments,
       .target = {.70, .70},
       .over_torch = kOverTorchWeak},
      {.name = "ragged_16_seqs_64_to_1024_d64",
       .dims = {16, 4, 4, 1024, 1024, 64, 64},
       .option = Option::kRagged,
       .target = {.70, .70}},
  };
  const std::pair<Option, Row> over_plain[] = {
      {Option::kBoolMask, {.name = "bool_mask", .target = {.90, .90}}},
      {Option::kBitMask, {.name = "bit_mask", .target = {.90, .90}}},
      {Option::kBias, {.name = "bias", .target = {.80, .80}}},
      {Option::kAlibi, {.name = "alibi", .target = {.80, .80}}},
      {Option::kSoftcap, {.name = "softcap", .target = {.50, .50}}},
      {Option::kRope, {.name = "rope", .target = {.90, .90}}},
      {Option::kWideLogits, {.name = "wide_logits", .target = {.90, .90}}},
      {Option::kDenormalValues, {.name = "denormal_values", .target = {.90, .90}}},
      {Option::kDiagnostics, {.name = "diagnostics", .target = {.70, .70}}},
      {Option::kTopK, {.name = "top_k", .target = {.30, .30}}},
      {Option::kHeatmap, {.name = "heatmap", .target = {.30, .30}}},
  };
  for (const auto& [option, named] : over_plain) {
    Row row = named;
    row.name += "_over_dense_2048_d64";
    row.measure = Measure::kOverPlain;
    row.dims = Square(8, 2048, 64);
    row.option = option;
    rows.push_back(row);
  }
  return rows;
}

// One to eight queries against many keys: bound by reading keys and values.
std::vector<Row> Decode() {
  constexpr Dims kMha = {1, 32, 32, 1, 4096, 128, 128};
  constexpr Dims kGqa = {1, 32, 4, 1, 16384, 128, 128};
  Dims mha_q8 = kMha;
  mha_q8.q_len = 8;
  const Row shapes[] = {
      {.name = "f32_mha_32_kv4096_d128", .dims = kMha, .target = {.95, .95}, .over_torch = kOverTorchAtLimit},
      {.name = "f32_mha_32_kv4096_d128_q8", .dims = mha_q8, .target = {.95, .95}, .over_torch = kOverTorchAtLimit},
      {.name = "f32_gqa_32_4_kv16384_d128", .dims = kGqa, .target = {.9, .9}, .over_torch = kOverTorchWeak},
      {.name = "f16_gqa_32_4_kv16384_d128",
       .dims = kGqa,
       .dtype = DataType::kFloat16,
       .target = {.85, .85},
       .over_torch = kOverTorchWeak},
      {.name = "bf16_gqa_32_4_kv16384_d128",
       .dims = kGqa,
       .dtype = DataType::kBfloat16,
       .target = {.85, .85},
       .over_torch = kOverTorchWeak},
      {.name = "bf16_mha_32_kv4096_d128",
       .dims = kMha,
       .dtype = DataType::kBfloat16,
       .target = {.85, .85},
       .over_torch = kOverTorchWeak},
  };
  std::vector<Row> rows;
  for (const int workers : {1, 2}) {
    for (Row row : shapes) {
      row.name = "decode_" + row.name + (workers == 2 ? "_two_workers" : "");
      row.measure = Measure::kShareOfBandwidth;
      row.workers = workers;
      rows.push_back(row);
    }
  }
  for (const auto& [name, dims] : {std::pair{"mha_32_kv4096", kMha}, std::pair{"gqa_32_4_kv16384", kGqa}}) {
    rows.push_back({.name = std::string("decode_bf16_over_f32_") + name + "_d128",
                    .measure = Measure::kOverPlain,
                    .dims = dims,
                    .dtype = DataType::kBfloat16,
                    .target = {1.7, 1.7}});
  }
  return rows;
}

std::vector<Row> Scaling() {
  std::vector<Row> rows = {
      {.name = "dense_f32_2048_d64_two_workers", .dims = Square(8, 2048, 64), .workers = 2, .target = kDense64},
      {.name = "two_workers_over_one_dense_2048_d64",
       .measure = Measure::kWorkersRatio,
       .dims = Square(8, 2048, 64),
       .workers = 2,
       .target = {1.9, 1.9}},
      {.name = "two_workers_over_one_causal_2048_d64",
       .measure = Measure::kWorkersRatio,
       .dims = Square(8, 2048, 64),
       .causal = true,
       .workers = 2,
       .target = {1.9, 1.9}},
  };
  for (const bool causal : {false, true}) {
    for (const int64_t len : {2048, 4096, 8192, 16384, 32768}) {
      rows.push_back({.name = std::string(causal ? "causal_" : "dense_") + std::to_string(len) + "_over_1024_d64",
                      .measure = Measure::kOverShort,
                      .dims = Square(1, len, 64),
                      .causal = causal,
                      .target = kFlat});
    }
  }
  // A row of scores per query would be 1 GiB and 4 GiB; what is linear in tokens is a few MiB.
  rows.push_back({.name = "extra_mib_causal_16384_d64",
                  .measure = Measure::kExtraMemory,
                  .dims = Square(1, 16384, 64),
                  .causal = true,
                  .target = {16, 16}});
  rows.push_back({.name = "extra_mib_causal_32768_d64",
                  .measure = Measure::kExtraMemory,
                  .dims = Square(1, 32768, 64),
                  .causal = true,
                  .target = {32, 32}});
  rows.push_back({.name = "extra_mib_diagnostics_causal_32768_d64",
                  .measure = Measure::kExtraMemory,
                  .dims = Square(1, 32768, 64),
                  .causal = true,
                  .option = Option::kDiagnostics,
                  .target = {200, 200}});
  return rows;
}

// Products and layers as wide as BERT's.
std::vector<Row> Layers() {
  constexpr int64_t kWidth = 768;
  const auto linear = [](int64_t rows, int64_t out) {
    Row row;
    row.name = "linear_f32_" + std::to_string(rows) + "_768_" + std::to_string(out);
    row.work = Work::kLinear;
    row.dims.q_len = rows;
    row.in = kWidth;
    row.out = out;
    row.target = {.90, .90};
    return row;
  };
  const auto heads = [](Work work, int64_t batch, int64_t len) {
    Row row;
    row.name = std::string(work == Work::kLayer ? "layer" : "multihead") + "_f32_" + std::to_string(batch) + "x" +
               std::to_string(len) + "_768";
    row.work = work;
    row.dims = {batch, 12, 12, len, len, 64, 64};
    return row;
  };
  std::vector<Row> rows = {linear(512, 2304), linear(128, 2304), linear(512, kWidth), linear(128, kWidth),
                           linear(16, 2304)};
  const std::pair<Row, Target> layers[] = {{heads(Work::kLayer, 8, 128), {.91, .86}},
                                           {heads(Work::kLayer, 1, 512), {.87, .81}},
                                           {heads(Work::kLayer, 1, 16), {.56, .36}}};
  for (Row row : {layers[0].first, layers[1].first, layers[2].first}) {
    row.target = layers[rows.size() - 5].second;
    rows.push_back(row);
  }
  for (const int64_t len : {512, 16}) {
    Row row = heads(Work::kMultiHead, 1, len);
    row.name += "_over_parts";
    row.measure = Measure::kOverParts;
    row.target = {1 / 1.1, 1 / 1.1};
    rows.push_back(row);
  }
  for (const int64_t len : {16, 1}) {
    Row row = heads(Work::kMultiHead, 1, len);
    row.requests = 16;
    row.name = "16_requests_of_" + std::to_string(len) + "_over_one_of_" + std::to_string(16 * len);
    row.measure = Measure::kOverOne;
    row.workers = 2;
    // Single rows share what they can while they wait.
    row.target = len == 1 ? Target{.50, .50} : Target{.90, .90};
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

std::vector<Row> AllRows() {
  std::vector<Row> all;
  for (const auto& rows : {Shapes(), Options(), Decode(), Scaling(), Layers()})
    all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

}  // namespace attnd::bench
