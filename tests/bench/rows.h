// What is measured.
#ifndef ATTND_TESTS_BENCH_ROWS_H_
#define ATTND_TESTS_BENCH_ROWS_H_

#include <string>
#include <vector>

#include "core/attention/plan.h"

namespace attnd::bench {

enum class Measure {
  kShareOfPeak,       // FLOPs on visible pairs over the FMA peak of as many threads
  kShareOfBandwidth,  // bytes of key and value over the read bandwidth of as many threads
  kWorkersRatio,      // speed of `workers` workers over that of one, through the executor
  kOverPlain,         // speed over that of the same shape without the option
};

// What is asked for beside the product and the softmax.
enum class Option {
  kNone,
  kWindow,     // causal, the last 512 positions
  kDocuments,  // documents of 512 tokens
  kRagged,     // PACKED, sequences of 64 to 1024 tokens; the shape says how many
  kBoolMask,   // [q_len, kv_len], half of the keys
  kBitMask,    // the same, bit-packed
  kBias,       // [q_len, kv_len]
  kAlibi,
  kSoftcap,
  kRope,
  kWideLogits,      // weights of most keys are too small for float32
  kDenormalValues,  // half of the values are
};

struct Row {
  // Stable: other tools select by it.
  std::string name;
  Measure measure = Measure::kShareOfPeak;
  Dims dims;
  bool causal = false;  // bottom right
  int workers = 1;
  // Targets where the ISA is AVX2 and AVX-512.
  double target_avx2 = 0;
  double target_avx512 = 0;
  Option option = Option::kNone;
  // Of all tensors but masks.
  DataType dtype = DataType::kFloat32;
};

// All rows, in the order of the table.
std::vector<Row> AllRows();

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_ROWS_H_
