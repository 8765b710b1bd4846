#include "core/attention/reference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace attnd {
namespace {

double FromHalf(uint16_t bits) {
  const int exponent = bits >> 10 & 0x1F;
  const int fraction = bits & 0x3FF;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0x1F) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

std::vector<std::byte> BytesOf(const TensorView& tensor) {
  std::vector<std::byte> bytes(tensor.bytes.size());
  tensor.bytes.CopyTo(bytes.data());
  return bytes;
}

std::vector<double> Numbers(const TensorView& tensor) {
  const std::vector<std::byte> bytes = BytesOf(tensor);
  std::vector<double> numbers(bytes.size() / static_cast<size_t>(ElementBytes(tensor.dtype)));
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (tensor.dtype == DataType::kFloat32) {
      float x = 0;
      std::memcpy(&x, bytes.data() + i * 4, 4);
      numbers[i] = static_cast<double>(x);
      continue;
    }
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * 2, 2);
    numbers[i] = tensor.dtype == DataType::kFloat16
                     ? FromHalf(bits)
                     : static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
  }
  return numbers;
}

// A tensor broadcast from the right over [batch, heads, q_len, kv_len].
class Broadcast {
 public:
  explicit Broadcast(const TensorView& tensor) : dtype_(tensor.dtype) {
    if (IsFloat(dtype_)) {
      numbers_ = Numbers(tensor);
    } else {
      bytes_ = BytesOf(tensor);
    }
    std::copy(tensor.shape.begin(), tensor.shape.end(), shape_ + 4 - tensor.shape.size());
  }

  [[nodiscard]] double At(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const int64_t index[] = {b, h, i, j};
    int64_t row = 0;
    for (int d = 0; d < 3; ++d) row = row * shape_[d] + (shape_[d] == 1 ? 0 : index[d]);
    const int64_t column = shape_[3] == 1 ? 0 : j;
    if (dtype_ == DataType::kBit) {
      const auto byte = static_cast<int>(bytes_[static_cast<size_t>(row * ((shape_[3] + 7) / 8) + column / 8)]);
      return byte >> (column % 8) & 1;
    }
    const auto at = static_cast<size_t>(row * shape_[3] + column);
    return dtype_ == DataType::kBool ? static_cast<double>(bytes_[at] != std::byte{0}) : numbers_[at];
  }

 private:
  DataType dtype_;
  std::vector<double> numbers_;
  std::vector<std::byte> bytes_;
  int64_t shape_[4] = {1, 1, 1, 1};
};

// Query, key or value: where a token's row is.
struct Tensor {
  std::vector<double> numbers;
  Layout layout = Layout::kHeadsFirst;
  int64_t batch = 1;
  int64_t heads = 1;
  int64_t len = 0;
  int64_t dim = 0;

  Tensor(const TensorView& view, std::vector<double> elements, Layout in, const std::optional<int64_t>& split)
      : numbers(std::move(elements)), layout(in) {
    const auto& s = view.shape;
    if (layout == Layout::kPacked) {
      len = s[0], heads = s[1], dim = s[2];
    } else if (layout == Layout::kTokensFirst) {
      batch = s[0], len = s[1];
      heads = s.size() == 4 ? s[2] : *split;
      dim = s.size() == 4 ? s[3] : s[2] / heads;
    } else if (s.size() == 4) {
      batch = s[0], heads = s[1], len = s[2], dim = s[3];
    } else {
      len = s[0], dim = s[1];
    }
  }
  // `token` counts from the entry's first, or in a packed tensor from its start.
  [[nodiscard]] const double* Row(int64_t b, int64_t h, int64_t token) const {
    int64_t row = (b * len + token) * heads + h;
    if (layout == Layout::kHeadsFirst) row = (b * heads + h) * len + token;
    if (layout == Layout::kPacked) row = token * heads + h;
    return numbers.data() + row * dim;
  }
};

int64_t At(const std::vector<int64_t>& list, int64_t b, int64_t unset) {
  if (list.empty()) return unset;
  return list[list.size() == 1 ? 0 : static_cast<size_t>(b)];
}

template <typename Real>
std::vector<Real> Rotated(const double* row, int64_t dim, const Rope& rope, int64_t position) {
  std::vector<Real> out(row, row + dim);
  const int64_t rotary = rope.rotary_dim.value_or(dim);
  for (int64_t i = 0; i < rotary / 2; ++i) {
    const double frequency = std::pow(static_cast<double>(rope.theta.value_or(10000)),
                                      -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
    const double angle =
        static_cast<double>(position) / static_cast<double>(rope.scaling_factor.value_or(1)) * frequency;
    const auto c = static_cast<Real>(std::cos(angle));
    const auto s = static_cast<Real>(std::sin(angle));
    const bool half = rope.style == RopeStyle::kHalf;
    const auto x = static_cast<size_t>(half ? i : 2 * i);
    const auto y = static_cast<size_t>(half ? i + rotary / 2 : 2 * i + 1);
    const Real turned = out[x] * c - out[y] * s;
    out[y] = out[x] * s + out[y] * c;
    out[x] = turned;
  }
  return out;
}

// One batch entry or packed sequence.
struct Entry {
  int64_t b = 0;
  int64_t q_len = 0;
  int64_t kv_len = 0;
  int64_t q_used = 0;
  int64_t kv_begin = 0;
  int64_t kv_end = 0;
  // First tokens in the tensors, and in lists with an element per token.
  int64_t q_token = 0;
  int64_t kv_token = 0;
  int64_t q_listed = 0;
  int64_t kv_listed = 0;
  int64_t q_offset = 0;
  int64_t k_offset = 0;
};

template <typename Real>
class Oracle {
 public:
  Oracle(const AttentionRequest& request, const ReferenceInputs& inputs)
      : options_(request.options),
        inputs_(inputs),
        stage_(request.outputs.scores.value_or(ScoreStage::kBiased)),
        query_(request.query, inputs.query, request.layout, request.heads),
        key_(request.key, inputs.key, request.layout, request.kv_heads),
        value_(request.value, inputs.value, request.layout, request.kv_heads),
        scale_(static_cast<Real>(
            options_.scale.value_or(static_cast<float>(1 / std::sqrt(static_cast<double>(query_.dim)))))) {
    for (const Mask& mask : options_.masks) masks_.emplace_back(mask.tensor);
    for (const TensorView& bias : options_.biases) biases_.emplace_back(bias);
    if (options_.alibi_slopes) slopes_ = Numbers(*options_.alibi_slopes);
    if (options_.sinks) sinks_ = Numbers(*options_.sinks);
  }

  ReferenceResult<Real> Run() {
    for (const Entry& entry : Entries()) {
      for (int64_t h = 0; h < query_.heads; ++h) {
        for (int64_t i = 0; i < entry.q_len; ++i) AddRow(entry, h, i);
      }
    }
    return std::move(result_);
  }

 private:
  static constexpr Real kNegInf = -std::numeric_limits<Real>::infinity();

  [[nodiscard]] std::vector<Entry> Entries() const {
    const bool packed = query_.layout == Layout::kPacked;
    std::vector<Entry> entries(packed ? options_.q_lengths.size() : static_cast<size_t>(query_.batch));
    int64_t q_token = 0;
    int64_t kv_token = 0;
    for (size_t n = 0; n < entries.size(); ++n) {
      Entry& e = entries[n];
      e.b = static_cast<int64_t>(n);
      e.q_used = At(options_.q_lengths, e.b, query_.len);
      e.kv_end = At(options_.kv_lengths, e.b, key_.len);
      e.kv_begin = At(options_.kv_starts, e.b, 0);
      e.q_len = packed ? e.q_used : query_.len;
      e.kv_len = packed ? e.kv_end : key_.len;
      if (packed) e.q_token = q_token, e.kv_token = kv_token;
      e.q_listed = q_token;
      e.kv_listed = kv_token;
      q_token += e.q_len;
      kv_token += e.kv_len;
      if (options_.alignment == Alignment::kBottomRight) e.q_offset = e.kv_end - e.q_used;
      if (options_.alignment == Alignment::kOffset) {
        e.q_offset = At(options_.q_offset, e.b, 0);
        e.k_offset = At(options_.k_offset, e.b, 0);
      }
    }
    return entries;
  }

  [[nodiscard]] bool Visible(const Entry& e, int64_t h, int64_t i, int64_t j) const {
    const int64_t q = i + e.q_offset;
    const int64_t k = j + e.k_offset;
    if (j < e.kv_begin || j >= e.kv_end) return false;
    if (options_.causal && k > q && j >= At(options_.prefix_lengths, e.b, 0)) return false;
    if (options_.window) {
      const Window& w = *options_.window;
      // Written so that no bound, however large, overflows.
      if (w.left && q > k && q - k > *w.left) return false;
      if (w.right && k > q && k - q > *w.right) return false;
    }
    if (options_.documents) {
      const auto& queries = options_.documents->query_ids;
      const auto& keys = options_.documents->key_ids.empty() ? queries : options_.documents->key_ids;
      if (queries[static_cast<size_t>(e.q_listed + i)] != keys[static_cast<size_t>(e.kv_listed + j)]) return false;
    }
    for (size_t m = 0; m < masks_.size(); ++m) {
      if ((masks_[m].At(e.b, h, i, j) != 0) != (options_.masks[m].polarity == Polarity::kKeep)) return false;
    }
    return std::none_of(biases_.begin(), biases_.end(), [&](const Broadcast& bias) {
      return bias.At(e.b, h, i, j) == -std::numeric_limits<double>::infinity();
    });
  }

  // A row of query or key after RoPE, if there is one.
  std::vector<Real> RowOf(const Tensor& tensor, const std::vector<int64_t>* positions, int64_t b, int64_t h,
                          int64_t token, int64_t listed, int64_t position) const {
    const double* row = tensor.Row(b, h, token);
    if (!options_.rope) return {row, row + tensor.dim};
    if (!positions->empty()) position = (*positions)[static_cast<size_t>(listed)];
    return Rotated<Real>(row, tensor.dim, *options_.rope, position);
  }

  // The score of a pair before anything is hidden, at the last stage and at stage_.
  struct Score {
    Real biased = 0;
    Real at_stage = 0;
    double magnitude = 0;
  };
  [[nodiscard]] Score ScoreOf(const Entry& e, int64_t h, int64_t i, int64_t j, const std::vector<Real>& q,
                              const std::vector<Real>& k) const {
    Score score;
    Real s = 0;
    for (size_t d = 0; d < q.size(); ++d) {
      s += q[d] * k[d];
      score.magnitude += std::abs(static_cast<double>(scale_) * static_cast<double>(q[d]) * static_cast<double>(k[d]));
    }
    const auto reach = [&](ScoreStage stage) {
      if (stage == stage_) score.at_stage = s;
    };
    reach(ScoreStage::kUnscaled);
    s *= scale_;
    reach(ScoreStage::kScaled);
    if (options_.softcap) {
      const auto cap = static_cast<Real>(*options_.softcap);
      s = cap * std::tanh(s / cap);
    }
    reach(ScoreStage::kCapped);
    for (const Broadcast& bias : biases_) {
      s += static_cast<Real>(bias.At(e.b, h, i, j));
      score.magnitude += std::abs(bias.At(e.b, h, i, j));
    }
    if (!slopes_.empty()) {
      const int64_t distance = std::abs(i + e.q_offset - (j + e.k_offset));
      const double slope = slopes_[static_cast<size_t>(h)];
      s -= static_cast<Real>(slope) * static_cast<Real>(distance);
      score.magnitude += std::abs(slope * static_cast<double>(distance));
    }
    score.biased = s;
    reach(ScoreStage::kBiased);
    return score;
  }

  void AddRow(const Entry& e, int64_t h, int64_t i) {
    std::vector<Real> weights(static_cast<size_t>(e.kv_len), 0);
    std::vector<Real> scores(weights.size(), 0);
    std::vector<Real> output(static_cast<size_t>(value_.dim), 0);
    Real lse = kNegInf;
    bool sees = false;
    if (i < e.q_used) lse = ComputeRow(e, h, i, weights, scores, output, sees);
    const auto append = [](std::vector<Real>& to, const std::vector<Real>& row) {
      to.insert(to.end(), row.begin(), row.end());
    };
    append(result_.output, output);
    append(result_.weights, weights);
    append(result_.scores, scores);
    result_.lse.push_back(lse);
    result_.sees_a_key.push_back(sees);
  }

  Real ComputeRow(const Entry& e, int64_t h, int64_t i, std::vector<Real>& weights, std::vector<Real>& scores,
                  std::vector<Real>& output, bool& sees) {
    const int64_t kv_head = h / (query_.heads / key_.heads);
    const std::vector<int64_t>* q_positions = options_.rope ? &options_.rope->query_positions : nullptr;
    const std::vector<int64_t>* k_positions = options_.rope ? &options_.rope->key_positions : nullptr;
    const std::vector<Real> q = RowOf(query_, q_positions, e.b, h, e.q_token + i, e.q_listed + i, i + e.q_offset);
    std::vector<bool> visible(weights.size());
    Real max = kNegInf;
    for (int64_t j = 0; j < e.kv_len; ++j) {
      const auto at = static_cast<size_t>(j);
      visible[at] = Visible(e, h, i, j);
      scores[at] = kNegInf;
      if (!visible[at] && stage_ == ScoreStage::kBiased) continue;
      const std::vector<Real> k =
          RowOf(key_, k_positions, e.b, kv_head, e.kv_token + j, e.kv_listed + j, j + e.k_offset);
      const Score score = ScoreOf(e, h, i, j, q, k);
      scores[at] = score.at_stage;
      if (!visible[at]) continue;
      sees = true;
      ++result_.visible_pairs;
      weights[at] = score.biased;
      max = std::max(max, score.biased);
      if (std::isfinite(score.magnitude)) result_.magnitude = std::max(result_.magnitude, score.magnitude);
    }
    // What is in the denominator beside the keys: sink, zero key, extra key.
    std::vector<Real> others;
    if (!sinks_.empty() && sinks_[static_cast<size_t>(h)] != -std::numeric_limits<double>::infinity()) {
      others.push_back(static_cast<Real>(sinks_[static_cast<size_t>(h)]));
    }
    if (inputs_.zero_key) others.push_back(0);
    if (!inputs_.extra_key.empty()) others.push_back(ExtraScore(q, kv_head));
    const bool all_minus_infinity = max == kNegInf;
    for (const Real other : others) max = std::max(max, other);
    // Scores of -inf alone leave nothing to weigh: as if no key were visible.
    const Real base = max == kNegInf ? 0 : max;
    Real sum = 0;
    for (const Real other : others) sum += std::exp(other - base);
    const Real only_sink = sum;
    for (size_t j = 0; j < weights.size(); ++j) {
      if (!visible[j]) continue;
      weights[j] = std::exp(weights[j] - base);
      sum += weights[j];
    }
    if (sum == 0) return kNegInf;
    const bool nothing_to_weigh = all_minus_infinity && sum == only_sink;  // a NaN is not equal
    for (size_t j = 0; j < weights.size() && !nothing_to_weigh; ++j) {
      if (!visible[j]) continue;
      weights[j] /= sum;
      const double* value = value_.Row(e.b, kv_head, e.kv_token + static_cast<int64_t>(j));
      for (size_t c = 0; c < output.size(); ++c) {
        output[c] += weights[j] * static_cast<Real>(value[c]);
        if (std::isfinite(value[c])) result_.max_value = std::max(result_.max_value, std::abs(value[c]));
      }
    }
    for (size_t c = 0; c < output.size() && !inputs_.extra_value.empty(); ++c) {
      const double value = inputs_.extra_value[static_cast<size_t>(kv_head) * output.size() + c];
      output[c] += std::exp(others.back() - base) / sum * static_cast<Real>(value);
      result_.max_value = std::max(result_.max_value, std::abs(value));
    }
    return base + std::log(sum);
  }

  Real ExtraScore(const std::vector<Real>& q, int64_t kv_head) {
    Real score = 0;
    double magnitude = 0;
    for (size_t d = 0; d < q.size(); ++d) {
      const double k = inputs_.extra_key[static_cast<size_t>(kv_head) * q.size() + d];
      score += q[d] * static_cast<Real>(k);
      magnitude += std::abs(static_cast<double>(scale_) * static_cast<double>(q[d]) * k);
    }
    result_.magnitude = std::max(result_.magnitude, magnitude);
    score *= scale_;
    if (!options_.softcap) return score;
    const auto cap = static_cast<Real>(*options_.softcap);
    return cap * std::tanh(score / cap);
  }

  const AttentionOptions& options_;
  const ReferenceInputs& inputs_;
  const ScoreStage stage_;
  const Tensor query_;
  const Tensor key_;
  const Tensor value_;
  const Real scale_;
  std::vector<Broadcast> masks_;
  std::vector<Broadcast> biases_;
  std::vector<double> slopes_;
  std::vector<double> sinks_;
  ReferenceResult<Real> result_;
};

}  // namespace

template <typename Real>
ReferenceResult<Real> ReferenceAttention(const AttentionRequest& request, const ReferenceInputs& inputs) {
  return Oracle<Real>(request, inputs).Run();
}

template <typename Real>
ReferenceResult<Real> ReferenceAttention(const AttentionRequest& request) {
  ReferenceInputs inputs;
  inputs.query = Numbers(request.query);
  inputs.key = Numbers(request.key);
  inputs.value = Numbers(request.value);
  return ReferenceAttention<Real>(request, inputs);
}

template ReferenceResult<float> ReferenceAttention<float>(const AttentionRequest&, const ReferenceInputs&);
template ReferenceResult<double> ReferenceAttention<double>(const AttentionRequest&, const ReferenceInputs&);
template ReferenceResult<float> ReferenceAttention<float>(const AttentionRequest&);
template ReferenceResult<double> ReferenceAttention<double>(const AttentionRequest&);

std::vector<double> ReferenceNumbers(const TensorView& tensor) { return Numbers(tensor); }

double RoundTo(DataType dtype, double x) {
  const auto single = static_cast<double>(static_cast<float>(x));
  if (dtype == DataType::kFloat32 || !std::isfinite(single) || single == 0) return single;
  // Places of the significand after the point, smallest exponent and largest number.
  const bool half = dtype == DataType::kFloat16;
  const int places = half ? 10 : 7;
  const int exponent = std::max(std::ilogb(single), half ? -14 : -126);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(single, places - exponent)), exponent - places);
  const double largest = half ? 65504 : std::ldexp(2 - std::ldexp(1, -7), 127);
  return std::abs(rounded) > largest ? std::copysign(std::numeric_limits<double>::infinity(), rounded) : rounded;
}

double OutputTolerance(const AttentionRequest& request, const ReferenceResult<double>& exact) {
  const DataType dtype = request.outputs.dtype.value_or(request.query.dtype);
  const ReferenceResult<float> plain = ReferenceAttention<float>(request);
  double plain_error = 0;
  for (size_t i = 0; i < exact.output.size(); ++i) {
    const double error = std::abs(RoundTo(dtype, static_cast<double>(plain.output[i])) - exact.output[i]);
    if (std::isfinite(error)) plain_error = std::max(plain_error, error);
  }
  return 2 * plain_error + std::ldexp(1 + exact.magnitude, -24) * exact.max_value;
}

}  // namespace attnd
