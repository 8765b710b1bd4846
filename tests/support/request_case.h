// An attention request by meaning: numbers heads first, whatever layout and element types
// it is sent in. Tests make these, change them, and build requests from them.
#ifndef ATTND_TESTS_SUPPORT_REQUEST_CASE_H_
#define ATTND_TESTS_SUPPORT_REQUEST_CASE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/attention/plan.h"
#include "core/attention/request.h"

namespace attnd {

// Row-major numbers, each of which `dtype` holds exactly; masks are of 0 and 1.
struct CaseTensor {
  DataType dtype = DataType::kFloat32;
  std::vector<int64_t> shape;
  std::vector<float> numbers;
};

struct CaseMask {
  CaseTensor tensor;
  Polarity polarity = Polarity::kKeep;
};

struct RequestCase {
  // q_len and kv_len of a packed case are those of its longest sequence.
  Dims dims;
  Layout layout = Layout::kHeadsFirst;
  // The layout's form with fewer dimensions: 2-D for one entry and one head, 3-D tokens first.
  bool compact = false;
  // [batch, heads, len, dim] in every layout; a packed request leaves out what lies beyond
  // the lengths.
  CaseTensor query;
  CaseTensor key;
  CaseTensor value;
  std::vector<CaseMask> masks;
  std::vector<CaseTensor> biases;
  std::optional<CaseTensor> alibi_slopes;
  std::optional<CaseTensor> sinks;
  // Without tensors. Lists with an element per token are [batch, len] in every layout.
  AttentionOptions options;
  AttentionOutputs outputs;

  [[nodiscard]] bool packed() const { return layout == Layout::kPacked; }
  // Rows and keys of an entry that the request has.
  [[nodiscard]] int64_t QueryCount(int64_t b) const;
  [[nodiscard]] int64_t KeyCount(int64_t b) const;
  // Those of them that take part: queries [0, end), keys [begin, end).
  [[nodiscard]] int64_t QueryEnd(int64_t b) const;
  [[nodiscard]] int64_t KeyBegin(int64_t b) const;
  [[nodiscard]] int64_t KeyEnd(int64_t b) const;
  // Element of a tensor broadcast over [batch, heads, q_len, kv_len].
  [[nodiscard]] static float At(const CaseTensor& tensor, int64_t b, int64_t h, int64_t i, int64_t j);
  // Type of output, weights and scores.
  [[nodiscard]] DataType output_dtype() const { return outputs.dtype.value_or(query.dtype); }

  // One line for SCOPED_TRACE.
  [[nodiscard]] std::string ToString() const;
};

// Rounds the tensor's numbers to another element type.
void Convert(CaseTensor& tensor, DataType dtype);

// The request, with its tensors in pieces that only its owner keeps alive.
AttentionRequest BuildRequest(const RequestCase& c);

// Entry `b` as a request of its own, in the same layout. Without weights if none of the
// listed rows is the entry's.
RequestCase EntryOf(const RequestCase& c, int64_t b);

// The used rows and keys of a case that is not packed, as a packed one. Listed rows are
// dropped: all rows' weights are reported. REQUIRES: there is an entry.
RequestCase AsPacked(const RequestCase& c);

// The part of a tensor broadcast over [batch, heads, q_len, kv_len] for entry `b`, or for
// all if it is negative, with fewer queries and keys.
CaseTensor CropBroadcast(const CaseTensor& tensor, int64_t b, int64_t q_count, int64_t kv_count);

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_REQUEST_CASE_H_
