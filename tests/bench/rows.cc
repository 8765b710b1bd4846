#include "tests/bench/rows.h"

namespace attnd::bench {

// Dims: batch, heads, kv_heads, q_len, kv_len, head_dim, value_dim.
std::vector<Row> AllRows() {
  constexpr auto kPeak = Measure::kShareOfPeak;
  constexpr auto kRead = Measure::kShareOfBandwidth;
  constexpr auto kPlain = Measure::kOverPlain;
  constexpr Dims k2048 = {1, 8, 8, 2048, 2048, 64, 64};
  return {
      {"dense_f32_512_d64", kPeak, {1, 12, 12, 512, 512, 64, 64}, false, 1, .82, .80},
      {"dense_f32_1024_d64", kPeak, {1, 8, 8, 1024, 1024, 64, 64}, false, 1, .82, .80},
      {"dense_f32_2048_d64", kPeak, {1, 8, 8, 2048, 2048, 64, 64}, false, 1, .82, .80},
      {"dense_f32_4096_d64", kPeak, {1, 2, 2, 4096, 4096, 64, 64}, false, 1, .82, .80},
      {"dense_f32_512_d128", kPeak, {1, 12, 12, 512, 512, 128, 128}, false, 1, .85, .82},
      {"dense_f32_2048_d128", kPeak, {1, 8, 8, 2048, 2048, 128, 128}, false, 1, .85, .82},
      {"dense_f32_4096_d128", kPeak, {1, 1, 1, 4096, 4096, 128, 128}, false, 1, .85, .82},
      {"causal_f32_512_d64", kPeak, {1, 12, 12, 512, 512, 64, 64}, true, 1, .74, .70},
      {"causal_f32_2048_d64", kPeak, {1, 8, 8, 2048, 2048, 64, 64}, true, 1, .80, .76},
      {"causal_f32_8192_d64", kPeak, {1, 1, 1, 8192, 8192, 64, 64}, true, 1, .80, .76},
      {"causal_f32_2048_d128", kPeak, {1, 8, 8, 2048, 2048, 128, 128}, true, 1, .80, .76},
      {"causal_f32_8192_d128", kPeak, {1, 1, 1, 8192, 8192, 128, 128}, true, 1, .80, .76},
      {"short_f32_8x128_d64", kPeak, {1, 8, 8, 128, 128, 64, 64}, false, 1, .80, .72},
      {"tiny_f32_768x16_d64", kPeak, {64, 12, 12, 16, 16, 64, 64}, false, 1, .45, .30},
      {"wide_value_f32_1024_dk64_dv96", kPeak, {1, 8, 8, 1024, 1024, 64, 96}, false, 1, .82, .80},
      {"gqa_f32_32_4_causal_1024_d128", kPeak, {1, 32, 4, 1024, 1024, 128, 128}, true, 1, .80, .76},
      {"dense_f32_2048_d64_two_workers", kPeak, {1, 8, 8, 2048, 2048, 64, 64}, false, 2, .82, .80},
      {"two_workers_over_one_dense_2048_d64",
       Measure::kWorkersRatio,
       {1, 8, 8, 2048, 2048, 64, 64},
       false,
       2,
       1.9,
       1.9},
      {"two_workers_over_one_causal_2048_d64",
       Measure::kWorkersRatio,
       {1, 8, 8, 2048, 2048, 64, 64},
       true,
       2,
       1.9,
       1.9},
      {"decode_f32_mha_32_kv4096_d128", kRead, {1, 32, 32, 1, 4096, 128, 128}, false, 1, .95, .95},
      {"decode_f32_mha_32_kv4096_d128_q8", kRead, {1, 32, 32, 8, 4096, 128, 128}, false, 1, .95, .95},
      {"decode_f32_gqa_32_4_kv16384_d128", kRead, {1, 32, 4, 1, 16384, 128, 128}, false, 1, .9, .9},
      {"dense_f16_2048_d64", kPeak, k2048, false, 1, .78, .76, Option::kNone, DataType::kFloat16},
      {"dense_bf16_2048_d64", kPeak, k2048, false, 1, .78, .76, Option::kNone, DataType::kBfloat16},
      {"window_512_of_8192_d64", kPeak, {1, 1, 1, 8192, 8192, 64, 64}, true, 1, .70, .70, Option::kWindow},
      {"window_512_of_32768_d64", kPeak, {1, 1, 1, 32768, 32768, 64, 64}, true, 1, .70, .70, Option::kWindow},
      {"documents_512_of_8192_d64", kPeak, {1, 1, 1, 8192, 8192, 64, 64}, false, 1, .70, .70, Option::kDocuments},
      {"ragged_16_seqs_64_to_1024_d64", kPeak, {16, 4, 4, 1024, 1024, 64, 64}, false, 1, .70, .70, Option::kRagged},
      {"bool_mask_over_dense_2048_d64", kPlain, k2048, false, 1, .80, .80, Option::kBoolMask},
      {"bit_mask_over_dense_2048_d64", kPlain, k2048, false, 1, .80, .80, Option::kBitMask},
      {"bias_over_dense_2048_d64", kPlain, k2048, false, 1, .80, .80, Option::kBias},
      {"alibi_over_dense_2048_d64", kPlain, k2048, false, 1, .80, .80, Option::kAlibi},
      {"softcap_over_dense_2048_d64", kPlain, k2048, false, 1, .50, .50, Option::kSoftcap},
      {"rope_over_dense_2048_d64", kPlain, k2048, false, 1, .90, .90, Option::kRope},
      {"wide_logits_over_dense_2048_d64", kPlain, k2048, false, 1, .90, .90, Option::kWideLogits},
      {"denormal_values_over_dense_2048_d64", kPlain, k2048, false, 1, .90, .90, Option::kDenormalValues},
  };
}

}  // namespace attnd::bench
