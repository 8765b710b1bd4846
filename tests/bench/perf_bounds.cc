#include "tests/bench/perf_bounds.h"

#include <utility>

namespace attnd::bench {

std::vector<CountedRow> CountedRows() {
  constexpr Dims k512 = {1, 1, 1, 512, 512, 64, 64};
  std::vector<CountedRow> rows;
  const auto add = [&rows](Row row, std::map<std::string, double> measured) {
    rows.push_back({std::move(row), std::move(measured)});
  };
  add({.name = "dense_f32_512_d64", .dims = k512}, {{"onednn", 40.6}, {"fused", 39.8}});
  add({.name = "causal_f32_512_d64", .dims = k512, .causal = true}, {{"onednn", 48.2}, {"fused", 43.5}});
  add({.name = "dense_bf16_512_d64", .dims = k512, .dtype = DataType::kBfloat16}, {{"onednn", 46.8}, {"fused", 42.9}});
  add({.name = "tiny_f32_12x16_d64", .dims = {1, 12, 12, 16, 16, 64, 64}}, {{"onednn", 259}, {"fused", 74.3}});
  add({.name = "window_512_of_2048_d64",
       .dims = {1, 1, 1, 2048, 2048, 64, 64},
       .causal = true,
       .option = Option::kWindow},
      {{"onednn", 45.3}, {"fused", 42.1}});
  // Half of the pairs are visible.
  add({.name = "bool_mask_512_d64", .dims = k512, .option = Option::kBoolMask}, {{"onednn", 90.9}, {"fused", 87}});
  // The 48 rows of a tile are computed for one and for eight.
  add({.name = "decode_f32_mha_kv4096_d128", .dims = {1, 1, 1, 1, 4096, 128, 128}}, {{"onednn", 3196}, {"fused", 223}});
  add({.name = "decode_bf16_gqa_8_1_kv4096_d128", .dims = {1, 8, 1, 1, 4096, 128, 128}, .dtype = DataType::kBfloat16},
      {{"onednn", 449}, {"fused", 102}});
  return rows;
}

std::vector<LeastShare> LeastShares() {
  return {
      {"dense_f32_512_d64", {{"onednn", .50}, {"fused", .60}}},
      {"dense_f32_2048_d128", {{"onednn", .55}, {"fused", .65}}},
      {"causal_f32_512_d64", {{"onednn", .40}, {"fused", .55}}},
      {"causal_f32_2048_d64", {{"onednn", .50}, {"fused", .60}}},
      {"short_f32_8x128_d64", {{"onednn", .40}, {"fused", .55}}},
      {"tiny_f32_768x16_d64", {{"onednn", .05}, {"fused", .08}}},
      {"dense_bf16_2048_d64", {{"onednn", .50}, {"fused", .60}}},
      {"window_512_of_8192_d64", {{"onednn", .40}, {"fused", .50}}},
      {"gqa_f32_32_4_causal_1024_d128", {{"onednn", .50}, {"fused", .55}}},
      {"decode_f32_mha_32_kv4096_d128", {{"onednn", .05}, {"fused", .20}}},
  };
}

}  // namespace attnd::bench
