#include "core/linear/multihead_reference.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

namespace attnd {
namespace {

using Role = WeightRole;

// Rows of numbers.
template <typename Real>
struct Rows {
  std::vector<Real> numbers;
  int64_t width = 0;

  [[nodiscard]] int64_t count() const { return width == 0 ? 0 : static_cast<int64_t>(numbers.size()) / width; }
  Real& at(int64_t row, int64_t i) { return numbers[static_cast<size_t>(row * width + i)]; }
  [[nodiscard]] Real at(int64_t row, int64_t i) const { return numbers[static_cast<size_t>(row * width + i)]; }
};

template <typename Real>
class Chain {
 public:
  Chain(const MultiHeadRequest& request, const ProjectionWeights& weights) : request_(request), weights_(weights) {}

  MultiHeadReference<Real> Run();

 private:
  struct Heads {
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    int64_t value_dim = 0;
  };
  struct Entry {
    int64_t q_begin = 0;
    int64_t q_len = 0;
    int64_t q_used = 0;
    int64_t kv_begin = 0;
    int64_t kv_len = 0;
    int64_t kv_used = 0;
    int64_t q_position = 0;
    int64_t k_position = 0;
  };

  [[nodiscard]] bool has(Role role) const { return weights_.tensors[role].has_value(); }
  // Elements of a vector; as many zeros if it is not there.
  [[nodiscard]] std::vector<double> Vector(Role role, int64_t size) const {
    return has(role) ? ReferenceNumbers(*weights_.tensors[role]) : std::vector<double>(static_cast<size_t>(size), 0);
  }
  [[nodiscard]] int64_t Extent(Role role, bool out) const {
    const bool out_first = weights_.orientation == Orientation::kOutIn;
    return weights_.tensors[role]->shape[out != out_first ? 1 : 0];
  }
  [[nodiscard]] Heads HeadsOf() const;
  [[nodiscard]] std::vector<Entry> Entries(const TensorView& key) const;
  // x W + b for columns [begin, end).
  Rows<Real> Multiply(const Rows<Real>& x, Role role, int64_t begin, int64_t end, Role bias, int64_t bias_begin);
  Rows<Real> Multiply(const Rows<Real>& x, Role role, Role bias) {
    return Multiply(x, role, 0, Extent(role, /*out=*/true), bias, 0);
  }
  Rows<Real> Embeddings(const TensorView& tensor, bool query, const std::vector<Entry>& entries) const;
  void NormRows(Rows<Real>& x, Role scale, Role shift) const;
  // Each head of each row divided by its root mean square.
  void NormHeads(Rows<Real>& x, int64_t dim, Role scale) const;
  Rows<Real> FeedForward(const Rows<Real>& x);

  const MultiHeadRequest& request_;
  const ProjectionWeights& weights_;
  double magnitude_ = 0;
};

template <typename Real>
typename Chain<Real>::Heads Chain<Real>::HeadsOf() const {
  Heads h;
  h.heads = request_.heads;
  h.kv_heads = request_.kv_heads.value_or(h.heads);
  if (!has(Role::kQkv)) {
    h.head_dim = Extent(Role::kQuery, true) / h.heads;
    h.value_dim = Extent(Role::kValue, true) / h.kv_heads;
    return h;
  }
  const int64_t columns = Extent(Role::kQkv, true);
  h.value_dim = has(Role::kOutput) ? Extent(Role::kOutput, false) / h.heads
                                   : request_.value_dim.value_or(columns / (h.heads + 2 * h.kv_heads));
  h.head_dim = (columns - h.kv_heads * h.value_dim) / (h.heads + h.kv_heads);
  return h;
}

int64_t At(const std::vector<int64_t>& list, int64_t b, int64_t unset) {
  if (list.empty()) return unset;
  return list[list.size() == 1 ? 0 : static_cast<size_t>(b)];
}

template <typename Real>
std::vector<typename Chain<Real>::Entry> Chain<Real>::Entries(const TensorView& key) const {
  const AttentionOptions& options = request_.options;
  const bool packed = request_.layout == Layout::kPacked;
  const auto& shape = request_.query.shape;
  const int64_t batch = packed ? static_cast<int64_t>(options.q_lengths.size()) : shape.size() == 3 ? shape[0] : 1;
  const int64_t q_len = shape[shape.size() - 2];
  const int64_t kv_len = key.shape[key.shape.size() - 2];
  std::vector<Entry> entries;
  Entry next;
  for (int64_t b = 0; b < batch; ++b) {
    Entry e = next;
    e.q_used = At(options.q_lengths, b, q_len);
    e.kv_used = At(options.kv_lengths, b, kv_len);
    e.q_len = packed ? e.q_used : q_len;
    e.kv_len = packed ? e.kv_used : kv_len;
    if (options.alignment == Alignment::kBottomRight) e.q_position = e.kv_used - e.q_used;
    if (options.alignment == Alignment::kOffset) {
      e.q_position = At(options.q_offset, b, 0);
      e.k_position = At(options.k_offset, b, 0);
    }
    entries.push_back(e);
    next.q_begin += e.q_len;
    next.kv_begin += e.kv_len;
  }
  return entries;
}

template <typename Real>
Rows<Real> Chain<Real>::Multiply(const Rows<Real>& x, Role role, int64_t begin, int64_t end, Role bias,
                                 int64_t bias_begin) {
  const std::vector<double> w = ReferenceNumbers(*weights_.tensors[role]);
  const int64_t in = Extent(role, /*out=*/false);
  const int64_t out = Extent(role, /*out=*/true);
  const bool out_first = weights_.orientation == Orientation::kOutIn;
  const std::vector<double> b = Vector(bias, bias_begin + end - begin);
  Rows<Real> y;
  y.width = end - begin;
  magnitude_ = 0;
  for (int64_t r = 0; r < x.count(); ++r) {
    for (int64_t c = begin; c < end; ++c) {
      Real sum = 0;
      double magnitude = std::abs(b[static_cast<size_t>(bias_begin + c - begin)]);
      for (int64_t k = 0; k < in; ++k) {
        const double weight = w[static_cast<size_t>(out_first ? c * in + k : k * out + c)];
        sum += x.at(r, k) * static_cast<Real>(weight);
        magnitude += std::abs(static_cast<double>(x.at(r, k)) * weight);
      }
      y.numbers.push_back(sum + static_cast<Real>(b[static_cast<size_t>(bias_begin + c - begin)]));
      if (std::isfinite(magnitude)) magnitude_ = std::max(magnitude_, magnitude);
    }
  }
  return y;
}

template <typename Real>
Rows<Real> Chain<Real>::Embeddings(const TensorView& tensor, bool query, const std::vector<Entry>& entries) const {
  const std::vector<double> numbers = ReferenceNumbers(tensor);
  Rows<Real> x{{numbers.begin(), numbers.end()}, tensor.shape.back()};
  if (request_.position_encoding == PositionEncoding::kNone) return x;
  const bool learned = request_.position_encoding == PositionEncoding::kLearned;
  const std::vector<double> table =
      learned ? ReferenceNumbers(*weights_.tensors[Role::kPositionTable]) : std::vector<double>();
  for (const Entry& e : entries) {
    for (int64_t t = 0; t < (query ? e.q_len : e.kv_len); ++t) {
      const int64_t position = t + (query ? e.q_position : e.k_position);
      if (learned && (position < 0 || position >= static_cast<int64_t>(table.size()) / x.width)) continue;
      for (int64_t i = 0; i < x.width; ++i) {
        const int64_t pair = i - i % 2;
        const double frequency = std::pow(10000.0, -static_cast<double>(pair) / static_cast<double>(x.width));
        const double angle = static_cast<double>(position) * frequency;
        const double sine = i % 2 == 0 ? std::sin(angle) : std::cos(angle);
        x.at((query ? e.q_begin : e.kv_begin) + t, i) +=
            static_cast<Real>(learned ? table[static_cast<size_t>(position * x.width + i)] : sine);
      }
    }
  }
  return x;
}

template <typename Real>
void Chain<Real>::NormRows(Rows<Real>& x, Role scale, Role shift) const {
  const std::vector<double> scales = Vector(scale, x.width);
  const std::vector<double> shifts = Vector(shift, x.width);
  const auto epsilon = static_cast<Real>(request_.block->norm_epsilon.value_or(1e-5F));
  const bool centred = request_.block->norm == NormKind::kLayerNorm;
  const auto n = static_cast<Real>(x.width);
  for (int64_t r = 0; r < x.count(); ++r) {
    Real mean = 0;
    for (int64_t i = 0; i < x.width && centred; ++i) mean += x.at(r, i) / n;
    Real square = 0;
    for (int64_t i = 0; i < x.width; ++i) square += (x.at(r, i) - mean) * (x.at(r, i) - mean) / n;
    for (int64_t i = 0; i < x.width; ++i) {
      x.at(r, i) =
          (x.at(r, i) - mean) / std::sqrt(square + epsilon) * static_cast<Real>(scales[static_cast<size_t>(i)]) +
          static_cast<Real>(shifts[static_cast<size_t>(i)]);
    }
  }
}

template <typename Real>
void Chain<Real>::NormHeads(Rows<Real>& x, int64_t dim, Role scale) const {
  if (!has(scale)) return;
  const std::vector<double> scales = Vector(scale, dim);
  const auto epsilon = static_cast<Real>(request_.norm_epsilon.value_or(1e-6F));
  for (int64_t r = 0; r < x.count(); ++r) {
    for (int64_t begin = 0; begin < x.width; begin += dim) {
      Real square = 0;
      for (int64_t i = 0; i < dim; ++i) square += x.at(r, begin + i) * x.at(r, begin + i) / static_cast<Real>(dim);
      for (int64_t i = 0; i < dim; ++i) {
        x.at(r, begin + i) *= static_cast<Real>(scales[static_cast<size_t>(i)]) / std::sqrt(square + epsilon);
      }
    }
  }
}

template <typename Real>
Real Activated(Activation activation, Real x) {
  switch (activation) {
    case Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(Real{2})));
    case Activation::kGeluTanh:
      return x / 2 *
             (1 + std::tanh(std::sqrt(2 / static_cast<Real>(M_PI)) * (x + static_cast<Real>(0.044715) * x * x * x)));
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kSwiglu:
      return x / (1 + std::exp(-x));
    case Activation::kUnset:
      break;
  }
  return x;
}

template <typename Real>
Rows<Real> Chain<Real>::FeedForward(const Rows<Real>& x) {
  const Activation activation = request_.block->activation;
  Rows<Real> up = Multiply(x, Role::kUp, Role::kUpBias);
  if (activation == Activation::kSwiglu) {
    const Rows<Real> gate = Multiply(x, Role::kGate, Role::kGateBias);
    for (size_t i = 0; i < up.numbers.size(); ++i) up.numbers[i] *= Activated(activation, gate.numbers[i]);
  } else {
    for (Real& number : up.numbers) number = Activated(activation, number);
  }
  return Multiply(up, Role::kDown, Role::kDownBias);
}

template <typename Real>
void Add(const Rows<Real>& x, Rows<Real>& y) {
  for (size_t i = 0; i < y.numbers.size(); ++i) y.numbers[i] += x.numbers[i];
}

template <typename Real>
std::vector<double> Doubles(const Rows<Real>& x) {
  return {x.numbers.begin(), x.numbers.end()};
}

template <typename Real>
MultiHeadReference<Real> Chain<Real>::Run() {
  const Heads h = HeadsOf();
  const TensorView& key_tensor = request_.key ? *request_.key : request_.query;
  const TensorView& value_tensor = request_.value ? *request_.value : key_tensor;
  const std::vector<Entry> entries = Entries(key_tensor);
  const bool pre = request_.block && request_.block->placement == NormPlacement::kPre;

  const Rows<Real> x = Embeddings(request_.query, /*query=*/true, entries);
  Rows<Real> sources[] = {x, Embeddings(key_tensor, false, entries), Embeddings(value_tensor, false, entries)};
  for (int i = 0; i < 3; ++i) {
    const bool is_query = i == 0 || (!request_.key && (i == 1 || !request_.value));
    if (pre && is_query) NormRows(sources[i], Role::kAttentionNormScale, Role::kAttentionNormShift);
  }
  const int64_t columns[] = {h.heads * h.head_dim, h.kv_heads * h.head_dim, h.kv_heads * h.value_dim};
  constexpr Role kMatrices[] = {Role::kQuery, Role::kKey, Role::kValue};
  constexpr Role kBiases[] = {Role::kQueryBias, Role::kKeyBias, Role::kValueBias};
  Rows<Real> projected[3];
  int64_t begin = 0;
  for (int i = 0; i < 3; ++i) {
    projected[i] = has(Role::kQkv) ? Multiply(sources[i], Role::kQkv, begin, begin + columns[i], Role::kQkvBias, begin)
                                   : Multiply(sources[i], kMatrices[i], kBiases[i]);
    begin += columns[i];
  }
  MultiHeadReference<Real> result;
  result.query = projected[0].numbers;
  result.key = projected[1].numbers;
  result.value = projected[2].numbers;
  NormHeads(projected[0], h.head_dim, Role::kQueryNorm);
  NormHeads(projected[1], h.head_dim, Role::kKeyNorm);

  AttentionRequest request;
  request.layout = request_.layout;
  request.options = request_.options;
  request.outputs = request_.outputs;
  const bool packed = request_.layout == Layout::kPacked;
  const auto shape = [&](const TensorView& of, int64_t heads, int64_t dim) {
    const int64_t len = of.shape[of.shape.size() - 2];
    if (packed) return std::vector<int64_t>{len, heads, dim};
    return std::vector<int64_t>{of.shape.size() == 3 ? of.shape[0] : 1, len, heads, dim};
  };
  request.query.shape = shape(request_.query, h.heads, h.head_dim);
  request.key.shape = shape(key_tensor, h.kv_heads, h.head_dim);
  request.value.shape = shape(value_tensor, h.kv_heads, h.value_dim);
  ReferenceInputs inputs{Doubles(projected[0]), Doubles(projected[1]), Doubles(projected[2]), {}, {}, false};
  if (has(Role::kExtraKey)) {
    inputs.extra_key = Vector(Role::kExtraKey, 0);
    inputs.extra_value = Vector(Role::kExtraValue, 0);
  }
  inputs.zero_key = request_.add_zero_attn;
  result.heads = ReferenceAttention<Real>(request, inputs);

  Rows<Real> context;
  context.width = h.heads * h.value_dim;
  context.numbers.resize(static_cast<size_t>(x.count() * context.width));
  size_t from = 0;
  for (const Entry& e : entries) {
    for (int64_t head = 0; head < h.heads; ++head) {
      for (int64_t t = 0; t < e.q_len; ++t) {
        for (int64_t i = 0; i < h.value_dim; ++i) {
          context.at(e.q_begin + t, head * h.value_dim + i) = result.heads.output[from++];
        }
      }
    }
  }
  result.context = context.numbers;
  magnitude_ = result.heads.max_value;
  Rows<Real> y = context;
  if (has(Role::kOutput)) {
    y = Multiply(context, Role::kOutput, Role::kOutputBias);
    result.attention = y.numbers;
  }
  if (request_.block) {
    Add(x, y);
    if (!pre) NormRows(y, Role::kAttentionNormScale, Role::kAttentionNormShift);
    result.hidden = y.numbers;
    if (has(Role::kUp)) {
      Rows<Real> fed = y;
      if (pre) NormRows(fed, Role::kFfnNormScale, Role::kFfnNormShift);
      Rows<Real> sum = FeedForward(fed);
      Add(y, sum);
      if (!pre) NormRows(sum, Role::kFfnNormScale, Role::kFfnNormShift);
      y = sum;
    }
  }
  for (const Entry& e : entries) {
    for (int64_t t = e.q_used; t < e.q_len; ++t) {
      for (int64_t i = 0; i < y.width; ++i) y.at(e.q_begin + t, i) = 0;
    }
  }
  result.output = std::move(y.numbers);
  result.magnitude = magnitude_;
  return result;
}

}  // namespace

template <typename Real>
MultiHeadReference<Real> ReferenceMultiHead(const MultiHeadRequest& request, const ProjectionWeights& weights) {
  return Chain<Real>(request, weights).Run();
}

template MultiHeadReference<float> ReferenceMultiHead<float>(const MultiHeadRequest&, const ProjectionWeights&);
template MultiHeadReference<double> ReferenceMultiHead<double>(const MultiHeadRequest&, const ProjectionWeights&);

double OutputTolerance(const MultiHeadRequest& request, const ProjectionWeights& weights,
                       const MultiHeadReference<double>& exact) {
  const DataType dtype = request.outputs.dtype.value_or(request.query.dtype);
  const MultiHeadReference<float> plain = ReferenceMultiHead<float>(request, weights);
  double plain_error = 0;
  double largest = 0;
  for (size_t i = 0; i < exact.output.size(); ++i) {
    const double error = std::abs(RoundTo(dtype, static_cast<double>(plain.output[i])) - exact.output[i]);
    if (std::isfinite(error)) plain_error = std::max(plain_error, error);
    if (std::isfinite(exact.output[i])) largest = std::max(largest, std::abs(exact.output[i]));
  }
  return 2 * plain_error + std::ldexp(1 + exact.heads.magnitude, -24) * std::max(exact.magnitude, largest);
}

}  // namespace attnd
