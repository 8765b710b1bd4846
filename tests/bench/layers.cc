#include "tests/bench/layers.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <span>
#include <utility>

#include "tests/support/random.h"

namespace attnd::bench {
namespace {

using Role = WeightRole;

template <typename T>
T ValueOf(absl::StatusOr<T> result) {
  if (result.ok()) return *std::move(result);
  std::cerr << "attnd_bench: " << result.status() << "\n";
  std::exit(1);  // NOLINT(concurrency-mt-unsafe): the table of rows is wrong
}

std::vector<float> Normal(int64_t n, float factor) {
  Random random(static_cast<uint64_t>(n));
  std::vector<float> floats(static_cast<size_t>(n));
  for (float& x : floats) x = random.Normal() * factor;
  return floats;
}

TensorView View(std::vector<int64_t> shape, const std::vector<float>& floats) {
  return {DataType::kFloat32, std::move(shape), Fragments(std::as_bytes(std::span(floats)))};
}

// The weights of a layer as wide as the row's heads; what is not a block has no more than the
// projections.
std::shared_ptr<const PackedWeights> WeightsOf(const Row& row) {
  const int64_t width = row.dims.heads * row.dims.head_dim;
  std::vector<std::vector<float>> owned;
  owned.reserve(kWeightRoles);
  ProjectionWeights weights;
  weights.orientation = Orientation::kOutIn;
  const auto add = [&](Role role, std::vector<int64_t> shape, float factor) {
    weights.tensors[role] = View(shape, owned.emplace_back(Normal(*Product(shape), factor)));
  };
  add(Role::kQkv, {3 * width, width}, .03F);
  add(Role::kQkvBias, {3 * width}, .1F);
  add(Role::kOutput, {width, width}, .03F);
  add(Role::kOutputBias, {width}, .1F);
  if (row.work == Work::kLayer) {
    for (const Role role : {Role::kAttentionNormScale, Role::kAttentionNormShift, Role::kFfnNormScale,
                            Role::kFfnNormShift, Role::kDownBias}) {
      add(role, {width}, 1);
    }
    add(Role::kUp, {4 * width, width}, .03F);
    add(Role::kUpBias, {4 * width}, .1F);
    add(Role::kDown, {width, 4 * width}, .02F);
  }
  const WeightShapes shapes = ValueOf(CheckWeights(weights, "weights"));
  return ValueOf(PackedWeights::Pack(weights, shapes));
}

Executor::Options OptionsOf(int workers) {
  Executor::Options options;
  options.workers = workers;
  options.nice = 0;
  return options;
}

}  // namespace

LinearRun::LinearRun(const Row& row)
    : rows_(row.dims.q_len),
      bias_(Normal(row.out, 1)),
      x_(Normal(rows_ * row.in, 1)),
      y_(static_cast<size_t>(rows_ * row.out)) {
  const std::vector<float> weights = Normal(row.in * row.out, .03F);
  weights_ = ValueOf(PackedMatrix::Pack(View({row.out, row.in}, weights), Orientation::kOutIn));
}

void LinearRun::operator()() {
  const absl::Status status = weights_.Multiply({x_.data(), weights_.in()}, rows_, {0, weights_.out()}, bias_.data(),
                                                {y_.data(), weights_.out()});
  if (!status.ok()) std::abort();
}

LayerRun::LayerRun(const Row& row, EngineKind engine, int workers, int requests)
    : engine_(engine),
      workers_(workers),
      requests_(requests),
      weights_(WeightsOf(row)),
      executor_(OptionsOf(workers), Clock::Real()) {
  const int64_t width = row.dims.heads * row.dims.head_dim;
  embeddings_ = Normal(row.dims.batch * row.dims.q_len * width, 1);
  MultiHeadRequest& request = planned_.request;
  request.query = View({row.dims.batch, row.dims.q_len, width}, embeddings_);
  request.heads = row.dims.heads;
  if (row.work == Work::kLayer) {
    request.block = {NormPlacement::kPost, NormKind::kLayerNorm, Activation::kGelu, std::nullopt};
  }
  planned_.plan = ValueOf(PlanMultiHead(request, weights_->shapes(), {}));
  flops_ = static_cast<double>(requests) * (planned_.plan.linear_flops + planned_.plan.attention.flops);
}

void LayerRun::operator()() {
  for (int i = 0; i < requests_; ++i) {
    WeightsSource weights{weights_, {}, weights_->shapes()};
    const JobSpec spec = MultiHeadJobSpec(planned_, weights, engine_);
    const auto job = NewMultiHeadJob(planned_, std::move(weights), engine_, &pool_,
                                     [](const absl::StatusOr<MultiHeadResult>& result, const JobTimings& /*timings*/) {
                                       if (!result.ok()) std::abort();
                                     });
    if (!executor_.Submit(job, spec).ok()) std::abort();
  }
  if (workers_ > 0) {
    (void)executor_.AwaitIdle(Clock::Real().Now() + std::chrono::minutes(10));
    return;
  }
  while (executor_.RunOne()) {
  }
}

}  // namespace attnd::bench
