#include "tests/support/run_request.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "core/attention/plan.h"
#include "core/attention/simd_rows.h"
#include "core/runtime/clock.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

BufferPool& Pool() {
  static BufferPool pool({.max_free_bytes = size_t{64} << 20});
  return pool;
}

size_t BytesOf(DataType dtype, int64_t elements) { return static_cast<size_t>(elements * ElementBytes(dtype)); }

// Leaves NaN in the blocks that the job will get.
void SpoilPool(const AttentionPlan& plan) {
  std::vector<size_t> sizes = {BytesOf(plan.output_dtype, plan.rows * plan.dims.value_dim),
                               static_cast<size_t>(plan.rows) * sizeof(float)};
  for (const auto& pairs : {plan.weights, plan.scores}) {
    if (pairs) sizes.push_back(BytesOf(plan.output_dtype, pairs->elements));
  }
  std::vector<Buffer> buffers;
  for (const size_t size : sizes) {
    auto buffer = Pool().Allocate(size);
    EXPECT_THAT(buffer.status(), IsOk());
    if (size > 0) std::memset(buffer->data(), 0xFF, size);
    buffers.push_back(*std::move(buffer));
  }
}

std::vector<float> FloatsOf(const ResultTensor& tensor) {
  const auto n = std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
  EXPECT_EQ(tensor.data.size(), BytesOf(tensor.dtype, n));
  std::vector<float> floats(static_cast<size_t>(n));
  if (n > 0) simd::LoadRow(tensor.data.data(), tensor.dtype, n, floats.data());
  return floats;
}

// Listed rows of an entry, in the order of their places; all if none are listed.
std::vector<int64_t> WeightRows(const RequestCase& c, int64_t b) {
  std::vector<int64_t> rows;
  if (c.outputs.weights->rows.empty()) {
    rows.resize(static_cast<size_t>(c.QueryCount(b)));
    std::iota(rows.begin(), rows.end(), 0);
    return rows;
  }
  int64_t start = 0;
  for (int64_t before = 0; c.packed() && before < b; ++before) start += c.QueryCount(before);
  for (const int64_t row : c.outputs.weights->rows) {
    if (start <= row && row < start + c.QueryCount(b)) rows.push_back(row - start);
  }
  return rows;
}

// Splits flat results, one entry after the other.
class Entries {
 public:
  explicit Entries(const std::vector<float>& flat) : flat_(flat) {}
  std::vector<float> Next(int64_t n) {
    EXPECT_LE(at_ + n, static_cast<int64_t>(flat_.size()));
    const auto begin = flat_.begin() + std::exchange(at_, at_ + n);
    return {begin, begin + n};
  }

 private:
  const std::vector<float>& flat_;
  int64_t at_ = 0;
};

// Heads first out of the layout: element (b, h, i) begins at `dim` times its place there.
std::vector<float> OutputOf(const RequestCase& c, const std::vector<float>& flat, int64_t b, int64_t start) {
  const int64_t dim = c.dims.value_dim;
  std::vector<float> out;
  for (int64_t h = 0; h < c.dims.heads; ++h) {
    for (int64_t i = 0; i < c.QueryCount(b); ++i) {
      int64_t row = (start + i) * c.dims.heads + h;
      if (c.layout == Layout::kHeadsFirst) row = (b * c.dims.heads + h) * c.dims.q_len + i;
      out.insert(out.end(), flat.begin() + row * dim, flat.begin() + (row + 1) * dim);
    }
  }
  return out;
}

std::vector<float> LseOf(const RequestCase& c, const std::vector<float>& flat, int64_t b, int64_t start,
                         int64_t total) {
  std::vector<float> out;
  for (int64_t h = 0; h < c.dims.heads; ++h) {
    for (int64_t i = 0; i < c.QueryCount(b); ++i) {
      const int64_t at = c.packed() ? h * total + start + i : (b * c.dims.heads + h) * c.dims.q_len + i;
      out.push_back(flat[static_cast<size_t>(at)]);
    }
  }
  return out;
}

CaseResult Read(const RequestCase& c, const AttentionResult& result) {
  EXPECT_EQ(result.lse.has_value(), c.outputs.lse);
  EXPECT_EQ(result.weights.has_value(), c.outputs.weights.has_value());
  EXPECT_EQ(result.scores.has_value(), c.outputs.scores.has_value());
  EXPECT_EQ(result.output.dtype, c.output_dtype());
  const auto floats = [](const std::optional<ResultTensor>& tensor) {
    return tensor ? FloatsOf(*tensor) : std::vector<float>();
  };
  const std::vector<float> output = FloatsOf(result.output);
  const std::vector<float> lse = floats(result.lse);
  const std::vector<float> weights = floats(result.weights);
  const std::vector<float> scores = floats(result.scores);
  Entries weight_entries(weights);
  Entries score_entries(scores);
  int64_t total = 0;
  for (int64_t b = 0; b < c.dims.batch; ++b) total += c.QueryCount(b);
  EXPECT_EQ(static_cast<int64_t>(output.size()), total * c.dims.heads * c.dims.value_dim);
  CaseResult read;
  read.rows = result.rows;
  int64_t start = 0;
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    EntryResult& entry = read.entries.emplace_back();
    entry.output = OutputOf(c, output, b, start);
    if (c.outputs.lse) entry.lse = LseOf(c, lse, b, start, total);
    if (c.outputs.weights) {
      const int64_t heads = c.outputs.weights->mean ? 1 : c.dims.heads;
      entry.weights = weight_entries.Next(heads * static_cast<int64_t>(WeightRows(c, b).size()) * c.KeyCount(b));
    }
    if (c.outputs.scores) entry.scores = score_entries.Next(c.dims.heads * c.QueryCount(b) * c.KeyCount(b));
    start += c.QueryCount(b);
  }
  return read;
}

absl::Status RunStage(Job& job, int64_t tiles, const std::optional<uint64_t>& shuffle_seed) {
  std::vector<int64_t> order(static_cast<size_t>(tiles));
  std::iota(order.begin(), order.end(), 0);
  if (shuffle_seed) {
    Random random(*shuffle_seed);
    for (size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
    }
  }
  for (const int64_t tile : order) {
    if (absl::Status status = job.RunTile(tile); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RunInline(Job& job, const std::optional<uint64_t>& shuffle_seed) {
  const absl::StatusOr<int64_t> first = job.Prepare();
  if (!first.ok()) return first.status();
  for (int64_t tiles = *first; tiles > 0; tiles = job.NextStage()) {
    if (absl::Status status = RunStage(job, tiles, shuffle_seed); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Of an entry's weights [heads, q_count, kv_count], what the request asks for.
template <typename Real>
std::vector<Real> AskedWeights(const RequestCase& c, int64_t b, const Real* all) {
  const int64_t kv_count = c.KeyCount(b);
  const auto row_of = [&](int64_t h, int64_t i) { return all + (h * c.QueryCount(b) + i) * kv_count; };
  std::vector<Real> out;
  for (int64_t h = 0; h < (c.outputs.weights->mean ? 1 : c.dims.heads); ++h) {
    for (const int64_t i : WeightRows(c, b)) {
      if (!c.outputs.weights->mean) {
        out.insert(out.end(), row_of(h, i), row_of(h, i) + kv_count);
        continue;
      }
      for (int64_t j = 0; j < kv_count; ++j) {
        Real sum = 0;
        for (int64_t each = 0; each < c.dims.heads; ++each) sum += row_of(each, i)[j];
        out.push_back(sum / static_cast<Real>(c.dims.heads));
      }
    }
  }
  return out;
}

// Largest |round(plain) - exact| where both are finite.
double RoundedError(DataType dtype, const std::vector<float>& plain, const std::vector<double>& exact) {
  double worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = std::abs(RoundTo(dtype, static_cast<double>(plain[i])) - exact[i]);
    if (std::isfinite(error)) worst = std::max(worst, error);
  }
  return worst;
}

// Largest length of a row without NaN and infinities.
double LargestNorm(const CaseTensor& tensor) {
  const auto dim = static_cast<size_t>(tensor.shape.back());
  double largest = 0;
  for (size_t row = 0; row < tensor.numbers.size(); row += dim) {
    double square = 0;
    for (size_t c = row; c < row + dim; ++c) square += std::pow(static_cast<double>(tensor.numbers[c]), 2);
    if (std::isfinite(square)) largest = std::max(largest, std::sqrt(square));
  }
  return largest;
}

// An upper bound of sum_d |factor q k|, which bounds what the order of the sum can change.
double LargestScore(const RequestCase& c) {
  const double products = LargestNorm(c.query) * LargestNorm(c.key);
  if (*c.outputs.scores == ScoreStage::kUnscaled) return products;
  const double unset = 1 / std::sqrt(static_cast<double>(c.dims.head_dim));
  return products * (c.options.scale ? std::abs(static_cast<double>(*c.options.scale)) : unset);
}

void SetTolerances(const RequestCase& c, const ReferenceResult<float>& plain, const ReferenceResult<double>& exact,
                   ExpectedResult& expected) {
  const DataType dtype = c.output_dtype();
  const double rounding = std::ldexp(1 + exact.magnitude, -24);
  expected.output_tolerance = 2 * RoundedError(dtype, plain.output, exact.output) + rounding * exact.max_value;
  double largest_lse = 0;
  for (const double lse : exact.lse) {
    if (std::isfinite(lse)) largest_lse = std::max(largest_lse, std::abs(lse));
  }
  // A sink, or many keys, make an LSE larger than any score: its own rounding counts too.
  expected.lse_tolerance =
      2 * RoundedError(DataType::kFloat32, plain.lse, exact.lse) + 2 * rounding + std::ldexp(largest_lse, -24);
  double weights_error = 0;
  int64_t pairs = 0;
  for (int64_t b = 0; b < c.dims.batch && c.outputs.weights; ++b) {
    weights_error = std::max(weights_error, RoundedError(dtype, AskedWeights(c, b, plain.weights.data() + pairs),
                                                         expected.entries[static_cast<size_t>(b)].weights));
    pairs += c.dims.heads * c.QueryCount(b) * c.KeyCount(b);
  }
  expected.weights_tolerance = 2 * weights_error + rounding;
  if (c.outputs.scores) {
    expected.scores_tolerance =
        2 * RoundedError(dtype, plain.scores, exact.scores) + rounding + std::ldexp(LargestScore(c), -24);
  }
}

// What the element type makes of numbers too large for it.
void Saturate(DataType dtype, std::vector<double>& numbers) {
  for (double& x : numbers) {
    if (const double rounded = RoundTo(dtype, x); std::isinf(rounded)) x = rounded;
  }
}

testing::AssertionResult ZerosAreExact(const char* what, const std::vector<float>& actual,
                                       const std::vector<double>& expected) {
  for (size_t i = 0; i < actual.size(); ++i) {
    if (expected[i] == 0 && actual[i] != 0) {
      return testing::AssertionFailure() << what << " element " << i << " is " << actual[i] << ", not exactly 0";
    }
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult Named(const char* what, int64_t b, testing::AssertionResult result) {
  if (result) return result;
  return testing::AssertionFailure() << what << " of entry " << b << ": " << result.message();
}

}  // namespace

absl::StatusOr<AttentionResult> RunForResult(const RequestCase& c, const RunOptions& options) {
  AttentionRequest request = BuildRequest(c);
  auto plan = PlanAttention(request, {});
  EXPECT_THAT(plan.status(), IsOk()) << c.ToString();
  if (!plan.ok()) return plan.status();
  SpoilPool(*plan);
  const EngineKind engine = options.engine.value_or(TestEngine());
  const JobSpec spec = AttentionJobSpec(*plan, engine);
  absl::StatusOr<AttentionResult> outcome = absl::UnknownError("not called back");
  const std::shared_ptr<Job> job = NewAttentionJob(
      std::move(request), *std::move(plan), engine, &Pool(),
      [&outcome](absl::StatusOr<AttentionResult> result, const JobTimings&) { outcome = std::move(result); });
  if (options.workers == 0) {
    job->Done(RunInline(*job, options.shuffle_seed), {});
  } else {
    Executor executor({.workers = options.workers}, Clock::Real());
    EXPECT_THAT(executor.Submit(job, spec), IsOk());
    EXPECT_TRUE(executor.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(5)));
  }
  EXPECT_THAT(outcome.status(), IsOk()) << c.ToString();
  return outcome;
}

CaseResult RunCase(const RequestCase& c, const RunOptions& options) {
  const auto result = RunForResult(c, options);
  return result.ok() ? Read(c, *result) : CaseResult();
}

testing::AssertionResult SameEntry(const EntryResult& actual, const EntryResult& expected) {
  for (const auto& [what, a, e] :
       {std::tuple{"output", &actual.output, &expected.output}, std::tuple{"lse", &actual.lse, &expected.lse},
        std::tuple{"weights", &actual.weights, &expected.weights},
        std::tuple{"scores", &actual.scores, &expected.scores}}) {
    if (a->empty() || e->empty()) continue;
    const std::vector<int64_t> shape = {static_cast<int64_t>(e->size())};
    if (auto same = SameBits(*a, *e, shape); !same) return testing::AssertionFailure() << what << ' ' << same.message();
  }
  return testing::AssertionSuccess();
}

testing::AssertionResult SameResults(const CaseResult& actual, const CaseResult& expected) {
  if (actual.entries.size() != expected.entries.size()) return testing::AssertionFailure() << "other entries";
  for (size_t b = 0; b < actual.entries.size(); ++b) {
    const auto same = SameEntry(actual.entries[b], expected.entries[b]);
    if (!same) return Named("results", static_cast<int64_t>(b), same);
  }
  if (actual.rows.empty != expected.rows.empty || actual.rows.non_finite != expected.rows.non_finite ||
      actual.rows.pairs != expected.rows.pairs) {
    return testing::AssertionFailure() << "counts differ";
  }
  return testing::AssertionSuccess();
}

ExpectedResult Expect(const RequestCase& c) {
  const AttentionRequest request = BuildRequest(c);
  const auto exact = ReferenceAttention<double>(request);
  const auto plain = ReferenceAttention<float>(request);
  const DataType dtype = c.output_dtype();
  ExpectedResult expected;
  expected.rows.pairs = exact.visible_pairs;
  const auto width = static_cast<size_t>(c.dims.value_dim);
  int64_t row = 0;
  int64_t pair = 0;
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    const int64_t rows = c.dims.heads * c.QueryCount(b);
    const int64_t pairs = rows * c.KeyCount(b);
    const auto part = [](const std::vector<double>& all, int64_t begin, int64_t n) {
      return std::vector<double>(all.begin() + begin, all.begin() + begin + n);
    };
    auto& entry = expected.entries.emplace_back();
    entry.output = part(exact.output, row * c.dims.value_dim, rows * c.dims.value_dim);
    entry.lse = part(exact.lse, row, rows);
    if (c.outputs.weights) entry.weights = AskedWeights(c, b, exact.weights.data() + pair);
    if (c.outputs.scores) entry.scores = part(exact.scores, pair, pairs);
    for (int64_t r = 0; r < rows; ++r) {
      if (r % c.QueryCount(b) >= c.QueryEnd(b)) continue;
      const auto first = entry.output.begin() + r * c.dims.value_dim;
      if (!exact.sees_a_key[static_cast<size_t>(row + r)]) {
        ++expected.rows.empty;
      } else if (!std::all_of(first, first + static_cast<int64_t>(width),
                              [dtype](double x) { return std::isfinite(RoundTo(dtype, x)); })) {
        ++expected.rows.non_finite;
      }
    }
    row += rows;
    pair += pairs;
  }
  SetTolerances(c, plain, exact, expected);
  for (auto& entry : expected.entries) Saturate(dtype, entry.scores);
  return expected;
}

testing::AssertionResult Matches(const RequestCase& c, const CaseResult& result, const ExpectedResult& expected) {
  if (result.entries.size() != expected.entries.size()) return testing::AssertionFailure() << "no result";
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    const EntryResult& actual = result.entries[static_cast<size_t>(b)];
    const auto& exact = expected.entries[static_cast<size_t>(b)];
    const int64_t q_count = c.QueryCount(b);
    const int64_t kv_count = c.KeyCount(b);
    const auto check = [&](const char* what, const std::vector<float>& a, const std::vector<double>& e,
                           double tolerance, std::vector<int64_t> shape) {
      auto same = AlmostEqual(a, e, tolerance, shape);
      if (same && !std::string_view(what).starts_with("score")) same = ZerosAreExact(what, a, e);
      return Named(what, b, same);
    };
    if (auto same = check("output", actual.output, exact.output, expected.output_tolerance,
                          {c.dims.heads, q_count, c.dims.value_dim});
        !same) {
      return same;
    }
    if (c.outputs.lse) {
      auto same = AlmostEqual(actual.lse, exact.lse, expected.lse_tolerance, std::vector{c.dims.heads, q_count});
      if (!same) return Named("lse", b, same);
    }
    if (c.outputs.weights) {
      const int64_t heads = c.outputs.weights->mean ? 1 : c.dims.heads;
      const auto rows = static_cast<int64_t>(WeightRows(c, b).size());
      auto same = check("weights", actual.weights, exact.weights, expected.weights_tolerance, {heads, rows, kv_count});
      if (!same) return same;
    }
    if (!c.outputs.scores) continue;
    auto same =
        check("scores", actual.scores, exact.scores, expected.scores_tolerance, {c.dims.heads, q_count, kv_count});
    if (!same) return same;
  }
  const RowCounts& rows = result.rows;
  if (rows.empty == expected.rows.empty && rows.non_finite == expected.rows.non_finite &&
      rows.pairs == expected.rows.pairs) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "empty rows " << rows.empty << ", expected " << expected.rows.empty
                                     << "; non-finite " << rows.non_finite << ", expected " << expected.rows.non_finite
                                     << "; pairs " << rows.pairs << ", expected " << expected.rows.pairs;
}

}  // namespace attnd
