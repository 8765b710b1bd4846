// The right answer to a work, computed here.
#ifndef ATTND_CLIENT_LOAD_ORACLE_H_
#define ATTND_CLIENT_LOAD_ORACLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/work.h"
#include "core/attention/engine.h"
#include "core/attention/tensor.h"
#include "proto/codec.h"

namespace attnd::load {

// Whether all that the answer depends on is known here.
bool IsComputable(const Work& work);

// An output, in the order of the answer's elements.
struct ExpectedOutput {
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  // In float64, by the oracle; empty if only dtype and shape are wanted.
  std::vector<double> values;
  // The largest error that an answer may have.
  double tolerance = 0;
};

// Without values. REQUIRES: IsComputable, as for all below. Thread-safe, as all below.
absl::StatusOr<ExpectedOutput> ExpectShape(const Work& work);

// With values, in about work.flops / 1e9 seconds.
absl::StatusOr<ExpectedOutput> ExpectOutput(const Work& work);

struct Comparison {
  // What is wrong, for a person; empty if nothing is.
  std::string problem;
  // The largest error, in tolerances, where both are finite.
  double worst_error = 0;
};

// NaN is right where NaN is expected, an infinity where that is. Values are not compared if
// there are none.
Comparison Compare(const codec::ReplyTensor& output, const ExpectedOutput& expected);

// "output[0, 3, 17, 5] is 1.25, ..." of the first element of the first tensor whose bits are
// not those of `expected`; nothing if all are the same.
std::optional<std::string> FirstDifference(const codec::MultiHeadReply& answer, const codec::MultiHeadReply& expected);

// An answer from the wire, whichever method it is of.
absl::StatusOr<codec::MultiHeadReply> DecodeAnswer(const Work& work, codec::MessagePieces message);

// The engine whose arithmetic has that id on this machine, if any.
std::optional<EngineKind> EngineOfNumerics(const std::string& numerics_id);

// The answer's message as this program's kernels compute it, on the calling thread.
absl::StatusOr<std::string> ComputeAnswer(const Work& work, EngineKind engine);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_ORACLE_H_
