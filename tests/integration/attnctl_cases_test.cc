// Cases that are nothing but a file, through attnctl and a server, against the oracle.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "client/attnctl/case.h"
#include "client/attnctl/cli.h"
#include "core/attention/reference.h"
#include "core/attention/simd_rows.h"
#include "core/linear/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using Texts = std::map<std::string, std::string>;

DataType TypeOf(StoredType dtype) {
  if (dtype == StoredType::kF16) return DataType::kFloat16;
  return dtype == StoredType::kBf16 ? DataType::kBfloat16 : DataType::kFloat32;
}

// Numbers between -1 and 1 without a pattern, and bytes of 0 and 1.
std::vector<float> Numbers(size_t count) {
  std::vector<float> numbers(count);
  uint32_t state = 12345;
  for (float& number : numbers) {
    state = state * 1664525U + 1013904223U;
    number = static_cast<float>(state >> 8) / 8388608.0F - 1;
  }
  return numbers;
}
std::vector<uint8_t> Flags(size_t count) {
  std::vector<uint8_t> flags(count);
  for (size_t i = 0; i < count; ++i) flags[i] = i % 3 != 1 ? 1 : 0;
  return flags;
}

// A case file under construction; owns what it lists.
class CaseFile {
 public:
  CaseFile& Floats(const std::string& name, std::vector<int64_t> shape, StoredType dtype = StoredType::kF32) {
    const std::vector<float> numbers = Numbers(Count(shape));
    auto& bytes = storage_.emplace_back(numbers.size() * StoredTypeSize(dtype));
    simd::StoreRow(numbers.data(), static_cast<int64_t>(numbers.size()), TypeOf(dtype), bytes.data());
    return Add(name, dtype, std::move(shape));
  }
  CaseFile& Mask(const std::string& name, std::vector<int64_t> shape, StoredType dtype = StoredType::kBool) {
    const std::vector<uint8_t> flags = Flags(Count(shape));
    const auto bytes = std::as_bytes(std::span(flags));
    storage_.emplace_back(bytes.begin(), bytes.end());
    return Add(name, dtype, std::move(shape));
  }
  CaseFile& Options(Texts options) {
    options_ = std::move(options);
    return *this;
  }

  void Write(const std::string& path) const {
    std::vector<StoredTensor> tensors;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      tensors.push_back(tensors_[i]);
      tensors.back().bytes = storage_[i];
    }
    ASSERT_THAT(WriteSafetensors(path, tensors, options_), IsOk());
  }

 private:
  static size_t Count(const std::vector<int64_t>& shape) {
    size_t count = 1;
    for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
    return count;
  }
  CaseFile& Add(const std::string& name, StoredType dtype, std::vector<int64_t> shape) {
    tensors_.push_back({name, dtype, std::move(shape), {}});
    return *this;
  }

  std::vector<std::vector<std::byte>> storage_;
  std::vector<StoredTensor> tensors_;
  Texts options_;
};

// [2, 4, 5, 8] queries, two key heads of 9 keys, value_dim 6.
CaseFile Tensors(StoredType dtype = StoredType::kF32) {
  CaseFile file;
  file.Floats("query", {2, 4, 5, 8}, dtype).Floats("key", {2, 2, 9, 8}, dtype).Floats("value", {2, 2, 9, 6}, dtype);
  return file;
}

class AttnctlCasesTest : public testing::Test {
 protected:
  // Runs the case and compares whatever it returns.
  void Check(const CaseFile& file) {
    attnctl::CaseSource source;
    source.input = TempPath("case.safetensors");
    file.Write(source.input);
    const std::string output = TempPath("out.safetensors");
    const std::array arguments = {"attnctl",  "--server",    server_.address().c_str(),
                                  "attend",   "--input",     source.input.c_str(),
                                  "--output", output.c_str()};
    std::ostringstream out;
    std::ostringstream err;
    ASSERT_EQ(attnctl::Run(static_cast<int>(arguments.size()), arguments.data(), out, err), 0) << err.str();

    const auto asked = attnctl::LoadCase(source);
    ASSERT_THAT(asked, IsOk());
    const auto exact = ReferenceAttention<double>(asked->request);
    const auto results = Safetensors::Read(output);
    ASSERT_THAT(results, IsOk());
    const double bound = OutputTolerance(asked->request, exact);
    Compare(*results, "output", HeadsFirstAsAsked(asked->request, exact.output), bound);
    // Logits of this size are off by less than this, and weights by less than twice as much.
    constexpr double kBound = 1e-5;
    Compare(*results, "lse", exact.lse, kBound);
    Compare(*results, "weights", exact.weights, kBound);
    Compare(*results, "scores", exact.scores, kBound);
  }

 private:
  // The oracle's output is heads first; a 4-D one in TOKENS_FIRST has the middle swapped.
  static std::vector<double> HeadsFirstAsAsked(const AttentionRequest& request, const std::vector<double>& output) {
    if (request.layout == Layout::kHeadsFirst) return output;
    std::vector<double> swapped;
    const auto& q = request.query.shape;
    const bool packed = request.layout == Layout::kPacked;
    const auto heads = static_cast<size_t>(packed ? q[1] : q[2]);
    std::vector<int64_t> lengths = request.options.q_lengths;
    if (!packed) lengths.assign(static_cast<size_t>(q[0]), q[1]);
    const auto dim = static_cast<size_t>(request.value.shape.back());
    size_t begin = 0;
    for (const int64_t length : lengths) {
      const auto len = static_cast<size_t>(length);
      for (size_t i = 0; i < len; ++i) {
        for (size_t h = 0; h < heads; ++h) {
          const auto row = output.begin() + static_cast<int64_t>(begin + (h * len + i) * dim);
          swapped.insert(swapped.end(), row, row + static_cast<int64_t>(dim));
        }
      }
      begin += len * heads * dim;
    }
    return swapped;
  }

  static void Compare(const Safetensors& results, const std::string& name, const std::vector<double>& expected,
                      double bound) {
    const StoredTensor* stored = results.Find(name);
    if (stored == nullptr) return;
    SCOPED_TRACE(name);
    std::vector<float> actual(stored->bytes.size() / StoredTypeSize(stored->dtype));
    simd::LoadRow(stored->bytes.data(), TypeOf(stored->dtype), static_cast<int64_t>(actual.size()), actual.data());
    EXPECT_TRUE(AlmostEqual(actual, expected, bound, stored->shape));
  }

  RunningServer server_;
};

TEST_F(AttnctlCasesTest, PositionsAndLengths) {
  const Texts all = {{"outputs", "lse,weights"}};
  for (const Texts& options : {
           Texts{{"causal", "top_left"}},
           Texts{{"causal", "bottom_right"}, {"window_left", "2"}},
           Texts{{"causal", "4,-2"}, {"k_offset", "1"}, {"prefix_lengths", "0,3"}},
           Texts{{"alignment", "bottom_right"}, {"window_left", "1"}, {"window_right", "2"}},
           Texts{{"q_lengths", "3,5"}, {"kv_lengths", "9,0"}, {"kv_starts", "2,0"}},
           Texts{{"rope_style", "half"}, {"alignment", "bottom_right"}, {"rope_theta", "100"}},
           Texts{{"rope_style", "interleaved"}, {"rope_rotary_dim", "4"}, {"alignment", "top_left"}},
           Texts{{"alibi_slopes", "0.5,0.25,0.125,0.0625"}, {"alignment", "offset"}, {"q_offset", "4"}},
           Texts{{"scale", "-0.5"}, {"softcap", "2"}, {"sinks", "0,1,-1,2"}},
           Texts{{"query_ids", "0,0,1,1,2,0,0,0,0,0"}, {"key_ids", "0,0,0,1,1,1,2,2,2,0,0,0,0,0,1,1,1,1"}},
       }) {
    Texts with_outputs = options;
    with_outputs.insert(all.begin(), all.end());
    SCOPED_TRACE(options.begin()->first + "=" + options.begin()->second);
    Check(Tensors().Options(with_outputs));
  }
}

TEST_F(AttnctlCasesTest, MasksAndBiases) {
  const Texts outputs = {{"outputs", "lse,weights"}};
  Texts options = outputs;
  options["mask_polarity"] = "keep,drop";
  Check(Tensors().Mask("mask.0", {5, 9}).Mask("mask.1", {2, 1, 1, 9}).Floats("bias", {4, 1, 9}).Options(options));
  options["mask_polarity"] = "keep";
  options["mask_bits"] = "9";
  Check(Tensors().Mask("mask", {4, 5, 2}, StoredType::kU8).Options(options));
  Check(Tensors().Floats("bias.0", {5, 9}).Floats("bias.1", {2, 1, 5, 1}, StoredType::kF16).Options(outputs));
}

TEST_F(AttnctlCasesTest, ScoresAtEveryStage) {
  for (const char* stage : {"unscaled", "scaled", "capped", "biased"}) {
    SCOPED_TRACE(stage);
    Check(Tensors()
              .Floats("bias", {5, 9})
              .Options({{"outputs", "scores"}, {"score_stage", stage}, {"softcap", "1"}, {"causal", "bottom_right"}}));
  }
}

TEST_F(AttnctlCasesTest, Types) {
  for (const StoredType dtype : {StoredType::kF16, StoredType::kBf16}) {
    SCOPED_TRACE(StoredTypeName(dtype));
    Check(Tensors(dtype).Options({{"causal", "bottom_right"}}));
    Check(Tensors(dtype).Options({{"output_dtype", "float32"}, {"outputs", "lse,weights"}}));
  }
  Check(Tensors().Options({{"output_dtype", "bfloat16"}}));
}

TEST_F(AttnctlCasesTest, Layouts) {
  CaseFile tokens_first;
  tokens_first.Floats("query", {2, 5, 4, 8}).Floats("key", {2, 9, 2, 8}).Floats("value", {2, 9, 2, 6});
  Check(tokens_first.Options({{"layout", "tokens_first"}, {"outputs", "lse,weights"}}));
  CaseFile packed;
  packed.Floats("query", {5, 4, 8}).Floats("key", {9, 2, 8}).Floats("value", {9, 2, 6});
  Check(packed.Options({{"layout", "packed"},
                        {"q_lengths", "3,2"},
                        {"kv_lengths", "4,5"},
                        {"causal", "bottom_right"},
                        {"outputs", "weights,scores"},
                        {"score_stage", "scaled"}}));
}

}  // namespace
}  // namespace attnd
