#include "tests/bench/case.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/request_case.h"

namespace attnd::bench {
namespace {

// Normal numbers that repeat after a prime number of them: drawing each would take longer
// than most rows.
std::vector<float> NormalNumbers(int64_t count, Random& random) {
  constexpr size_t kPeriod = 65521;
  std::vector<float> numbers(static_cast<size_t>(count));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = i < kPeriod ? random.Normal() : numbers[i - kPeriod];
  return numbers;
}

CaseTensor Numbers(std::vector<int64_t> shape, DataType dtype, Random& random) {
  CaseTensor tensor{DataType::kFloat32, std::move(shape), {}};
  tensor.numbers = NormalNumbers(Product(tensor.shape).value_or(0), random);
  Convert(tensor, dtype);
  return tensor;
}

CaseMask HalfMask(const Dims& dims, DataType dtype, Random& random) {
  CaseTensor tensor{dtype, {dims.q_len, dims.kv_len}, {}};
  tensor.numbers.resize(static_cast<size_t>(dims.q_len * dims.kv_len));
  for (float& x : tensor.numbers) x = static_cast<float>(random.Below(2));
  return {std::move(tensor), Polarity::kKeep};
}

void AddOption(Option option, RequestCase& c, Random& random) {
  const Dims& dims = c.dims;
  AttentionOptions& options = c.options;
  switch (option) {
    case Option::kNone:
      return;
    case Option::kWindow:
      options.window = {.left = kWindowKeys - 1, .right = std::nullopt};
      return;
    case Option::kDocuments:
      options.documents.emplace();
      for (int64_t i = 0; i < dims.batch * dims.q_len; ++i) {
        options.documents->query_ids.push_back(static_cast<int32_t>(i / kDocumentTokens));
      }
      return;
    case Option::kRagged:
      c.layout = Layout::kPacked;
      for (int64_t b = 0; b < dims.batch; ++b) options.q_lengths.push_back(RaggedTokens(dims, b));
      options.kv_lengths = options.q_lengths;
      return;
    case Option::kBoolMask:
      c.masks.push_back(HalfMask(dims, DataType::kBool, random));
      return;
    case Option::kBitMask:
      c.masks.push_back(HalfMask(dims, DataType::kBit, random));
      return;
    case Option::kBias:
      c.biases.push_back(Numbers({dims.q_len, dims.kv_len}, DataType::kFloat32, random));
      return;
    case Option::kAlibi:
      c.alibi_slopes = Numbers({dims.heads}, DataType::kFloat32, random);
      return;
    case Option::kSoftcap:
      options.softcap = 30.0F;
      return;
    case Option::kRope:
      options.rope.emplace().style = RopeStyle::kHalf;
      return;
    case Option::kWideLogits:
      for (float& x : c.query.numbers) x *= 60;
      return;
    case Option::kDenormalValues:
      for (size_t i = 0; i < c.value.numbers.size(); i += 2) c.value.numbers[i] *= 1e-39F;
      return;
    case Option::kDiagnostics:
      c.outputs.diagnostics.emplace();
      return;
    case Option::kTopK:
      c.outputs.top_k.emplace().k = 8;
      return;
    case Option::kHeatmap:
      c.outputs.heatmap.emplace();
      return;
  }
}

RequestCase CaseOf(const Row& row) {
  const Dims& d = row.dims;
  Random random(1);
  RequestCase c;
  c.dims = d;
  c.query = Numbers({d.batch, d.heads, d.q_len, d.head_dim}, row.dtype, random);
  c.key = Numbers({d.batch, d.kv_heads, d.kv_len, d.head_dim}, row.dtype, random);
  c.value = Numbers({d.batch, d.kv_heads, d.kv_len, d.value_dim}, row.dtype, random);
  c.options.causal = row.causal;
  c.options.alignment = row.causal ? Alignment::kBottomRight : Alignment::kUnset;
  AddOption(row.option, c, random);
  return c;
}

}  // namespace

PlannedRequest PlanRow(const Row& row) {
  PlannedRequest planned{BuildRequest(CaseOf(row)), {}};
  auto plan = PlanAttention(planned.request, AttentionLimits());
  if (!plan.ok()) {
    std::fprintf(stderr, "%s: %s\n", row.name.c_str(), plan.status().ToString().c_str());
    std::abort();
  }
  planned.plan = *std::move(plan);
  return planned;
}

}  // namespace attnd::bench
