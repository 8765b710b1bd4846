#include "tests/support/request_case.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <sstream>

#include "core/attention/reference.h"

namespace attnd {
namespace {

int64_t ForEntry(const std::vector<int64_t>& list, int64_t b, int64_t unset) {
  if (list.empty()) return unset;
  return list[list.size() == 1 ? 0 : static_cast<size_t>(b)];
}

// Of a number that float16 holds.
uint16_t Float16Bits(float x) {
  const auto sign = static_cast<uint16_t>(std::signbit(x) ? 0x8000 : 0);
  if (std::isnan(x)) return sign | 0x7E00;
  if (std::isinf(x)) return sign | 0x7C00;
  if (x == 0) return sign;
  const int exponent = std::max(std::ilogb(x), -14);
  // With the leading bit where the exponent's lowest is, unless the number is subnormal.
  const auto significand = static_cast<int>(std::ldexp(std::abs(x), 10 - exponent));
  return static_cast<uint16_t>(sign | (significand + ((exponent + 14) << 10)));
}

std::vector<std::byte> Encode(const CaseTensor& tensor) {
  std::vector<std::byte> bytes;
  if (tensor.dtype == DataType::kBit) {
    const size_t row = tensor.shape.empty() ? 1 : static_cast<size_t>(tensor.shape.back());
    for (size_t at = 0; at < tensor.numbers.size(); at += row) {
      for (size_t k = 0; k < row; k += 8) {
        // Bits that pad a row are nobody's.
        unsigned byte = 0xFF;
        for (size_t i = k; i < std::min(k + 8, row); ++i) {
          if (tensor.numbers[at + i] == 0) byte &= ~(1U << (i - k));
        }
        bytes.push_back(static_cast<std::byte>(byte));
      }
    }
    return bytes;
  }
  const auto size = static_cast<size_t>(ElementBytes(tensor.dtype));
  bytes.resize(tensor.numbers.size() * size);
  for (size_t i = 0; i < tensor.numbers.size(); ++i) {
    const float x = tensor.numbers[i];
    auto bits = std::bit_cast<uint32_t>(x);
    if (tensor.dtype == DataType::kFloat16) bits = Float16Bits(x);
    if (tensor.dtype == DataType::kBfloat16) bits >>= 16;
    if (tensor.dtype == DataType::kBool) bits = x != 0 ? 1 : 0;
    std::memcpy(bytes.data() + i * size, &bits, size);
  }
  return bytes;
}

using Storage = std::deque<std::vector<std::byte>>;

TensorView Store(const CaseTensor& tensor, Storage& storage) {
  const std::vector<std::byte>& bytes = storage.emplace_back(Encode(tensor));
  TensorView view{tensor.dtype, tensor.shape, {}};
  // Pieces end anywhere, within elements too.
  const std::span<const std::byte> all(bytes);
  const size_t cut = bytes.size() % 5 == 0 ? 0 : bytes.size() / 3;
  view.bytes.Append(all.first(cut));
  view.bytes.Append(all.subspan(cut));
  return view;
}

// A [batch, heads, len, dim] tensor in the layout of the case; `count` tokens of an entry.
CaseTensor InLayout(const RequestCase& c, const CaseTensor& tensor, const std::function<int64_t(int64_t)>& count) {
  const int64_t batch = tensor.shape[0];
  const int64_t heads = tensor.shape[1];
  const int64_t len = tensor.shape[2];
  const int64_t dim = tensor.shape[3];
  CaseTensor out{tensor.dtype, tensor.shape, {}};
  if (c.layout == Layout::kHeadsFirst) {
    if (c.compact) out.shape = {len, dim};
    out.numbers = tensor.numbers;
    return out;
  }
  out.numbers.reserve(tensor.numbers.size());
  int64_t tokens = 0;
  for (int64_t b = 0; b < batch; ++b) {
    tokens += count(b);
    for (int64_t t = 0; t < count(b); ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const auto row = tensor.numbers.begin() + ((b * heads + h) * len + t) * dim;
        out.numbers.insert(out.numbers.end(), row, row + dim);
      }
    }
  }
  out.shape = {batch, len, heads, dim};
  if (c.packed()) out.shape = {tokens, heads, dim};
  if (c.layout == Layout::kTokensFirst && c.compact) out.shape = {batch, len, heads * dim};
  return out;
}

// Of a [batch, len] list, the elements of the tokens there are.
template <typename T>
std::vector<T> TokensOf(const std::vector<T>& list, int64_t batch, int64_t len,
                        const std::function<int64_t(int64_t)>& count) {
  std::vector<T> out;
  for (int64_t b = 0; b < batch && !list.empty(); ++b) {
    out.insert(out.end(), list.begin() + b * len, list.begin() + b * len + count(b));
  }
  return out;
}

// Part [first, first + count) of the batch, [0, len) of the tokens, of a tensor or list
// with `inner` elements per token.
template <typename T>
std::vector<T> Crop(const std::vector<T>& from, int64_t outer, int64_t old_len, int64_t len, int64_t inner,
                    int64_t first, int64_t count) {
  std::vector<T> out;
  for (int64_t o = first * outer; o < (first + count) * outer && !from.empty(); ++o) {
    const auto begin = from.begin() + o * old_len * inner;
    out.insert(out.end(), begin, begin + len * inner);
  }
  return out;
}

// Entries [first, first + count) with fewer tokens.
RequestCase CropCase(const RequestCase& c, int64_t first, int64_t count, int64_t q_len, int64_t kv_len) {
  RequestCase out = c;
  const auto crop = [&](CaseTensor& tensor, int64_t len) {
    tensor.numbers = Crop(tensor.numbers, tensor.shape[1], tensor.shape[2], len, tensor.shape[3], first, count);
    tensor.shape = {count, tensor.shape[1], len, tensor.shape[3]};
  };
  crop(out.query, q_len);
  crop(out.key, kv_len);
  crop(out.value, kv_len);
  out.dims.batch = count;
  out.dims.q_len = q_len;
  out.dims.kv_len = kv_len;
  if (out.options.documents) {
    Documents& documents = *out.options.documents;
    // Queries that stand in for keys do so by their count.
    if (documents.key_ids.empty()) documents.key_ids = documents.query_ids;
    documents.query_ids = Crop(documents.query_ids, 1, c.dims.q_len, q_len, 1, first, count);
    documents.key_ids = Crop(documents.key_ids, 1, c.dims.kv_len, kv_len, 1, first, count);
  }
  if (out.options.rope) {
    Rope& rope = *out.options.rope;
    rope.query_positions = Crop(rope.query_positions, 1, c.dims.q_len, q_len, 1, first, count);
    rope.key_positions = Crop(rope.key_positions, 1, c.dims.kv_len, kv_len, 1, first, count);
  }
  const auto broadcast = [&](CaseTensor& tensor) {
    tensor = CropBroadcast(tensor, count == c.dims.batch ? -1 : first, q_len, kv_len);
  };
  for (CaseMask& mask : out.masks) broadcast(mask.tensor);
  for (CaseTensor& bias : out.biases) broadcast(bias);
  return out;
}

}  // namespace

int64_t RequestCase::QueryCount(int64_t b) const { return packed() ? QueryEnd(b) : dims.q_len; }
int64_t RequestCase::KeyCount(int64_t b) const { return packed() ? KeyEnd(b) : dims.kv_len; }
int64_t RequestCase::QueryEnd(int64_t b) const { return ForEntry(options.q_lengths, b, dims.q_len); }
int64_t RequestCase::KeyBegin(int64_t b) const { return ForEntry(options.kv_starts, b, 0); }
int64_t RequestCase::KeyEnd(int64_t b) const { return ForEntry(options.kv_lengths, b, dims.kv_len); }

float RequestCase::At(const CaseTensor& tensor, int64_t b, int64_t h, int64_t i, int64_t j) {
  const int64_t index[] = {b, h, i, j};
  int64_t at = 0;
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    const int64_t extent = tensor.shape[d];
    at = at * extent + (extent == 1 ? 0 : index[4 - tensor.shape.size() + d]);
  }
  return tensor.numbers[static_cast<size_t>(at)];
}

std::string RequestCase::ToString() const {
  std::ostringstream text;
  const auto list = [&text](const char* name, const auto& numbers) {
    if (numbers.empty()) return;
    text << ' ' << name;
    for (size_t i = 0; i < std::min<size_t>(numbers.size(), 4); ++i) text << (i == 0 ? ' ' : ',') << numbers[i];
  };
  const char* const layouts[] = {"heads first", "tokens first", "packed"};
  text << layouts[static_cast<int>(layout)] << (compact ? " compact" : "") << " batch " << dims.batch << " heads "
       << dims.heads << ':' << dims.kv_heads << " q_len " << dims.q_len << " kv_len " << dims.kv_len << " head_dim "
       << dims.head_dim << " value_dim " << dims.value_dim << ' ' << DataTypeName(query.dtype) << '/'
       << DataTypeName(key.dtype) << "->" << DataTypeName(output_dtype());
  if (options.scale) text << " scale " << *options.scale;
  if (options.causal) text << " causal";
  text << " alignment " << static_cast<int>(options.alignment);
  list("q_offset", options.q_offset);
  list("k_offset", options.k_offset);
  if (options.window)
    text << " window " << options.window->left.value_or(-1) << ':' << options.window->right.value_or(-1);
  list("q_lengths", options.q_lengths);
  list("kv_lengths", options.kv_lengths);
  list("kv_starts", options.kv_starts);
  for (const CaseMask& m : masks) text << " mask " << DataTypeName(m.tensor.dtype) << ShapeString(m.tensor.shape);
  for (const CaseTensor& bias : biases) text << " bias " << DataTypeName(bias.dtype) << ShapeString(bias.shape);
  if (alibi_slopes) text << " alibi";
  if (options.softcap) text << " softcap " << *options.softcap;
  if (sinks) text << " sinks";
  if (options.documents) text << (options.documents->key_ids.empty() ? " documents" : " documents with keys");
  list("prefix", options.prefix_lengths);
  if (options.rope) {
    text << " rope " << (options.rope->style == RopeStyle::kHalf ? "half" : "interleaved");
    list("at", options.rope->query_positions);
    list("keys at", options.rope->key_positions);
  }
  text << (outputs.lse ? " lse" : "");
  if (outputs.weights) text << (outputs.weights->mean ? " mean weights" : " weights");
  if (outputs.weights) list("rows", outputs.weights->rows);
  if (outputs.scores) text << " scores " << static_cast<int>(*outputs.scores);
  return text.str();
}

void Convert(CaseTensor& tensor, DataType dtype) {
  tensor.dtype = dtype;
  for (float& x : tensor.numbers) x = static_cast<float>(RoundTo(dtype, static_cast<double>(x)));
}

AttentionRequest BuildRequest(const RequestCase& c) {
  const auto storage = std::make_shared<Storage>();
  const auto queries = [&c](int64_t b) { return c.QueryCount(b); };
  const auto keys = [&c](int64_t b) { return c.KeyCount(b); };
  AttentionRequest request;
  request.layout = c.layout;
  request.query = Store(InLayout(c, c.query, queries), *storage);
  request.key = Store(InLayout(c, c.key, keys), *storage);
  request.value = Store(InLayout(c, c.value, keys), *storage);
  if (c.compact && c.layout == Layout::kTokensFirst) {
    request.heads = c.dims.heads;
    request.kv_heads = c.dims.kv_heads;
  }
  request.options = c.options;
  request.outputs = c.outputs;
  if (c.options.documents) {
    const Documents& documents = *c.options.documents;
    request.options.documents = {TokensOf(documents.query_ids, c.dims.batch, c.dims.q_len, queries),
                                 TokensOf(documents.key_ids, c.dims.batch, c.dims.kv_len, keys)};
  }
  if (c.options.rope) {
    Rope& rope = *request.options.rope;
    rope.query_positions = TokensOf(rope.query_positions, c.dims.batch, c.dims.q_len, queries);
    rope.key_positions = TokensOf(rope.key_positions, c.dims.batch, c.dims.kv_len, keys);
  }
  for (const CaseMask& m : c.masks) request.options.masks.push_back({Store(m.tensor, *storage), m.polarity});
  for (const CaseTensor& bias : c.biases) request.options.biases.push_back(Store(bias, *storage));
  if (c.alibi_slopes) request.options.alibi_slopes = Store(*c.alibi_slopes, *storage);
  if (c.sinks) request.options.sinks = Store(*c.sinks, *storage);
  request.owner = storage;
  return request;
}

CaseTensor CropBroadcast(const CaseTensor& tensor, int64_t b, int64_t q_count, int64_t kv_count) {
  CaseTensor out{tensor.dtype, tensor.shape, {}};
  const size_t rank = tensor.shape.size();
  const auto limit = [&](size_t from_right, int64_t extent) {
    if (rank >= from_right && out.shape[rank - from_right] != 1) out.shape[rank - from_right] = extent;
  };
  limit(1, kv_count);
  limit(2, q_count);
  if (b >= 0) limit(4, 1);
  const auto count = std::accumulate(out.shape.begin(), out.shape.end(), int64_t{1}, std::multiplies<>());
  for (int64_t flat = 0; flat < count; ++flat) {
    int64_t index[4] = {};
    int64_t rest = flat;
    for (size_t d = rank; d-- > 0;) {
      index[4 - rank + d] = rest % out.shape[d];
      rest /= out.shape[d];
    }
    out.numbers.push_back(RequestCase::At(tensor, b >= 0 ? b : index[0], index[1], index[2], index[3]));
  }
  return out;
}

RequestCase EntryOf(const RequestCase& c, int64_t b) {
  RequestCase out = CropCase(c, b, 1, c.QueryCount(b), c.KeyCount(b));
  for (auto* list : {&out.options.q_offset, &out.options.k_offset, &out.options.q_lengths, &out.options.kv_lengths,
                     &out.options.kv_starts, &out.options.prefix_lengths}) {
    if (!list->empty()) list->assign(1, ForEntry(*list, b, 0));
  }
  if (c.packed() && c.outputs.weights && !c.outputs.weights->rows.empty()) {
    int64_t start = 0;
    for (int64_t before = 0; before < b; ++before) start += c.QueryCount(before);
    std::vector<int64_t> rows;
    for (const int64_t row : c.outputs.weights->rows) {
      if (start <= row && row < start + c.QueryCount(b)) rows.push_back(row - start);
    }
    out.outputs.weights->rows = rows;
    if (rows.empty()) out.outputs.weights.reset();
  }
  return out;
}

RequestCase AsPacked(const RequestCase& c) {
  std::vector<int64_t> q_lengths;
  std::vector<int64_t> kv_lengths;
  std::vector<int64_t> prefixes;
  for (int64_t b = 0; b < c.dims.batch; ++b) {
    q_lengths.push_back(c.QueryEnd(b));
    kv_lengths.push_back(c.KeyEnd(b));
    prefixes.push_back(std::min(ForEntry(c.options.prefix_lengths, b, 0), c.KeyEnd(b)));
  }
  RequestCase out = CropCase(c, 0, c.dims.batch, *std::max_element(q_lengths.begin(), q_lengths.end()),
                             *std::max_element(kv_lengths.begin(), kv_lengths.end()));
  out.layout = Layout::kPacked;
  out.compact = false;
  out.options.q_lengths = q_lengths;
  out.options.kv_lengths = kv_lengths;
  if (!c.options.prefix_lengths.empty()) out.options.prefix_lengths = prefixes;
  if (c.options.alignment == Alignment::kUnset) out.options.alignment = Alignment::kTopLeft;
  if (out.outputs.weights) out.outputs.weights->rows.clear();
  return out;
}

}  // namespace attnd
