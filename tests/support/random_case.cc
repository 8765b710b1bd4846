#include "tests/support/random_case.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/support/random.h"

namespace attnd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kFarthest = int64_t{1} << 60;

class Maker {
 public:
  Maker(uint64_t seed, const RandomCaseOptions& options) : random_(seed), options_(options) {}

  RequestCase Make() {
    MakeShape();
    MakeTensors();
    MakeLengths();
    MakePositions();
    MakeScoreOptions();
    for (int64_t n = Chance(35) ? 1 + random_.Below(2) : 0; n > 0; --n) c_.masks.push_back(RandomMask());
    for (int64_t n = Chance(25) ? 1 + random_.Below(2) : 0; n > 0; --n) c_.biases.push_back(RandomBias());
    if (Chance(20)) MakeDocuments();
    if (c_.dims.head_dim >= 2 && Chance(20)) MakeRope();
    MakeAlignment();
    MakeOutputs();
    if (Chance(options_.garbage_percent)) HideGarbage();
    if (Chance(options_.visible_nan_percent)) SpoilSomething();
    return std::move(c_);
  }

 private:
  bool Chance(int percent) { return random_.Below(100) < percent; }
  template <typename T>
  T Pick(std::initializer_list<T> from) {
    return from.begin()[random_.Below(static_cast<int64_t>(from.size()))];
  }
  int64_t Between(int64_t low, int64_t high) { return low + random_.Below(high - low + 1); }
  DataType FloatType() {
    return Pick({DataType::kFloat32, DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16});
  }

  // Around the numbers of rows in a tile and of keys in a vector.
  int64_t Length() {
    const int64_t factor = options_.length_factor;
    if (Chance(70)) return Between(1, 12 * factor);
    if (Chance(5)) return 0;
    const int64_t around = factor * Pick<int64_t>({16, 24, 32, 48, 64, 96});
    return around + Between(-1, 1);
  }

  void MakeShape() {
    Dims& dims = c_.dims;
    dims.batch = Pick<int64_t>({1, 1, 1, 2, 3, 4});
    dims.kv_heads = Pick<int64_t>({1, 1, 2, 3});
    int64_t group = Pick<int64_t>({1, 1, 1, 2, 3, 4});
    dims.head_dim = Pick<int64_t>({1, 2, 3, 4, 8, 8, 16, 16, 17, 24, 32, 64});
    dims.value_dim = Chance(50) ? dims.head_dim : Pick<int64_t>({1, 3, 5, 8, 15, 16, 33, 40});
    dims.q_len = Length();
    dims.kv_len = Chance(30) ? dims.q_len : Length();
    const auto pairs = [&] { return dims.batch * dims.kv_heads * group * dims.q_len * dims.kv_len; };
    if (Chance(4)) {
      // Several key blocks: of 512 keys where heads are narrow, of 64 where they are wide.
      const bool wide = Chance(30);
      dims.kv_len = wide ? Pick<int64_t>({64, 128}) : Pick<int64_t>({512, 1024});
      dims.kv_len += Between(-2, 2);
      if (wide) dims.head_dim = Between(510, 530);
      if (wide) dims.value_dim = Between(500, 515);
      dims.q_len = Between(1, 3);
    }
    while (pairs() > options_.max_pairs) {
      int64_t& largest = dims.batch > 1      ? dims.batch
                         : dims.kv_heads > 1 ? dims.kv_heads
                         : group > 1         ? group
                                             : dims.q_len;
      if (largest == 1) break;
      largest /= 2;
    }
    dims.heads = dims.kv_heads * group;
    c_.layout = Pick({Layout::kHeadsFirst, Layout::kTokensFirst, Layout::kPacked});
    if (Chance(1)) dims.batch = 0;
    if (c_.packed() && dims.batch == 0) dims.q_len = dims.kv_len = 0;
    const bool one_head = dims.batch == 1 && dims.heads == 1;
    c_.compact = c_.layout == Layout::kTokensFirst ? Chance(50) : c_.layout == Layout::kHeadsFirst && one_head;
  }

  CaseTensor RandomTensor(DataType dtype, std::vector<int64_t> shape, float factor) {
    CaseTensor tensor{DataType::kFloat32, std::move(shape), {}};
    const auto n = std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
    tensor.numbers.resize(static_cast<size_t>(n));
    for (float& x : tensor.numbers) x = factor * random_.Normal();
    Convert(tensor, dtype);
    return tensor;
  }

  void MakeTensors() {
    const Dims& dims = c_.dims;
    const DataType key_dtype = FloatType();
    const float factor = Pick({1.0F, 1.0F, 0.1F, 4.0F, 20.0F});
    c_.query = RandomTensor(FloatType(), {dims.batch, dims.heads, dims.q_len, dims.head_dim}, factor);
    c_.key = RandomTensor(key_dtype, {dims.batch, dims.kv_heads, dims.kv_len, dims.head_dim}, 1);
    c_.value = RandomTensor(key_dtype, {dims.batch, dims.kv_heads, dims.kv_len, dims.value_dim},
                            Pick({1.0F, 1.0F, 0.01F, 100.0F}));
  }

  // One element for all, or one for each entry, each from draw(b).
  template <typename Draw>
  std::vector<int64_t> PerEntryList(Draw draw) {
    if (!c_.packed() && Chance(30)) return {draw(0)};
    std::vector<int64_t> list;
    for (int64_t b = 0; b < c_.dims.batch; ++b) list.push_back(draw(b));
    return list;
  }

  void MakeLengths() {
    const Dims& dims = c_.dims;
    AttentionOptions& o = c_.options;
    if (c_.packed() || Chance(25)) o.q_lengths = PerEntryList([&](int64_t /*b*/) { return Between(0, dims.q_len); });
    if (c_.packed() || Chance(25)) o.kv_lengths = PerEntryList([&](int64_t /*b*/) { return Between(0, dims.kv_len); });
    if (c_.packed() && dims.batch > 0) {
      // Often as many queries as keys, as self-attention has.
      if (dims.q_len == dims.kv_len && Chance(60)) o.kv_lengths = o.q_lengths;
      const auto longest = static_cast<size_t>(random_.Below(dims.batch));
      o.q_lengths[longest] = dims.q_len;
      o.kv_lengths[longest] = dims.kv_len;
    }
    int64_t shortest = c_.KeyEnd(0);
    for (int64_t b = 0; b < dims.batch; ++b) shortest = std::min(shortest, c_.KeyEnd(b));
    if (Chance(15)) {
      if (Chance(30)) {
        o.kv_starts = {Between(0, shortest)};
      } else {
        for (int64_t b = 0; b < dims.batch; ++b) o.kv_starts.push_back(Between(0, c_.KeyEnd(b)));
      }
    }
  }

  void MakePositions() {
    AttentionOptions& o = c_.options;
    o.causal = Chance(35);
    const int64_t span = std::max<int64_t>(4, c_.dims.kv_len);
    if (Chance(25)) {
      const auto bound = [&] {
        return Chance(5) ? std::numeric_limits<int64_t>::max() : Between(0, Chance(50) ? 5 : span);
      };
      Window& window = o.window.emplace();
      const int64_t which = random_.Below(3);
      if (which != 0) window.left = bound();
      if (which != 1) window.right = bound();
    }
    if (!o.causal || !Chance(30)) return;
    int64_t fewest = c_.dims.kv_len;
    for (int64_t b = 0; b < c_.dims.batch; ++b) fewest = std::min(fewest, c_.KeyCount(b));
    if (Chance(30)) {
      o.prefix_lengths = {Between(0, fewest)};
    } else {
      for (int64_t b = 0; b < c_.dims.batch; ++b) o.prefix_lengths.push_back(Between(0, c_.KeyCount(b)));
    }
  }

  // Whether every entry has as many queries as keys.
  [[nodiscard]] bool LengthsAgree() const {
    if (!c_.packed()) return c_.dims.q_len == c_.dims.kv_len;
    return c_.options.q_lengths == c_.options.kv_lengths;
  }

  // Offsets near each other far away, or anywhere.
  void MakeAlignment() {
    AttentionOptions& o = c_.options;
    const bool positions = o.causal || o.window || c_.alibi_slopes || o.rope;
    if ((LengthsAgree() || !positions) && Chance(40)) return;
    o.alignment = Pick({Alignment::kTopLeft, Alignment::kBottomRight, Alignment::kOffset});
    if (o.alignment != Alignment::kOffset) return;
    const int64_t around = std::max<int64_t>(5, c_.dims.kv_len);
    int64_t base = 0;
    if (Chance(10)) base = Pick({kFarthest - around, around - kFarthest, int64_t{1} << 24});
    // Slopes times such distances would hide every error.
    const bool apart = base != 0 && !c_.alibi_slopes && Chance(30);
    if (Chance(90)) o.q_offset = PerEntryList([&](int64_t /*b*/) { return base + Between(-around / 2, around); });
    if (base != 0 && o.q_offset.empty()) base = 0;
    if (base != 0 || Chance(60)) {
      o.k_offset = PerEntryList([&](int64_t /*b*/) { return (apart ? -base : base) + Between(-around / 2, around); });
    }
  }

  void MakeScoreOptions() {
    AttentionOptions& o = c_.options;
    if (Chance(40)) o.scale = Pick({0.0F, -0.3F, 0.05F, 1.0F, -1.0F, 2.0F});
    if (Chance(20)) o.softcap = Pick({0.5F, 2.0F, 30.0F});
    if (Chance(15)) c_.alibi_slopes = RandomTensor(FloatType(), {c_.dims.heads}, Pick({0.05F, 1.0F}));
    if (!Chance(20)) return;
    c_.sinks = RandomTensor(FloatType(), {c_.dims.heads}, Pick({1.0F, 8.0F}));
    if (Chance(10)) c_.sinks->numbers[0] = -kInf;
  }

  // A shape that broadcasts over [batch, heads, q_len, kv_len].
  std::vector<int64_t> BroadcastShape() {
    const Dims& dims = c_.dims;
    const int64_t full[] = {dims.batch, dims.heads, dims.q_len, dims.kv_len};
    std::vector<int64_t> shape;
    const int64_t rank = Pick<int64_t>({0, 1, 2, 2, 3, 4, 4, 4});
    for (int64_t d = 4 - rank; d < 4; ++d) shape.push_back(Chance(30) ? 1 : full[d]);
    return shape;
  }

  CaseMask RandomMask() {
    CaseMask mask{RandomTensor(DataType::kFloat32, BroadcastShape(), 1), Pick({Polarity::kKeep, Polarity::kDrop})};
    mask.tensor.dtype = Pick({DataType::kBool, DataType::kBit});
    const int visible_percent = mask.tensor.numbers.size() == 1 ? 85 : Pick({2, 50, 80, 97, 100});
    for (float& x : mask.tensor.numbers) x = Chance(visible_percent) == (mask.polarity == Polarity::kKeep) ? 1 : 0;
    return mask;
  }

  CaseTensor RandomBias() {
    CaseTensor bias = RandomTensor(FloatType(), BroadcastShape(), Pick({0.1F, 1.0F, 5.0F}));
    const int hidden_percent = bias.numbers.size() == 1 ? 5 : Pick({0, 0, 10, 60});
    for (float& x : bias.numbers) {
      if (Chance(hidden_percent)) x = -kInf;
    }
    return bias;
  }

  std::vector<int32_t> DocumentIds(int64_t len, bool scattered) {
    std::vector<int32_t> ids;
    int32_t id = -1;
    for (int64_t i = 0; i < c_.dims.batch * len; ++i) {
      if (scattered) {
        id = static_cast<int32_t>(random_.Below(3));
      } else if (i % len == 0 || Chance(20)) {
        ++id;
      }
      ids.push_back(id % 7);
    }
    return ids;
  }

  void MakeDocuments() {
    Documents& documents = c_.options.documents.emplace();
    const bool scattered = Chance(40);
    documents.query_ids = DocumentIds(c_.dims.q_len, scattered);
    if (LengthsAgree() && Chance(60)) return;
    documents.key_ids = DocumentIds(c_.dims.kv_len, scattered);
  }

  void MakeRope() {
    Rope& rope = c_.options.rope.emplace();
    const int64_t head_dim = c_.dims.head_dim;
    rope.style = Pick({RopeStyle::kHalf, RopeStyle::kInterleaved});
    if (head_dim % 2 != 0 || Chance(40)) rope.rotary_dim = 2 * Between(1, head_dim / 2);
    if (Chance(30)) rope.theta = Pick({100.0F, 500000.0F});
    if (Chance(30)) rope.scaling_factor = Pick({0.5F, 4.0F});
    const auto positions = [this](int64_t len) {
      std::vector<int64_t> list;
      const int64_t first = Chance(10) ? kFarthest - 200 : -5;
      for (int64_t i = 0; i < c_.dims.batch * len; ++i) list.push_back(first + Between(0, 200));
      return list;
    };
    if (Chance(30)) rope.query_positions = positions(c_.dims.q_len);
    if (Chance(30)) rope.key_positions = positions(c_.dims.kv_len);
  }

  void MakeOutputs() {
    AttentionOutputs& outputs = c_.outputs;
    if (Chance(40)) outputs.dtype = FloatType();
    outputs.lse = Chance(70);
    if (Chance(50)) {
      WeightsOutput& weights = outputs.weights.emplace();
      weights.mean = Chance(40);
      if (Chance(40)) {
        int64_t rows = 0;
        for (int64_t b = 0; b < c_.dims.batch; ++b) rows += c_.QueryCount(b);
        weights.rows = SomeOf(c_.packed() ? rows : c_.dims.q_len);
      }
    }
    if (Chance(35)) {
      outputs.scores = Pick({ScoreStage::kUnscaled, ScoreStage::kScaled, ScoreStage::kCapped, ScoreStage::kBiased});
    }
  }

  // Some of the numbers below n, in any order.
  std::vector<int64_t> SomeOf(int64_t n) {
    std::vector<int64_t> rows(static_cast<size_t>(n));
    std::iota(rows.begin(), rows.end(), 0);
    for (size_t i = rows.size(); i > 1; --i) {
      std::swap(rows[i - 1], rows[static_cast<size_t>(random_.Below(static_cast<int64_t>(i)))]);
    }
    if (n > 0) rows.resize(static_cast<size_t>(Between(1, n)));
    return rows;
  }

  // Whether lengths, masks and biases hide key `j` from all rows that use its head.
  [[nodiscard]] bool HiddenFromAll(int64_t b, int64_t kv_head, int64_t j) const {
    if (j < c_.KeyBegin(b) || j >= c_.KeyEnd(b)) return true;
    const int64_t group = c_.dims.group();
    for (int64_t row = 0; row < group * c_.QueryEnd(b); ++row) {
      const int64_t h = kv_head * group + row % group;
      const int64_t i = row / group;
      const bool hidden =
          std::any_of(c_.masks.begin(), c_.masks.end(),
                      [&](const CaseMask& mask) {
                        return (RequestCase::At(mask.tensor, b, h, i, j) != 0) != (mask.polarity == Polarity::kKeep);
                      }) ||
          std::any_of(c_.biases.begin(), c_.biases.end(),
                      [&](const CaseTensor& bias) { return RequestCase::At(bias, b, h, i, j) == -kInf; });
      if (!hidden) return false;
    }
    return true;
  }

  float* Row(CaseTensor& tensor, int64_t b, int64_t h, int64_t i) const {
    return tensor.numbers.data() + ((b * tensor.shape[1] + h) * tensor.shape[2] + i) * tensor.shape[3];
  }

  void HideGarbage() {
    const Dims& dims = c_.dims;
    for (int64_t b = 0; b < dims.batch; ++b) {
      for (int64_t h = 0; h < dims.kv_heads; ++h) {
        for (int64_t j = 0; j < dims.kv_len; ++j) {
          if (!HiddenFromAll(b, h, j)) continue;
          const float garbage = Pick({kNan, kInf, -kInf});
          std::fill_n(Row(c_.key, b, h, j), Chance(50) ? dims.head_dim : 1, garbage);
          std::fill_n(Row(c_.value, b, h, j), Chance(50) ? dims.value_dim : 1, garbage);
        }
      }
      for (int64_t h = 0; h < dims.heads; ++h) {
        for (int64_t i = c_.QueryEnd(b); i < dims.q_len; ++i) std::fill_n(Row(c_.query, b, h, i), dims.head_dim, kNan);
      }
    }
  }

  void SpoilSomething() {
    CaseTensor& tensor = *Pick({&c_.query, &c_.key, &c_.value});
    if (tensor.numbers.empty()) return;
    tensor.numbers[static_cast<size_t>(random_.Below(static_cast<int64_t>(tensor.numbers.size())))] = kNan;
  }

  Random random_;
  const RandomCaseOptions options_;
  RequestCase c_;
};

}  // namespace

RequestCase RandomCase(uint64_t seed, const RandomCaseOptions& options) { return Maker(seed, options).Make(); }

uint64_t FromEnvironment(const char* name, uint64_t unset) {
  const char* text = std::getenv(name);
  return text == nullptr ? unset : std::strtoull(text, nullptr, 0);
}

}  // namespace attnd
