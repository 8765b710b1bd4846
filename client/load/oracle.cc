#include "client/load/oracle.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <tuple>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/attention/attention_job.h"
#include "core/attention/reference.h"
#include "core/linear/multihead_job.h"
#include "core/linear/multihead_reference.h"
#include "core/runtime/buffer_pool.h"
#include "core/runtime/executor.h"

namespace attnd::load {
namespace {

// The server has looked at its own.
constexpr AttentionLimits kNoLimits = {.max_head_dim = std::numeric_limits<int32_t>::max(),
                                       .max_output_bytes = std::numeric_limits<int64_t>::max()};

// "[0, 3, 17, 5]".
std::string IndexString(size_t element, std::span<const int64_t> shape) {
  std::vector<int64_t> index(shape.size());
  auto rest = static_cast<int64_t>(element);
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) continue;
    index[i] = rest % shape[i];
    rest /= shape[i];
  }
  return ShapeString(index);
}

// REQUIRES: IsComputable.
const ProjectionWeights& WeightsOf(const Work& work) {
  return work.multihead->with_request.has_value() ? *work.multihead->with_request : *work.weights;
}

absl::StatusOr<MultiHeadPlan> PlanOf(const Work& work) {
  const auto shapes = CheckWeights(WeightsOf(work), "weights");
  if (!shapes.ok()) return shapes.status();
  return PlanMultiHead(work.multihead->request, *shapes, kNoLimits);
}

// The oracle's rows are heads first; an answer's are as its layout has them.
std::vector<double> InLayout(const AttentionPlan& plan, const std::vector<double>& heads_first) {
  std::vector<double> values(heads_first.size());
  const int64_t dim = plan.dims.value_dim;
  int64_t from = 0;
  for (int64_t b = 0; b < plan.dims.batch; ++b) {
    for (int64_t head = 0; head < plan.dims.heads; ++head) {
      for (int64_t q = 0; q < plan.queries.count[b]; ++q, from += dim) {
        std::copy_n(heads_first.begin() + from, dim, values.begin() + plan.OutputAt(b, head, q));
      }
    }
  }
  return values;
}

absl::StatusOr<ExpectedOutput> ExpectAttend(const Work& work, bool with_values) {
  const auto plan = PlanAttention(*work.attend, kNoLimits);
  if (!plan.ok()) return plan.status();
  ExpectedOutput expected{plan->output_dtype, plan->output_shape, {}, 0};
  if (!with_values) return expected;
  const auto exact = ReferenceAttention<double>(*work.attend);
  expected.values = InLayout(*plan, exact.output);
  expected.tolerance = OutputTolerance(*work.attend, exact);
  return expected;
}

absl::StatusOr<ExpectedOutput> ExpectMultiHead(const Work& work, bool with_values) {
  const auto plan = PlanOf(work);
  if (!plan.ok()) return plan.status();
  ExpectedOutput expected{plan->output_dtype, plan->output_shape, {}, 0};
  if (!with_values) return expected;
  const MultiHeadRequest& request = work.multihead->request;
  auto exact = ReferenceMultiHead<double>(request, WeightsOf(work));
  expected.tolerance = OutputTolerance(request, WeightsOf(work), exact);
  expected.values = std::move(exact.output);
  return expected;
}

std::string JoinChunks(const std::vector<codec::Chunk>& chunks) {
  std::string message;
  for (const codec::Chunk& chunk : chunks) {
    if (const auto* text = std::get_if<std::string>(&chunk)) {
      message += *text;
      continue;
    }
    const auto bytes = std::get<std::span<const std::byte>>(chunk);
    message.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return message;
}

// Runs the job on the calling thread.
absl::Status RunHere(const std::shared_ptr<Job>& job, const JobSpec& spec) {
  Executor executor({.workers = 0}, Clock::Real());
  if (absl::Status status = executor.Submit(job, spec); !status.ok()) return status;
  while (executor.RunOne()) {
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ComputeAttend(const Work& work, EngineKind engine, BufferPool& pool) {
  auto plan = PlanAttention(*work.attend, kNoLimits);
  if (!plan.ok()) return plan.status();
  const JobSpec spec = AttentionJobSpec(*plan, engine);
  absl::StatusOr<AttentionResult> result = absl::InternalError("no result");
  const auto keep = [&result](absl::StatusOr<AttentionResult> done, const JobTimings&) { result = std::move(done); };
  const auto job = NewAttentionJob(*work.attend, *std::move(plan), engine, &pool, keep);
  if (absl::Status status = RunHere(job, spec); !status.ok()) return status;
  if (!result.ok()) return result.status();
  return JoinChunks(codec::EncodeAttendResponse(*result, /*reply_with_values=*/false, NumericsId(engine)));
}

absl::StatusOr<std::string> ComputeMultiHead(const Work& work, EngineKind engine, BufferPool& pool) {
  auto plan = PlanOf(work);
  if (!plan.ok()) return plan.status();
  const auto shapes = CheckWeights(WeightsOf(work), "weights");
  if (!shapes.ok()) return shapes.status();
  PlannedMultiHead planned{work.multihead->request, *std::move(plan)};
  WeightsSource weights{nullptr, WeightsOf(work), *shapes};
  const JobSpec spec = MultiHeadJobSpec(planned, weights, engine);
  absl::StatusOr<MultiHeadResult> result = absl::InternalError("no result");
  const auto keep = [&result](absl::StatusOr<MultiHeadResult> done, const JobTimings&) { result = std::move(done); };
  const auto job = NewMultiHeadJob(std::move(planned), std::move(weights), engine, &pool, keep);
  if (absl::Status status = RunHere(job, spec); !status.ok()) return status;
  if (!result.ok()) return result.status();
  return JoinChunks(codec::EncodeMultiHeadResponse(*result, /*reply_with_values=*/false, NumericsId(engine)));
}

std::optional<std::string> TensorDifference(const std::string& name, const codec::ReplyTensor& tensor,
                                            const codec::ReplyTensor& expected) {
  if (tensor.dtype != expected.dtype || tensor.shape != expected.shape) {
    return absl::StrCat(name, " is ", DataTypeName(tensor.dtype), " ", ShapeString(tensor.shape), ", not ",
                        DataTypeName(expected.dtype), " ", ShapeString(expected.shape));
  }
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const auto bits = std::bit_cast<uint32_t>(tensor.values[i]);
    const auto expected_bits = std::bit_cast<uint32_t>(expected.values[i]);
    if (bits == expected_bits) continue;
    return absl::StrFormat("%s%s is %.9g (%08x), not %.9g (%08x)", name, IndexString(i, tensor.shape), tensor.values[i],
                           bits, expected.values[i], expected_bits);
  }
  return std::nullopt;
}

// What one of the two has of `name`, compared by `compare` if both have it.
template <typename T, typename Compare>
std::optional<std::string> Difference(const char* name, const std::optional<T>& answer,
                                      const std::optional<T>& expected, const Compare& compare) {
  if (answer.has_value() != expected.has_value()) return absl::StrCat(name, " is there in one of the two only");
  return answer.has_value() ? compare(*answer, *expected) : std::nullopt;
}

template <typename T>
std::optional<std::string> ListDifference(const char* name, const std::vector<T>& list,
                                          const std::vector<T>& expected) {
  if (list.size() != expected.size()) return absl::StrCat(name, " is of another length");
  const auto [at, wanted] = std::mismatch(list.begin(), list.end(), expected.begin());
  if (at == list.end()) return std::nullopt;
  return absl::StrCat(name, "[", at - list.begin(), "] is ", *at, ", not ", *wanted);
}

std::optional<std::string> TopKDifference(const codec::TopKReply& top_k, const codec::TopKReply& expected) {
  auto difference = TensorDifference("top_k.weights", top_k.weights, expected.weights);
  return difference.has_value() ? difference : ListDifference("top_k.keys", top_k.keys, expected.keys);
}

std::optional<std::string> StatisticsDifference(const codec::StatisticsReply& statistics,
                                                const codec::StatisticsReply& expected) {
  for (size_t i = 0; i < statistics.size(); ++i) {
    const std::string name(NameOf(static_cast<Statistic>(i)));
    if (auto difference = TensorDifference(name, statistics[i], expected[i]); difference.has_value()) return difference;
  }
  return std::nullopt;
}

std::optional<std::string> DiagnosticsDifference(const codec::DiagnosticsReply& diagnostics,
                                                 const codec::DiagnosticsReply& expected) {
  for (auto difference : {StatisticsDifference(diagnostics.heads, expected.heads),
                          Difference("diagnostics.rows", diagnostics.rows, expected.rows, StatisticsDifference),
                          TensorDifference("column_mass", diagnostics.column_mass, expected.column_mass),
                          ListDifference("column_keys", diagnostics.column_keys, expected.column_keys),
                          ListDifference("patterns", diagnostics.patterns, expected.patterns),
                          TensorDifference("pattern_scores", diagnostics.pattern_scores, expected.pattern_scores)}) {
    if (difference.has_value()) return difference;
  }
  return std::nullopt;
}

std::optional<std::string> HeatmapDifference(const codec::HeatmapReply& heatmap, const codec::HeatmapReply& expected) {
  auto difference = TensorDifference("heatmap.mean", heatmap.mean, expected.mean);
  return difference.has_value() ? difference : TensorDifference("heatmap.max", heatmap.max, expected.max);
}

}  // namespace

bool IsComputable(const Work& work) {
  return work.attend != nullptr || work.multihead->with_request.has_value() || work.weights != nullptr;
}

absl::StatusOr<ExpectedOutput> ExpectShape(const Work& work) {
  return work.attend != nullptr ? ExpectAttend(work, /*with_values=*/false)
                                : ExpectMultiHead(work, /*with_values=*/false);
}

absl::StatusOr<ExpectedOutput> ExpectOutput(const Work& work) {
  return work.attend != nullptr ? ExpectAttend(work, /*with_values=*/true)
                                : ExpectMultiHead(work, /*with_values=*/true);
}

Comparison Compare(const codec::ReplyTensor& output, const ExpectedOutput& expected) {
  if (output.dtype != expected.dtype || output.shape != expected.shape) {
    return {absl::StrCat("output is ", DataTypeName(output.dtype), " ", ShapeString(output.shape), ", expected ",
                         DataTypeName(expected.dtype), " ", ShapeString(expected.shape)),
            0};
  }
  Comparison result;
  double worst = 0;
  size_t worst_at = 0;
  size_t wrong = 0;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const auto got = static_cast<double>(output.values[i]);
    const double want = expected.values[i];
    double error = std::abs(got - want);
    if (!std::isfinite(error)) {
      // What the element type makes of numbers that are too large for it is right.
      const double rounded = RoundTo(expected.dtype, want);
      const bool same = std::isnan(want) ? std::isnan(got) : got == rounded;
      error = same ? 0 : std::numeric_limits<double>::infinity();
    }
    if (error > expected.tolerance) ++wrong;
    if (error > worst) {
      worst = error;
      worst_at = i;
    }
  }
  if (std::isfinite(worst) && worst > 0) result.worst_error = worst / expected.tolerance;
  if (wrong == 0) return result;
  result.problem = absl::StrFormat("output%s is %.9g, expected %.9g; tolerance %.3g, %d of %d elements are out of it",
                                   IndexString(worst_at, output.shape), output.values[worst_at],
                                   expected.values[worst_at], expected.tolerance, wrong, expected.values.size());
  return result;
}

std::optional<std::string> FirstDifference(const codec::MultiHeadReply& answer, const codec::MultiHeadReply& expected) {
  const codec::AttendReply& a = answer.attention;
  const codec::AttendReply& e = expected.attention;
  if (auto difference = TensorDifference("output", a.output, e.output); difference.has_value()) return difference;
  for (const auto& [name, got, want] :
       {std::tuple{"lse", &a.lse, &e.lse}, std::tuple{"weights", &a.weights, &e.weights},
        std::tuple{"scores", &a.scores, &e.scores}}) {
    const auto compare = [tensor = std::string(name)](const codec::ReplyTensor& x, const codec::ReplyTensor& y) {
      return TensorDifference(tensor, x, y);
    };
    if (auto difference = Difference(name, *got, *want, compare); difference.has_value()) return difference;
  }
  for (auto difference : {Difference("top_k", a.top_k, e.top_k, TopKDifference),
                          Difference("diagnostics", a.diagnostics, e.diagnostics, DiagnosticsDifference),
                          Difference("heatmap", a.heatmap, e.heatmap, HeatmapDifference)}) {
    if (difference.has_value()) return difference;
  }
  if (answer.explain.size() != expected.explain.size()) return "explain is of another length";
  for (size_t i = 0; i < answer.explain.size(); ++i) {
    const auto& [name, tensor] = answer.explain[i];
    if (auto difference = TensorDifference(name, tensor, expected.explain[i].second); difference.has_value()) {
      return difference;
    }
  }
  return std::nullopt;
}

absl::StatusOr<codec::MultiHeadReply> DecodeAnswer(const Work& work, codec::MessagePieces message) {
  if (work.multihead != nullptr) return codec::DecodeMultiHeadResponse(message);
  auto reply = codec::DecodeAttendResponse(message);
  if (!reply.ok()) return reply.status();
  return codec::MultiHeadReply{*std::move(reply), {}};
}

std::optional<EngineKind> EngineOfNumerics(const std::string& numerics_id) {
  for (const EngineKind engine : {EngineKind::kFused, EngineKind::kOnednn}) {
    if (NumericsId(engine) == numerics_id) return engine;
  }
  return std::nullopt;
}

absl::StatusOr<std::string> ComputeAnswer(const Work& work, EngineKind engine) {
  BufferPool pool({.max_free_bytes = 0});
  return work.attend != nullptr ? ComputeAttend(work, engine, pool) : ComputeMultiHead(work, engine, pool);
}

}  // namespace attnd::load
