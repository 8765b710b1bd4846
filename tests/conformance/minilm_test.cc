// Two layers of a real model, all-MiniLM-L6-v2, every intermediate, over the wire.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/conformance/recorded_multihead.h"
#include "tests/conformance/vector_files.h"
#include "tests/support/compare.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int kHeads = 12;
constexpr float kEpsilon = 1e-12F;

// Of a sequence, by its length: [heads, len, dim], [len, width], [heads, len, len].
enum class Kind { kHeadRows, kRows, kPairs };

// What is compared. Tolerances are some four times the error of a float32 implementation.
struct Intermediate {
  // In the recorded activations, behind "layer0." or "layer5.".
  const char* recorded;
  // In `explain`; nullptr for output and weights.
  const char* explained;
  Kind kind;
  double tolerance0;
  double tolerance5;
};
constexpr Intermediate kIntermediates[] = {
    {"q", "query", Kind::kHeadRows, 3e-5, 1.5e-5},
    {"k", "key", Kind::kHeadRows, 3e-5, 1.5e-5},
    {"v", "value", Kind::kHeadRows, 1e-5, 1.5e-5},
    {"attn", nullptr, Kind::kPairs, 5e-6, 5e-6},
    {"context", "context", Kind::kRows, 1e-5, 1e-5},
    {"attn_out", "attention", Kind::kRows, 1.5e-5, 1.5e-5},
    {"attn_norm", "attention_norm", Kind::kRows, 1e-5, 1e-5},
    {"output", nullptr, Kind::kRows, 1e-5, 1e-5},
};

// Names of the model's tensors, behind "encoder.layer.0." or "encoder.layer.5.".
const std::map<std::string, std::string> kAttentionRoles = {
    {"attention.self.query.weight", "w_query"},
    {"attention.self.query.bias", "b_query"},
    {"attention.self.key.weight", "w_key"},
    {"attention.self.key.bias", "b_key"},
    {"attention.self.value.weight", "w_value"},
    {"attention.self.value.bias", "b_value"},
    {"attention.output.dense.weight", "w_output"},
    {"attention.output.dense.bias", "b_output"},
    {"attention.output.LayerNorm.weight", "block.attention_norm_scale"},
    {"attention.output.LayerNorm.bias", "block.attention_norm_shift"},
};
const std::map<std::string, std::string> kFfnRoles = {
    {"intermediate.dense.weight", "block.w_up"},
    {"intermediate.dense.bias", "block.b_up"},
    {"output.dense.weight", "block.w_down"},
    {"output.dense.bias", "block.b_down"},
    {"output.LayerNorm.weight", "block.ffn_norm_scale"},
    {"output.LayerNorm.bias", "block.ffn_norm_shift"},
};

template <typename T>
std::vector<T> ElementsOf(const StoredTensor& tensor) {
  std::vector<T> elements(tensor.bytes.size() / sizeof(T));
  std::memcpy(elements.data(), tensor.bytes.data(), tensor.bytes.size());
  return elements;
}

// The valid rows of a padded tensor, as a PACKED result has them.
std::vector<float> ValidRows(std::span<const float> padded, std::span<const int64_t> shape, Kind kind,
                             std::span<const int64_t> lengths) {
  std::vector<float> valid;
  const auto copy = [&](int64_t from, int64_t count) {
    const auto* begin = padded.data() + from;
    valid.insert(valid.end(), begin, begin + count);
  };
  for (int64_t b = 0; b < shape[0]; ++b) {
    const int64_t length = lengths[static_cast<size_t>(b)];
    if (kind == Kind::kRows) {
      copy(b * shape[1] * shape[2], length * shape[2]);
      continue;
    }
    const auto row = [&](int64_t h, int64_t i) { return ((b * shape[1] + h) * shape[2] + i) * shape[3]; };
    for (int64_t outer = 0; outer < (kind == Kind::kPairs ? shape[1] : length); ++outer) {
      for (int64_t inner = 0; inner < (kind == Kind::kPairs ? length : shape[1]); ++inner) {
        if (kind == Kind::kPairs) {
          copy(row(outer, inner), length);
        } else {
          copy(row(inner, outer), shape[3]);
        }
      }
    }
  }
  return valid;
}

// The vectors, read; empty if they are not at hand.
struct Vectors {
  std::vector<Safetensors> files;

  [[nodiscard]] const StoredTensor* Find(const std::string& name) const {
    for (const Safetensors& file : files) {
      if (const StoredTensor* tensor = file.Find(name); tensor != nullptr) return tensor;
    }
    return nullptr;
  }
};

class MiniLmTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& directory :
         VectorDirectories(ATTND_SOURCE_DIR "/../shared/conformance/minilm", "ATTND_MINILM_DIR")) {
      for (const std::string& path : SafetensorsIn(directory)) {
        auto file = Safetensors::Read(path);
        ASSERT_THAT(file, IsOk());
        vectors_.files.push_back(*std::move(file));
      }
    }
    if (vectors_.files.empty()) return;
    const StoredTensor* lengths = vectors_.Find("lengths");
    ASSERT_NE(lengths, nullptr);
    for (const int32_t length : ElementsOf<int32_t>(*lengths)) lengths_.push_back(length);
  }

  [[nodiscard]] const StoredTensor& Recorded(int layer, const std::string& name) const {
    return *vectors_.Find(absl::StrCat("layer", layer, ".", name));
  }

  // Sets the weights of those names; false if one is not there.
  bool SetWeights(int layer, const std::map<std::string, std::string>& roles, v1::ProjectionWeights* weights) const {
    return std::all_of(roles.begin(), roles.end(), [&](const auto& named) {
      const StoredTensor* tensor = vectors_.Find(absl::StrCat("encoder.layer.", layer, ".", named.first));
      return tensor != nullptr && SetRole(named.second, *tensor, weights).ok();
    });
  }

  // A layer as far as its weights are recorded: the last one's go as far as the first norm.
  v1::MultiHeadAttendRequest RequestFor(int layer, bool packed) const {
    v1::MultiHeadAttendRequest request;
    const StoredTensor& input = Recorded(layer, "input");
    const auto elements = ElementsOf<float>(input);
    const auto rows = packed ? ValidRows(elements, input.shape, Kind::kRows, lengths_) : elements;
    request.mutable_query()->set_data(rows.data(), rows.size() * sizeof(float));
    const int64_t width = input.shape[2];
    const std::vector<int64_t> packed_shape = {static_cast<int64_t>(rows.size()) / width, width};
    const auto& shape = packed ? packed_shape : input.shape;
    request.mutable_query()->mutable_shape()->Add(shape.begin(), shape.end());
    if (packed) request.set_layout(v1::LAYOUT_PACKED);
    request.mutable_options()->mutable_q_lengths()->Add(lengths_.begin(), lengths_.end());
    request.mutable_options()->mutable_kv_lengths()->Add(lengths_.begin(), lengths_.end());
    request.set_heads(kHeads);
    request.mutable_outputs()->mutable_weights();
    request.mutable_outputs()->mutable_explain();
    v1::ProjectionWeights* weights = request.mutable_inline_();
    weights->set_orientation(v1::ProjectionWeights::ORIENTATION_OUT_IN);
    EXPECT_TRUE(SetWeights(layer, kAttentionRoles, weights)) << layer;
    v1::TransformerBlock* block = request.mutable_block();
    block->set_norm_placement(v1::TransformerBlock::NORM_PLACEMENT_POST);
    block->set_norm(v1::TransformerBlock::NORM_LAYER_NORM);
    block->set_norm_epsilon(kEpsilon);
    if (layer != 0) return request;
    EXPECT_TRUE(SetWeights(layer, kFfnRoles, weights));
    block->set_activation(v1::TransformerBlock::ACTIVATION_GELU);
    return request;
  }

  static const v1::Tensor* Result(const v1::MultiHeadAttendResponse& response, const Intermediate& intermediate) {
    if (intermediate.explained == nullptr) {
      return intermediate.kind == Kind::kPairs ? &response.weights() : &response.output();
    }
    for (const v1::NamedTensor& named : response.explain()) {
      if (named.name() == intermediate.explained) return &named.tensor();
    }
    return nullptr;
  }

  void Compare(int layer, bool packed, const char* recorded, const Intermediate& what, const v1::Tensor* actual) {
    SCOPED_TRACE(absl::StrCat("layer", layer, ".", recorded, packed ? " packed" : " padded"));
    ++tensors_;
    ASSERT_NE(actual, nullptr) << "is not in the response";
    const std::vector<int64_t> shape(actual->shape().begin(), actual->shape().end());
    const StoredTensor& stored = Recorded(layer, recorded);
    std::vector<float> values = FloatsOf(*actual);
    if (!packed) {
      ASSERT_EQ(shape, stored.shape);
      values = ValidRows(values, shape, what.kind, lengths_);
    }
    const auto valid = ValidRows(ElementsOf<float>(stored), stored.shape, what.kind, lengths_);
    const double tolerance = layer == 0 ? what.tolerance0 : what.tolerance5;
    const std::vector<double> expected(valid.begin(), valid.end());
    const std::vector<int64_t> flat = {static_cast<int64_t>(valid.size())};
    const auto verdict = AlmostEqual(values, expected, tolerance, flat);
    EXPECT_TRUE(verdict);
    if (!verdict) return;
    ++right_;
    const double share = WorstError(values, expected) / tolerance;
    if (share <= worst_share_) return;
    worst_share_ = share;
    worst_ = absl::StrCat("layer", layer, ".", recorded, packed ? ", packed" : ", padded");
  }

  Vectors vectors_;
  std::vector<int64_t> lengths_;
  int tensors_ = 0;
  int right_ = 0;
  double worst_share_ = 0;
  std::string worst_;
};

TEST_F(MiniLmTest, ServerReproducesTheLayersAtHand) {
  if (vectors_.files.empty()) {
    std::cout << "conformance: minilm: vectors not at hand; set ATTND_MINILM_DIR to a directory that holds them\n";
    return;
  }
  const RunningServer server;
  for (const int layer : {0, 5}) {
    for (const bool packed : {false, true}) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + kPatience);
      v1::MultiHeadAttendResponse response;
      const grpc::Status status = server.attention().MultiHeadAttend(&context, RequestFor(layer, packed), &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      for (const Intermediate& what : kIntermediates) {
        const bool is_output = std::string(what.recorded) == "output";
        const char* recorded = is_output && layer != 0 ? "attn_norm" : what.recorded;
        Compare(layer, packed, recorded, what, Result(response, what));
      }
    }
  }
  std::cout << "conformance: minilm: " << right_ << " of " << tensors_ << " tensors, worst error " << worst_share_
            << " of what is allowed (" << worst_ << ")\n";
}

}  // namespace
}  // namespace attnd
