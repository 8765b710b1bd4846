#include "tests/conformance/onnx_case.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string_view>
#include <utility>

namespace attnd {
namespace {

namespace fs = std::filesystem;

// Tensors that requests can express.
constexpr std::string_view kKnown[] = {"Q", "K", "V", "nonpad_kv_seqlen", "Y", "qk_matmul_output"};

absl::Status NotYet(const std::string& what) { return absl::UnimplementedError(what); }
absl::Status Broken(const std::string& what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<TensorView> ViewOf(const Safetensors& file, const std::string& name) {
  const StoredTensor* tensor = file.Find(name);
  if (tensor == nullptr) return Broken("has no tensor " + name);
  if (tensor->dtype != StoredType::kF32) return NotYet(name + " is " + StoredTypeName(tensor->dtype));
  return TensorView{DataType::kFloat32, tensor->shape, Fragments(tensor->bytes)};
}

std::vector<double> DoublesOf(const StoredTensor& tensor) {
  std::vector<float> floats(tensor.bytes.size() / sizeof(float));
  if (!floats.empty()) std::memcpy(floats.data(), tensor.bytes.data(), floats.size() * sizeof(float));
  return {floats.begin(), floats.end()};
}

// Keys beyond nonpad_kv_seqlen[b] are hidden. Together with causal, whose offset then is
// nonpad_kv_seqlen[b] - q_len, that is the causal rule alone.
absl::Status TakeLengths(const Safetensors& file, AttentionRequest& request) {
  const StoredTensor* lengths = file.Find("nonpad_kv_seqlen");
  if (lengths == nullptr) return absl::OkStatus();
  if (!request.options.causal) return NotYet("nonpad_kv_seqlen without is_causal");
  if (lengths->dtype != StoredType::kI64) return Broken("nonpad_kv_seqlen is not I64");
  const int64_t q_len = request.query.shape[request.layout == Layout::kHeadsFirst ? 2 : 1];
  std::vector<int64_t> offsets(lengths->bytes.size() / sizeof(int64_t));
  std::memcpy(offsets.data(), lengths->bytes.data(), lengths->bytes.size());
  for (int64_t& offset : offsets) offset -= q_len;
  request.options.alignment = Alignment::kOffset;
  request.options.q_offset = std::move(offsets);
  return absl::OkStatus();
}

absl::Status TakeAttributes(const Safetensors& file, OnnxCase& onnx) {
  AttentionRequest& request = onnx.request;
  for (const auto& [name, value] : file.metadata()) {
    if (name == "operator" || name == "opset") continue;
    if (name == "softmax_precision" && value == "1") continue;
    if (name == "is_causal") {
      request.options.causal = value != "0";
    } else if (name == "scale") {
      request.options.scale = std::stof(value);
    } else if (name == "q_num_heads") {
      request.heads = std::stoll(value);
    } else if (name == "kv_num_heads") {
      request.kv_heads = std::stoll(value);
    } else if (name == "qk_matmul_output_mode") {
      if (value != "3") return NotYet("qk_matmul_output_mode " + value);
    } else {
      return NotYet("attribute " + name);
    }
  }
  // Without a cache the operator aligns to the top left, whatever the lengths.
  if (request.options.causal) request.options.alignment = Alignment::kTopLeft;
  return absl::OkStatus();
}

absl::Status TakeTensors(const Safetensors& file, OnnxCase& onnx) {
  for (const StoredTensor& tensor : file.tensors()) {
    const bool known = std::find(std::begin(kKnown), std::end(kKnown), tensor.name) != std::end(kKnown);
    if (!known) return NotYet("tensor " + tensor.name);
  }
  for (const auto& [name, view] :
       {std::pair{"Q", &onnx.request.query}, std::pair{"K", &onnx.request.key}, std::pair{"V", &onnx.request.value}}) {
    auto tensor = ViewOf(file, name);
    if (!tensor.ok()) return tensor.status();
    *view = *std::move(tensor);
  }
  if (onnx.request.query.shape.size() == 3) onnx.request.layout = Layout::kTokensFirst;
  const StoredTensor* output = file.Find("Y");
  if (output == nullptr) return Broken("has no tensor Y");
  onnx.output = DoublesOf(*output);
  if (const StoredTensor* weights = file.Find("qk_matmul_output"); weights != nullptr) {
    if (!file.metadata().contains("qk_matmul_output_mode")) return NotYet("qk_matmul_output_mode 0");
    onnx.weights = DoublesOf(*weights);
    onnx.request.outputs.weights = true;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> OnnxDirectories() {
  const char* named = std::getenv("ATTND_CONFORMANCE_DIRS");  // NOLINT(concurrency-mt-unsafe): nobody sets it
  std::istringstream list(named != nullptr ? named : std::string(ATTND_SOURCE_DIR) + "/../shared/conformance/onnx");
  std::vector<std::string> directories;
  for (std::string directory; std::getline(list, directory, ':');) {
    if (fs::is_directory(directory)) directories.push_back(directory);
  }
  return directories;
}

std::vector<std::string> OnnxFiles(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<OnnxCase> ReadOnnxCase(const std::string& path) {
  auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();
  OnnxCase onnx;
  onnx.name = fs::path(path).stem().string();
  onnx.file = *std::move(file);
  const auto operator_name = onnx.file.metadata().find("operator");
  if (operator_name == onnx.file.metadata().end() || operator_name->second != "Attention") {
    return NotYet("not a case of the operator Attention");
  }
  for (const auto step : {TakeAttributes, TakeTensors}) {
    if (absl::Status status = step(onnx.file, onnx); !status.ok()) return status;
  }
  if (absl::Status status = TakeLengths(onnx.file, onnx.request); !status.ok()) return status;
  return onnx;
}

}  // namespace attnd
