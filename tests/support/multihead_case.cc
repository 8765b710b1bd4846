#include "tests/support/multihead_case.h"

#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/attention/simd_rows.h"
#include "core/runtime/clock.h"
#include "tests/support/random_case.h"
#include "tests/support/request_case.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_engine.h"

namespace attnd {
namespace {

using Role = WeightRole;

// Result memory comes from blocks that held NaN; never destroyed, as results may outlive tests.
BufferPool* PoisonedPool() {
  static auto* pool = [] {
    auto* fresh = new BufferPool(BufferPool::Options());
    for (size_t size = 64; size <= size_t{1} << 20; size *= 2) {
      std::vector<Buffer> blocks;
      for (int i = 0; i < 8; ++i) {
        blocks.push_back(fresh->Allocate(size).value());
        std::memset(blocks.back().data(), 0xFF, size);
      }
    }
    return fresh;
  }();
  return pool;
}

DataType AnyDataType(Random& random) {
  constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16};
  return kTypes[random.Below(4)];
}

class Maker {
 public:
  explicit Maker(uint64_t seed)
      : random_(seed ^ 0x5EED),
        base_(RandomCase(seed, {.max_pairs = 1500, .garbage_percent = 0, .visible_nan_percent = 0})) {}

  MultiHeadCase Make();

 private:
  bool Chance(int percent) { return random_.Below(100) < percent; }
  TensorView Tensor(std::vector<int64_t> shape, float factor) {
    return RandomTensor(random_, AnyDataType(random_), std::move(shape), factor, result_.owners);
  }
  void AddMatrix(Role role, int64_t in, int64_t out) {
    const bool in_out = result_.weights.orientation == Orientation::kInOut;
    const float factor = 1 / std::sqrt(static_cast<float>(in));
    result_.weights.tensors[role] =
        Tensor(in_out ? std::vector<int64_t>{in, out} : std::vector<int64_t>{out, in}, factor);
  }
  void AddVector(Role role, int64_t n, int percent) {
    if (Chance(percent)) result_.weights.tensors[role] = Tensor({n}, 1);
  }
  void AddEmbeddings();
  void AddProjections();
  void AddBlock();

  Random random_;
  const RequestCase base_;
  MultiHeadCase result_;
  int64_t widths_[3] = {};
};

void Maker::AddEmbeddings() {
  MultiHeadRequest& request = result_.request;
  const Dims& dims = base_.dims;
  int64_t q_total = 0;
  int64_t kv_total = 0;
  for (int64_t b = 0; b < dims.batch; ++b) {
    q_total += base_.QueryCount(b);
    kv_total += base_.KeyCount(b);
  }
  const bool two_dimensions = dims.batch == 1 && Chance(30);
  const auto tensor = [&](bool query, int64_t width) {
    if (base_.packed()) return Tensor({query ? q_total : kv_total, width}, 1);
    const int64_t len = query ? dims.q_len : dims.kv_len;
    return two_dimensions ? Tensor({len, width}, 1) : Tensor({dims.batch, len, width}, 1);
  };
  for (int64_t& width : widths_) width = 1 + random_.Below(20);
  if (Chance(50)) widths_[2] = widths_[1] = widths_[0];
  request.query = tensor(true, widths_[0]);
  const bool same_tokens =
      base_.packed() ? base_.options.q_lengths == base_.options.kv_lengths : dims.q_len == dims.kv_len;
  if (same_tokens && widths_[1] == widths_[0] && Chance(70)) {
    if (Chance(80)) {
      widths_[2] = widths_[0];
      return;
    }
  } else {
    request.key = tensor(false, widths_[1]);
    if (Chance(50)) {
      widths_[2] = widths_[1];
      return;
    }
  }
  request.value = tensor(false, widths_[2]);
}

void Maker::AddProjections() {
  const Dims& dims = base_.dims;
  const int64_t columns[] = {dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim, dims.kv_heads * dims.value_dim};
  result_.weights.orientation = Chance(50) ? Orientation::kInOut : Orientation::kOutIn;
  if (widths_[0] == widths_[1] && widths_[0] == widths_[2] && Chance(60)) {
    AddMatrix(Role::kQkv, widths_[0], columns[0] + columns[1] + columns[2]);
    AddVector(Role::kQkvBias, columns[0] + columns[1] + columns[2], 60);
    result_.request.value_dim = dims.value_dim;
  } else {
    constexpr Role kMatrices[] = {Role::kQuery, Role::kKey, Role::kValue};
    constexpr Role kBiases[] = {Role::kQueryBias, Role::kKeyBias, Role::kValueBias};
    for (int i = 0; i < 3; ++i) {
      AddMatrix(kMatrices[i], widths_[i], columns[i]);
      AddVector(kBiases[i], columns[i], 60);
    }
  }
  if (Chance(20)) {
    result_.weights.tensors[Role::kExtraKey] = Tensor({columns[1]}, 1);
    result_.weights.tensors[Role::kExtraValue] = Tensor({columns[2]}, 1);
  }
  AddVector(Role::kQueryNorm, dims.head_dim, 20);
  AddVector(Role::kKeyNorm, dims.head_dim, 20);
}

void Maker::AddBlock() {
  const Dims& dims = base_.dims;
  const bool wanted = Chance(50);
  if (wanted || Chance(60)) {
    const int64_t out = wanted ? widths_[0] : 1 + random_.Below(20);
    AddMatrix(Role::kOutput, dims.heads * dims.value_dim, out);
    AddVector(Role::kOutputBias, out, 60);
  }
  if (!wanted) return;
  TransformerBlock& block = result_.request.block.emplace();
  block.placement = Chance(50) ? NormPlacement::kPre : NormPlacement::kPost;
  block.norm = Chance(70) ? NormKind::kLayerNorm : NormKind::kRmsNorm;
  if (Chance(50)) block.norm_epsilon = 1e-3F;
  const int shift = block.norm == NormKind::kLayerNorm ? 70 : 0;
  const int64_t model_dim = widths_[0];
  result_.weights.tensors[Role::kAttentionNormScale] = Tensor({model_dim}, 1);
  AddVector(Role::kAttentionNormShift, model_dim, shift);
  if (Chance(20)) return;
  constexpr Activation kActivations[] = {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,
                                         Activation::kSwiglu};
  block.activation = kActivations[random_.Below(4)];
  const int64_t ffn_dim = 1 + random_.Below(40);
  result_.weights.tensors[Role::kFfnNormScale] = Tensor({model_dim}, 1);
  AddVector(Role::kFfnNormShift, model_dim, shift);
  AddMatrix(Role::kUp, model_dim, ffn_dim);
  AddVector(Role::kUpBias, ffn_dim, 60);
  if (block.activation == Activation::kSwiglu) {
    AddMatrix(Role::kGate, model_dim, ffn_dim);
    AddVector(Role::kGateBias, ffn_dim, 60);
  }
  AddMatrix(Role::kDown, ffn_dim, model_dim);
  AddVector(Role::kDownBias, model_dim, 60);
}

MultiHeadCase Maker::Make() {
  MultiHeadRequest& request = result_.request;
  AttentionRequest attention = BuildRequest(base_);
  request.options = std::move(attention.options);
  result_.owners.push_back(attention.owner);
  request.outputs = std::move(attention.outputs);
  if (request.outputs.weights) request.outputs.weights = WeightsOutput();
  request.layout = base_.packed() ? Layout::kPacked : Layout::kTokensFirst;
  request.heads = base_.dims.heads;
  request.kv_heads = base_.dims.kv_heads;
  request.add_zero_attn = Chance(20);
  request.explain = Chance(30);
  if (Chance(30)) request.norm_epsilon = 1e-2F;
  AddEmbeddings();
  AddProjections();
  AddBlock();
  if (Chance(20)) request.position_encoding = PositionEncoding::kSinusoidal;
  if (widths_[0] == widths_[1] && widths_[0] == widths_[2] && Chance(20)) {
    request.position_encoding = PositionEncoding::kLearned;
    result_.weights.tensors[Role::kPositionTable] = Tensor({200, widths_[0]}, 1);
  }
  // Positions may lie outside the table, or be unset.
  const AttentionLimits limits;
  if (!PlanMultiHead(request, result_.Shapes(), limits).ok()) request.position_encoding = PositionEncoding::kNone;
  return std::move(result_);
}

class OneResult {
 public:
  MultiHeadCallback Callback() {
    return
        [this](absl::StatusOr<MultiHeadResult> result, const JobTimings& /*timings*/) { result_ = std::move(result); };
  }
  absl::StatusOr<MultiHeadResult> Take() { return std::move(result_); }

 private:
  absl::StatusOr<MultiHeadResult> result_ = absl::UnknownError("not called");
};

}  // namespace

TensorView RandomTensor(Random& random, DataType dtype, std::vector<int64_t> shape, float factor,
                        std::vector<std::shared_ptr<const void>>& owners) {
  const int64_t n = Product(shape).value();
  std::vector<float> floats(static_cast<size_t>(n));
  for (float& x : floats) x = random.Normal() * factor;
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(n * ElementBytes(dtype)));
  simd::StoreRow(floats.data(), n, dtype, bytes->data());
  TensorView view{dtype, std::move(shape), {}};
  // In two pieces, of which the first ends inside an element.
  const size_t cut = std::min<size_t>(bytes->size(), 5);
  view.bytes.Append(std::span<const std::byte>(*bytes).first(cut));
  view.bytes.Append(std::span<const std::byte>(*bytes).subspan(cut));
  owners.push_back(bytes);
  return view;
}

MultiHeadCase RandomMultiHeadCase(uint64_t seed) { return Maker(seed).Make(); }

WeightShapes MultiHeadCase::Shapes() const {
  auto shapes = CheckWeights(weights, "inline");
  EXPECT_THAT(shapes.status(), IsOk());
  return *std::move(shapes);
}

MultiHeadPlan MultiHeadCase::Plan() const {
  auto plan = PlanMultiHead(request, Shapes(), {});
  EXPECT_THAT(plan.status(), IsOk());
  return *std::move(plan);
}

std::string MultiHeadCase::ToString() const {
  std::string text = absl::StrCat("query ", ShapeString(request.query.shape), " heads ", request.heads, "/",
                                  request.kv_heads.value_or(request.heads));
  if (request.key) absl::StrAppend(&text, " key ", ShapeString(request.key->shape));
  if (request.value) absl::StrAppend(&text, " value ", ShapeString(request.value->shape));
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights.tensors[info.role];
    if (tensor) absl::StrAppend(&text, " ", info.name, ShapeString(tensor->shape), DataTypeName(tensor->dtype));
  }
  if (request.block) {
    absl::StrAppend(&text, " block ", static_cast<int>(request.block->placement), static_cast<int>(request.block->norm),
                    static_cast<int>(request.block->activation));
  }
  absl::StrAppend(&text, request.layout == Layout::kPacked ? " packed" : "", request.explain ? " explain" : "",
                  request.add_zero_attn ? " zero" : "", " positions ", static_cast<int>(request.position_encoding),
                  weights.orientation == Orientation::kInOut ? " in_out" : " out_in");
  return text;
}

std::vector<float> FloatsOf(const ResultTensor& tensor) {
  const int64_t n = Product(tensor.shape).value();
  std::vector<float> floats(static_cast<size_t>(n));
  simd::LoadRow(tensor.data.data(), tensor.dtype, n, floats.data());
  return floats;
}

absl::StatusOr<MultiHeadResult> RunMultiHead(const MultiHeadCase& c, int workers) {
  OneResult result;
  PlannedMultiHead planned{c.request, c.Plan()};
  WeightsSource weights{nullptr, c.weights, c.Shapes()};
  const JobSpec spec = MultiHeadJobSpec(planned, weights, TestEngine());
  const auto job =
      NewMultiHeadJob(std::move(planned), std::move(weights), TestEngine(), PoisonedPool(), result.Callback());
  Executor executor({.workers = workers}, Clock::Real());
  if (absl::Status s = executor.Submit(job, spec); !s.ok()) return s;
  while (workers == 0 && executor.RunOne()) {
  }
  executor.AwaitIdle(std::chrono::steady_clock::now() + std::chrono::minutes(5));
  return result.Take();
}

absl::StatusOr<std::vector<MultiHeadResult>> RunShared(const std::vector<MultiHeadCase>& cases) {
  std::vector<PlannedMultiHead> requests;
  for (const MultiHeadCase& c : cases) requests.push_back({c.request, c.Plan()});
  auto packed = PackedWeights::Pack(cases[0].weights, cases[0].Shapes());
  if (!packed.ok()) return packed.status();
  MultiHeadRun run(std::move(requests), *packed, TestEngine(), PoisonedPool());
  if (absl::Status s = run.Begin(); !s.ok()) return s;
  for (const Stage& stage : run.stages()) {
    for (int64_t tile = stage.tiles; tile-- > 0;) {
      if (absl::Status s = stage.run(tile); !s.ok()) return s;
    }
  }
  std::vector<MultiHeadResult> results;
  for (size_t i = 0; i < cases.size(); ++i) results.push_back(run.TakeResult(i));
  return results;
}

}  // namespace attnd
