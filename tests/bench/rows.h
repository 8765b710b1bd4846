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
  kWorkersRatio,      // speed of `workers` workers over that of one, whole requests
  kOverPlain,         // speed over that of the same shape in float32 without the option
  kOverParts,         // speed of a request by weights id over that of its products and an Attend, one by one
  kOverOne,           // throughput of `requests` requests at a time over that of one with as many rows
  kOverShort,         // speed per visible pair over that of 1024 queries and keys
  kExtraMemory,       // MiB that a run needs beyond inputs and outputs; less is better
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
  kRope,            // turns query and key while they are gathered, which is measured, too
  kWideLogits,      // weights of most keys are too small for float32
  kDenormalValues,  // half of the values are
  kDiagnostics,
  kTopK,     // the 8 largest weights of each row
  kHeatmap,  // in 512 x 512 cells
};

// What a row computes.
enum class Work {
  kAttention,
  kLinear,     // q_len rows of `in` times [in, out], with a bias
  kMultiHead,  // from embeddings as wide as all heads: projections, attention, output projection
  kLayer,      // the same in a post-norm transformer layer, feed-forward network four times as wide
};

// By instruction set.
struct Target {
  double avx2 = 0;
  double avx512 = 0;
};

struct Row {
  // Stable: other tools select by it.
  std::string name;
  Measure measure = Measure::kShareOfPeak;
  Dims dims = {};
  Work work = Work::kAttention;
  int64_t in = 0;
  int64_t out = 0;
  int requests = 1;
  bool causal = false;  // bottom right
  Option option = Option::kNone;
  // Of all tensors but masks and biases.
  DataType dtype = DataType::kFloat32;
  int workers = 1;
  Target target = {};
  // Least speed over that of PyTorch where it is measured beside.
  double over_torch = 1.0;
};

inline constexpr int64_t kShortTokens = 1024;
inline constexpr int64_t kWindowKeys = 512;
inline constexpr int64_t kDocumentTokens = 512;

// Tokens of sequence `b` of a ragged row.
inline int64_t RaggedTokens(const Dims& dims, int64_t b) {
  constexpr int64_t kShortest = 64;
  return dims.batch == 1 ? dims.q_len : kShortest + (dims.q_len - kShortest) * b / (dims.batch - 1);
}

// All rows, in the order of the table.
std::vector<Row> AllRows();

}  // namespace attnd::bench

#endif  // ATTND_TESTS_BENCH_ROWS_H_
