#include "tests/conformance/onnx_case.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/linear/safetensors.h"
#include "tests/conformance/onnx_tensors.h"

namespace attnd {
namespace {

absl::Status NotKnown(const std::string& what) { return absl::UnimplementedError(what); }
absl::Status Broken(const std::string& what) { return absl::InvalidArgumentError(what); }

// The operator's attributes, with the specification's defaults.
struct Attributes {
  int64_t is_causal = 0;
  int64_t q_num_heads = 0;
  int64_t kv_num_heads = 0;
  int64_t qk_matmul_output_mode = 0;
  // 0 for the inputs' type, or a number of TensorProto.DataType.
  int64_t softmax_precision = 0;
  int64_t left_window_size = -1;
  int64_t right_window_size = -1;
  // No cap.
  float softcap = 0;
  // 1 / sqrt(head_size).
  std::optional<float> scale;
};

absl::StatusOr<Attributes> ReadAttributes(const Safetensors& file) {
  Attributes attributes;
  const std::map<std::string_view, int64_t*> integers = {
      {"is_causal", &attributes.is_causal},
      {"q_num_heads", &attributes.q_num_heads},
      {"kv_num_heads", &attributes.kv_num_heads},
      {"qk_matmul_output_mode", &attributes.qk_matmul_output_mode},
      {"softmax_precision", &attributes.softmax_precision},
      {"left_window_size", &attributes.left_window_size},
      {"right_window_size", &attributes.right_window_size},
  };
  const std::map<std::string_view, float*> numbers = {{"softcap", &attributes.softcap},
                                                      {"scale", &attributes.scale.emplace()}};
  if (!file.metadata().contains("operator")) return Broken("does not name its operator");
  for (const auto& [name, text] : file.metadata()) {
    bool known = name == "opset" || (name == "operator" && text == "Attention");
    if (const auto integer = integers.find(name); integer != integers.end()) {
      known = absl::SimpleAtoi(text, integer->second);
    } else if (const auto number = numbers.find(name); number != numbers.end()) {
      known = absl::SimpleAtof(text, number->second);
    }
    if (!known) return NotKnown(absl::StrCat(name, " = ", text));
  }
  if (!file.metadata().contains("scale")) attributes.scale.reset();
  // FLOAT, FLOAT16, DOUBLE, BFLOAT16: a float32 softmax is within what any of them is held to.
  constexpr std::array<int64_t, 5> kPrecisions = {0, 1, 10, 11, 16};
  if (std::find(kPrecisions.begin(), kPrecisions.end(), attributes.softmax_precision) == kPrecisions.end()) {
    return NotKnown(absl::StrCat("softmax_precision = ", attributes.softmax_precision));
  }
  return attributes;
}

using Tensors = std::map<std::string, OwnedTensor>;

absl::StatusOr<Tensors> ReadTensors(const Safetensors& file) {
  constexpr std::array<std::string_view, 10> kKnown = {
      "Q", "K", "V", "attn_mask", "past_key", "past_value", "Y", "present_key", "present_value", "qk_matmul_output"};
  Tensors tensors;
  for (const StoredTensor& tensor : file.tensors()) {
    if (tensor.name == "nonpad_kv_seqlen") continue;
    if (std::find(kKnown.begin(), kKnown.end(), tensor.name) == kKnown.end()) return NotKnown("tensor " + tensor.name);
    auto owned = ToOwned(tensor);
    if (!owned.ok()) return owned.status();
    tensors[tensor.name] = *std::move(owned);
  }
  for (const char* name : {"Q", "K", "V", "Y"}) {
    if (!tensors.contains(name)) return Broken(absl::StrCat("has no tensor ", name));
  }
  if (tensors["Q"].shape.size() != tensors["K"].shape.size() || tensors["Q"].shape.size() < 3) {
    return Broken("Q and K are not of one rank, 3 or 4");
  }
  return tensors;
}

// A case on its way to a request.
struct Parts {
  Attributes attributes;
  Tensors tensors;
  // Empty if the case has none.
  std::vector<int64_t> nonpad_kv_seqlen;
  int64_t past_len = 0;
  int64_t q_len = 0;
  int64_t kv_len = 0;
};

// Puts `past` in front of `name`, and compares the whole with `present`.
absl::Status JoinPast(const std::string& name, const std::string& past, const std::string& present, Parts* parts) {
  OwnedTensor& current = parts->tensors[name];
  const bool is_3d = current.shape.size() == 3;
  const int64_t heads = parts->attributes.kv_num_heads;
  if (is_3d) {
    if (heads < 1 || current.shape[2] % heads != 0) return Broken("kv_num_heads does not divide " + name);
    current.shape = {current.shape[0], current.shape[1], heads, current.shape[2] / heads};
  }
  OwnedTensor whole = is_3d ? SwapMiddle(current) : current;
  if (parts->tensors.contains(past)) {
    const OwnedTensor& before = parts->tensors[past];
    auto joined = Join(before, whole);
    if (!joined.ok()) return joined.status();
    whole = *std::move(joined);
    parts->past_len = before.shape[2];
  }
  if (parts->tensors.contains(present)) {
    const OwnedTensor& expected = parts->tensors[present];
    if (expected.shape != whole.shape || expected.bytes != whole.bytes) {
      return Broken(absl::StrCat(past, " and ", name, " are not ", present));
    }
  }
  current = is_3d ? SwapMiddle(whole) : std::move(whole);
  if (is_3d) current.shape = {current.shape[0], current.shape[1], current.shape[2] * current.shape[3]};
  return absl::OkStatus();
}

absl::StatusOr<Parts> ReadParts(const Safetensors& file) {
  Parts parts;
  auto attributes = ReadAttributes(file);
  if (!attributes.ok()) return attributes.status();
  parts.attributes = *std::move(attributes);
  auto tensors = ReadTensors(file);
  if (!tensors.ok()) return tensors.status();
  parts.tensors = *std::move(tensors);
  for (const auto& [name, past, present] :
       {std::array{"K", "past_key", "present_key"}, std::array{"V", "past_value", "present_value"}}) {
    if (absl::Status status = JoinPast(name, past, present, &parts); !status.ok()) return status;
  }
  if (const StoredTensor* lengths = file.Find("nonpad_kv_seqlen"); lengths != nullptr) {
    if (lengths->dtype != StoredType::kI64) return Broken("nonpad_kv_seqlen is not I64");
    if (parts.past_len > 0) return Broken("nonpad_kv_seqlen and past_key exclude each other");
    parts.nonpad_kv_seqlen.resize(lengths->bytes.size() / sizeof(int64_t));
    std::memcpy(parts.nonpad_kv_seqlen.data(), lengths->bytes.data(), lengths->bytes.size());
  }
  const size_t len_at = parts.tensors["Q"].shape.size() == 4 ? 2 : 1;
  parts.q_len = parts.tensors["Q"].shape.at(len_at);
  parts.kv_len = parts.tensors["K"].shape.at(len_at);
  return parts;
}

// Position of query 0, for is_causal and windows: what precedes the queries in the cache,
// past_key's length or nonpad_kv_seqlen[b] - q_len; without a cache 0, whatever the lengths.
std::vector<int64_t> OffsetsOf(const Parts& parts) {
  if (parts.nonpad_kv_seqlen.empty()) return {parts.past_len};
  std::vector<int64_t> offsets = parts.nonpad_kv_seqlen;
  for (int64_t& offset : offsets) offset -= parts.q_len;
  return offsets;
}

void SetVisibility(const Parts& parts, AttentionOptions* options) {
  const Attributes& attributes = parts.attributes;
  options->causal = attributes.is_causal != 0;
  if (attributes.left_window_size >= 0 || attributes.right_window_size >= 0) {
    Window& window = options->window.emplace();
    if (attributes.left_window_size >= 0) window.left = attributes.left_window_size;
    if (attributes.right_window_size >= 0) window.right = attributes.right_window_size;
  }
  if (options->causal || options->window.has_value()) {
    options->alignment = Alignment::kOffset;
    options->q_offset = OffsetsOf(parts);
  }
  options->kv_lengths = parts.nonpad_kv_seqlen;
}

void SetMask(Parts* parts, AttentionOptions* options) {
  const auto found = parts->tensors.find("attn_mask");
  if (found == parts->tensors.end()) return;
  OwnedTensor& mask = found->second;
  // Even one column is filled up, not repeated.
  if (!mask.shape.empty() && mask.shape.back() < parts->kv_len) mask = FillUp(mask, parts->kv_len);
  if (mask.dtype == DataType::kBool) {
    options->masks.push_back({mask.View(), Polarity::kKeep});
  } else {
    options->biases.push_back(mask.View());
  }
}

absl::Status SetOutputs(const Parts& parts, OnnxCase* onnx) {
  const auto result = [&parts](const std::string& name) {
    const OwnedTensor& tensor = parts.tensors.at(name);
    return OnnxResult{tensor.dtype, tensor.shape, NumbersOf(tensor)};
  };
  onnx->output = result("Y");
  if (!parts.tensors.contains("qk_matmul_output")) return absl::OkStatus();
  constexpr std::array kStages = {ScoreStage::kScaled, ScoreStage::kCapped, ScoreStage::kBiased};
  constexpr int64_t kWeights = 3;
  const int64_t mode = parts.attributes.qk_matmul_output_mode;
  if (mode < 0 || mode > kWeights) return NotKnown(absl::StrCat("qk_matmul_output_mode = ", mode));
  if (mode == kWeights) {
    onnx->weights = result("qk_matmul_output");
    onnx->request.outputs.weights.emplace();
  } else {
    onnx->scores = result("qk_matmul_output");
    onnx->request.outputs.scores = kStages.at(static_cast<size_t>(mode));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OnnxCase> ReadOnnxCase(const std::string& path) {
  const auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();
  auto read = ReadParts(*file);
  if (!read.ok()) return read.status();
  const auto parts = std::make_shared<Parts>(*std::move(read));

  OnnxCase onnx;
  AttentionRequest& request = onnx.request;
  SetVisibility(*parts, &request.options);
  SetMask(parts.get(), &request.options);
  if (absl::Status status = SetOutputs(*parts, &onnx); !status.ok()) return status;
  const Attributes& attributes = parts->attributes;
  request.options.scale = attributes.scale;
  if (attributes.softcap != 0) request.options.softcap = attributes.softcap;
  if (parts->tensors["Q"].shape.size() == 3) request.layout = Layout::kTokensFirst;
  if (attributes.q_num_heads != 0) request.heads = attributes.q_num_heads;
  if (attributes.kv_num_heads != 0) request.kv_heads = attributes.kv_num_heads;
  request.query = parts->tensors["Q"].View();
  request.key = parts->tensors["K"].View();
  request.value = parts->tensors["V"].View();
  request.owner = parts;
  return onnx;
}

}  // namespace attnd
