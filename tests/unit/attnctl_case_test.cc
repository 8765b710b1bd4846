#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "client/address.h"
#include "client/attnctl/case.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Texts = std::map<std::string, std::string>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Zeros enough for every tensor here.
constexpr std::array<std::byte, 256> kZeros = {};

StoredTensor Zeros(const std::string& name, StoredType dtype, std::vector<int64_t> shape) {
  const size_t bytes = StoredBytes(dtype, shape).value_or(0);
  return {name, dtype, std::move(shape), std::span(kZeros).first(bytes)};
}

std::vector<StoredTensor> Main(StoredType dtype = StoredType::kF32) {
  return {Zeros("query", dtype, {2, 2}), Zeros("key", dtype, {2, 2}), Zeros("value", dtype, {2, 2})};
}

std::vector<StoredTensor> MainAnd(const std::vector<StoredTensor>& more) {
  auto tensors = Main();
  tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

// Loads a case of these tensors and metadata, with flags.
absl::StatusOr<Case> Load(const std::vector<StoredTensor>& tensors, const Texts& metadata = {},
                          const FlagValues& flags = {}) {
  CaseSource source;
  source.input = TempPath("case.safetensors");
  source.flags = flags;
  EXPECT_THAT(WriteSafetensors(source.input, tensors, metadata), IsOk());
  if (auto usage = CheckUsage(source); !usage.ok()) return usage.status();
  return LoadCase(source);
}

// The request of a case with these options as metadata; the same must come of flags.
AttentionRequest RequestOf(const Texts& options) {
  const auto from_file = Load(Main(), options);
  FlagValues flags;
  for (const auto& [name, text] : options) flags[name] = {text};
  const auto from_flags = Load(Main(), {}, flags);
  EXPECT_THAT(from_file, IsOk());
  EXPECT_THAT(from_flags, IsOk());
  if (!from_file.ok() || !from_flags.ok()) return {};
  EXPECT_EQ(from_file->request.options.scale, from_flags->request.options.scale);
  EXPECT_EQ(from_file->request.options.alignment, from_flags->request.options.alignment);
  return from_flags->request;
}

std::string NpyOf(const std::string& name, const StoredTensor& array) {
  std::string path = TempPath(name);
  EXPECT_THAT(WriteNpy(path, array), IsOk());
  return path;
}

template <typename T>
StoredTensor Integers(const std::string& name, StoredType dtype, const std::vector<T>& values) {
  return {name, dtype, {1, static_cast<int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

std::vector<float> FloatsOf(const TensorView& tensor) {
  std::vector<float> floats(tensor.bytes.size() / sizeof(float));
  tensor.bytes.CopyTo(std::as_writable_bytes(std::span(floats)).data());
  return floats;
}

TEST(CaseOptionsTest, CausalSaysWhichPositionsLineUp) {
  EXPECT_TRUE(RequestOf({{"causal", ""}}).options.causal);
  EXPECT_EQ(RequestOf({{"causal", "true"}}).options.alignment, Alignment::kUnset);
  EXPECT_FALSE(RequestOf({{"causal", "false"}}).options.causal);
  for (const auto& [place, alignment] :
       {std::pair{"top_left", Alignment::kTopLeft}, std::pair{"bottom_right", Alignment::kBottomRight}}) {
    const AttentionOptions options = RequestOf({{"causal", place}}).options;
    EXPECT_TRUE(options.causal);
    EXPECT_EQ(options.alignment, alignment);
  }
  const AttentionOptions offset = RequestOf({{"causal", "-3,5"}}).options;
  EXPECT_TRUE(offset.causal);
  EXPECT_EQ(offset.alignment, Alignment::kOffset);
  EXPECT_THAT(offset.q_offset, ElementsAre(-3, 5));
}

TEST(CaseOptionsTest, CausalAndAlignmentMustAgree) {
  EXPECT_EQ(RequestOf({{"causal", "top_left"}, {"alignment", "top_left"}}).options.alignment, Alignment::kTopLeft);
  EXPECT_THAT(Load(Main(), {{"causal", "top_left"}, {"alignment", "bottom_right"}}),
              IsError(kInvalid,
                      "metadata 'causal': 'top_left' stands for alignment top_left, but alignment is "
                      "'bottom_right'"));
  EXPECT_THAT(Load(Main(), {}, {{"causal", {"2"}}, {"q_offset", {"3"}}}),
              IsError(kInvalid, "--causal: '2' stands for q_offset 2, but q_offset is '3'"));
}

TEST(CaseOptionsTest, ReadsEveryOptionThatIsText) {
  const AttentionRequest request = RequestOf({
      {"layout", "tokens_first"},
      {"heads", "8"},
      {"kv_heads", "2"},
      {"scale", "-0.125"},
      {"softcap", "30"},
      {"window_left", "0"},
      {"window_right", "7"},
      {"alignment", "offset"},
      {"q_offset", "-1,2"},
      {"k_offset", "4"},
      {"q_lengths", "1,2"},
      {"kv_lengths", "2,0"},
      {"kv_starts", "1"},
      {"prefix_lengths", "1"},
      {"query_ids", "0,1"},
      {"key_ids", "1,-1"},
      {"rope_style", "half"},
      {"rope_rotary_dim", "2"},
      {"rope_theta", "5e5"},
      {"rope_scaling_factor", "8"},
      {"query_positions", "10,11"},
      {"key_positions", "12,13"},
      {"alibi_slopes", "0.5,0.25"},
      {"sinks", "-1"},
      {"outputs", "lse,weights,scores"},
      {"weights_heads", "mean"},
      {"weights_rows", "1,0"},
      {"score_stage", "capped"},
      {"output_dtype", "bfloat16"},
  });
  EXPECT_EQ(request.layout, Layout::kTokensFirst);
  EXPECT_EQ(request.heads, 8);
  EXPECT_EQ(request.kv_heads, 2);
  const AttentionOptions& options = request.options;
  EXPECT_EQ(options.scale, -0.125F);
  EXPECT_EQ(options.softcap, 30.0F);
  ASSERT_TRUE(options.window.has_value());
  EXPECT_EQ(options.window->left, 0);
  EXPECT_EQ(options.window->right, 7);
  EXPECT_EQ(options.alignment, Alignment::kOffset);
  EXPECT_THAT(options.q_offset, ElementsAre(-1, 2));
  EXPECT_THAT(options.k_offset, ElementsAre(4));
  EXPECT_THAT(options.q_lengths, ElementsAre(1, 2));
  EXPECT_THAT(options.kv_lengths, ElementsAre(2, 0));
  EXPECT_THAT(options.kv_starts, ElementsAre(1));
  EXPECT_THAT(options.prefix_lengths, ElementsAre(1));
  ASSERT_TRUE(options.documents.has_value());
  EXPECT_THAT(options.documents->query_ids, ElementsAre(0, 1));
  EXPECT_THAT(options.documents->key_ids, ElementsAre(1, -1));
  ASSERT_TRUE(options.rope.has_value());
  EXPECT_EQ(options.rope->style, RopeStyle::kHalf);
  EXPECT_EQ(options.rope->rotary_dim, 2);
  EXPECT_EQ(options.rope->theta, 5e5F);
  EXPECT_EQ(options.rope->scaling_factor, 8.0F);
  EXPECT_THAT(options.rope->query_positions, ElementsAre(10, 11));
  EXPECT_THAT(options.rope->key_positions, ElementsAre(12, 13));
  ASSERT_TRUE(options.alibi_slopes.has_value());
  EXPECT_THAT(options.alibi_slopes->shape, ElementsAre(2));
  ASSERT_TRUE(options.sinks.has_value());
  EXPECT_THAT(options.sinks->shape, ElementsAre(1));
  const AttentionOutputs& outputs = request.outputs;
  EXPECT_TRUE(outputs.lse);
  ASSERT_TRUE(outputs.weights.has_value());
  EXPECT_TRUE(outputs.weights->mean);
  EXPECT_THAT(outputs.weights->rows, ElementsAre(1, 0));
  EXPECT_EQ(outputs.scores, ScoreStage::kCapped);
  EXPECT_EQ(outputs.dtype, DataType::kBfloat16);
}

TEST(CaseOptionsTest, ReadsPriorityAndTenant) {
  const auto loaded = Load(Main(), {{"priority", "-2"}, {"tenant", "team a"}});
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->call.priority, -2);
  EXPECT_EQ(loaded->call.tenant, "team a");
}

TEST(CaseOptionsTest, NumbersOfTheCommandLineLiveAsLongAsTheCase) {
  const auto loaded = Load(Main(), {{"sinks", "7"}}, {{"alibi_slopes", {"0.5,0.25"}}});
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(FloatsOf(*loaded->request.options.alibi_slopes), ElementsAre(0.5F, 0.25F));
  EXPECT_THAT(FloatsOf(*loaded->request.options.sinks), ElementsAre(7.0F));
}

TEST(CaseOptionsTest, FlagsBeatTheFile) {
  const Texts metadata = {{"causal", "top_left"}, {"scale", "2"}, {"outputs", "lse"}, {"heads", "x"}};
  const auto causal_off = Load(Main(), metadata, {{"causal", {"false"}}, {"heads", {"1"}}});
  ASSERT_THAT(causal_off, IsOk());
  EXPECT_FALSE(causal_off->request.options.causal);
  EXPECT_EQ(causal_off->request.options.alignment, Alignment::kUnset);
  EXPECT_EQ(causal_off->request.options.scale, 2.0F);
  const auto aligned = Load(Main(), {{"causal", "5"}, {"k_offset", "1"}}, {{"alignment", {"bottom_right"}}});
  ASSERT_THAT(aligned, IsOk());
  EXPECT_TRUE(aligned->request.options.causal);
  EXPECT_EQ(aligned->request.options.alignment, Alignment::kBottomRight);
  EXPECT_THAT(aligned->request.options.q_offset, IsEmpty());
  EXPECT_THAT(aligned->request.options.k_offset, IsEmpty());
}

TEST(CaseTensorsTest, MasksComeInTheOrderOfTheirNumbers) {
  const auto masks = MainAnd({Zeros("mask.10", StoredType::kBool, {1, 2}), Zeros("mask.2", StoredType::kBool, {2, 2}),
                              Zeros("mask", StoredType::kBool, {2})});
  const auto loaded = Load(masks, {{"mask_polarity", "keep,drop,keep"}});
  ASSERT_THAT(loaded, IsOk());
  const auto& found = loaded->request.options.masks;
  ASSERT_EQ(found.size(), 3);
  EXPECT_THAT(found[0].tensor.shape, ElementsAre(2));
  EXPECT_THAT(found[1].tensor.shape, ElementsAre(2, 2));
  EXPECT_THAT(found[2].tensor.shape, ElementsAre(1, 2));
  EXPECT_EQ(found[1].polarity, Polarity::kDrop);
  EXPECT_EQ(found[2].polarity, Polarity::kKeep);
  EXPECT_THAT(Load(masks, {{"mask_polarity", "keep,drop"}}),
              IsError(kInvalid, "metadata 'mask_polarity': has 2 words, but there are 3 masks"));
  EXPECT_THAT(Load(masks), IsError(kInvalid, "metadata 'mask_polarity': is needed with a mask: keep"));
}

TEST(CaseTensorsTest, MasksMayBeBits) {
  const auto tensors = MainAnd({Zeros("mask", StoredType::kU8, {2, 3})});
  const auto loaded = Load(tensors, {{"mask_polarity", "keep"}, {"mask_bits", "17"}});
  ASSERT_THAT(loaded, IsOk());
  EXPECT_EQ(loaded->request.options.masks[0].tensor.dtype, DataType::kBit);
  EXPECT_THAT(loaded->request.options.masks[0].tensor.shape, ElementsAre(2, 17));
  EXPECT_THAT(Load(tensors, {{"mask_polarity", "keep"}, {"mask_bits", "16"}}),
              IsError(kInvalid, "tensor 'mask': U8 of shape [2, 3], but a row of 16 keys (mask_bits) takes 2 bytes"));
  EXPECT_THAT(Load(tensors, {{"mask_polarity", "keep"}}),
              IsError(kInvalid, "tensor 'mask': U8 elements; a mask is BOOL, or U8 with mask_bits"));
  EXPECT_THAT(Load(MainAnd({Zeros("mask", StoredType::kBool, {2})}), {{"mask_polarity", "keep"}, {"mask_bits", "9"}}),
              IsError(kInvalid, "metadata 'mask_bits': no mask is of uint8"));
}

TEST(CaseTensorsTest, NumbersMayBeInfinite) {
  const auto loaded = Load(Main(), {{"sinks", "1,-inf"}});
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(loaded->request.options.sinks->shape, ElementsAre(2));
  EXPECT_THAT(Load(Main(), {{"sinks", "1,nan"}}), IsError(kInvalid, "metadata 'sinks': '1,nan' is not one number"));
}

TEST(CaseTensorsTest, NumbersKeepTheirType) {
  for (const auto& [stored, dtype] :
       {std::pair{StoredType::kF16, DataType::kFloat16}, std::pair{StoredType::kBf16, DataType::kBfloat16}}) {
    auto tensors = Main(stored);
    for (const char* name : {"bias", "bias.0", "alibi_slopes", "sinks"}) tensors.push_back(Zeros(name, stored, {2}));
    const auto loaded = Load(tensors);
    ASSERT_THAT(loaded, IsOk());
    const AttentionRequest& request = loaded->request;
    EXPECT_EQ(request.query.dtype, dtype);
    EXPECT_EQ(request.value.dtype, dtype);
    ASSERT_EQ(request.options.biases.size(), 2);
    EXPECT_EQ(request.options.biases[1].dtype, dtype);
    EXPECT_EQ(request.options.alibi_slopes->dtype, dtype);
    EXPECT_EQ(request.options.sinks->dtype, dtype);
  }
}

TEST(CaseTensorsTest, ListsMayBeTensors) {
  const std::vector<int64_t> lengths = {3, 4};
  const std::vector<int32_t> ids = {7, -8};
  const auto loaded =
      Load(MainAnd({Integers("kv_lengths", StoredType::kI64, lengths), Integers("query_ids", StoredType::kI32, ids)}));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(loaded->request.options.kv_lengths, ElementsAre(3, 4));
  EXPECT_THAT(loaded->request.options.documents->query_ids, ElementsAre(7, -8));
  const std::vector<int64_t> wide = {int64_t{1} << 31};
  EXPECT_THAT(Load(MainAnd({Integers("query_ids", StoredType::kI64, wide)})),
              IsError(kInvalid, "'query_ids': has 2147483648, which is no 32-bit integer"));
}

TEST(CaseTensorsTest, NpyFilesAreTheSame) {
  const std::string query = NpyOf("q.npy", Zeros("", StoredType::kF16, {2, 2}));
  const std::string mask = NpyOf("m.npy", Zeros("", StoredType::kBool, {2, 2}));
  const std::string bias = NpyOf("b.npy", Zeros("", StoredType::kF32, {1, 2}));
  const std::string ids = NpyOf("i.npy", Zeros("", StoredType::kI64, {1, 2}));
  CaseSource source;
  source.flags = {{"query", {query}},     {"key", {query}},     {"value", {query}},          {"mask", {mask, mask}},
                  {"bias", {bias, bias}}, {"query_ids", {ids}}, {"mask_polarity", {"keep"}}, {"sinks", {bias}},
                  {"kv_lengths", {"2"}},  {"key_ids", {"0,1"}}};
  ASSERT_THAT(CheckUsage(source), IsOk());
  const auto loaded = LoadCase(source);
  ASSERT_THAT(loaded, IsOk());
  const AttentionRequest& request = loaded->request;
  EXPECT_EQ(request.query.dtype, DataType::kFloat16);
  EXPECT_EQ(request.options.masks.size(), 2);
  EXPECT_EQ(request.options.biases.size(), 2);
  EXPECT_THAT(request.options.documents->query_ids, ElementsAre(0, 0));
  EXPECT_THAT(request.options.documents->key_ids, ElementsAre(0, 1));
  EXPECT_THAT(request.options.sinks->shape, ElementsAre(1, 2));
  EXPECT_NE(request.owner, nullptr);
}

TEST(CaseTensorsTest, FlagsReplaceTheFilesTensors) {
  const std::string mask = NpyOf("flag_mask.npy", Zeros("", StoredType::kBool, {1, 2}));
  const auto loaded =
      Load(MainAnd({Zeros("mask.0", StoredType::kBool, {2, 2}), Zeros("mask.1", StoredType::kBool, {2, 2})}),
           {{"mask_polarity", "drop"}}, {{"mask", {mask}}});
  ASSERT_THAT(loaded, IsOk());
  ASSERT_EQ(loaded->request.options.masks.size(), 1);
  EXPECT_THAT(loaded->request.options.masks[0].tensor.shape, ElementsAre(1, 2));
  EXPECT_EQ(loaded->request.options.masks[0].polarity, Polarity::kDrop);
}

TEST(CaseErrorsTest, NameTheTensor) {
  EXPECT_THAT(Load({Zeros("query", StoredType::kF32, {2}), Zeros("value", StoredType::kF32, {2}),
                    Zeros("k", StoredType::kF32, {2})}),
              IsError(kInvalid, "no tensor 'key'; it has: "));
  EXPECT_THAT(Load(Main(StoredType::kI64)), IsError(kInvalid, "tensor 'query': I64 elements; save it as float32"));
  const std::vector<std::pair<StoredTensor, std::string>> cases = {
      {Zeros("mask", StoredType::kF32, {2}), "tensor 'mask': F32 elements; a mask is BOOL"},
      {Zeros("bias.3", StoredType::kF64, {2}), "tensor 'bias.3': F64 elements; save it as float32"},
      {Zeros("q_lengths", StoredType::kF32, {2}), "tensor 'q_lengths': F32 elements; save it as int64"},
      {Zeros("softcap", StoredType::kF32, {1}), "tensor 'softcap': it must be metadata, as text"},
      {Zeros("attn_mask", StoredType::kF32, {2}), "tensor 'attn_mask' is no option here; say it with mask"},
      {Zeros("masks", StoredType::kBool, {2}), "tensor 'masks' is no option here; say it with mask, or mask.0"},
      {Zeros("mask.x", StoredType::kBool, {2}), "tensor 'mask.x': several are 'mask.0', 'mask.1' and so on"},
      {Zeros("mask.01", StoredType::kBool, {2}), "tensor 'mask.01': several are 'mask.0', 'mask.1' and so on"},
      {Zeros("biass", StoredType::kF32, {2}), "tensor 'biass' is no option; is 'bias' meant?"},
  };
  for (const auto& [tensor, message] : cases) {
    EXPECT_THAT(Load(MainAnd({tensor}), {{"mask_polarity", "keep"}}), IsError(kInvalid, message));
  }
  EXPECT_THAT(Load(MainAnd({Zeros("output", StoredType::kF32, {2}), Zeros("lse", StoredType::kF32, {2}),
                            Zeros("scores", StoredType::kF32, {2}), Zeros("weights", StoredType::kF32, {2})})),
              IsOk());
}

TEST(CaseErrorsTest, NameTheMetadataKey) {
  const std::vector<std::pair<Texts, std::string>> cases = {
      {{{"softcap", "big"}}, "metadata 'softcap': 'big' is not a finite number"},
      {{{"kv_lengths", "1,,2"}}, "metadata 'kv_lengths': '1,,2' is not one integer, or several with commas"},
      {{{"window_left", "-1"}}, "metadata 'window_left': '-1' is not an integer >= 0"},
      {{{"mask", "m.npy"}}, "metadata 'mask': it must be a tensor"},
      {{{"mask_polarity", "keep"}}, "metadata 'mask_polarity': there is no mask"},
      {{{"key_ids", "0,1"}}, "metadata 'query_ids': is needed with key_ids"},
      {{{"rope_theta", "1e4"}}, "metadata 'rope_style': is needed"},
      {{{"weights_rows", "0"}}, "metadata 'weights_rows': outputs does not ask for weights"},
      {{{"weights_heads", "mean"}}, "metadata 'weights_heads': outputs does not ask for weights"},
      {{{"score_stage", "biased"}}, "metadata 'score_stage': outputs does not ask for scores"},
      {{{"outputs", "scores"}}, "metadata 'score_stage': is needed with scores"},
      {{{"explain", "true"}}, "metadata 'explain' is no option here; say it with the command attnctl explain"},
      {{{"is_causal", "1"}}, "metadata 'is_causal' is no option here; say it with causal"},
      {{{"casual", "true"}}, "metadata 'casual' is no option; is 'causal' meant?"},
  };
  for (const auto& [metadata, message] : cases) EXPECT_THAT(Load(Main(), metadata), IsError(kInvalid, message));
  EXPECT_THAT(Load(MainAnd({Zeros("sinks", StoredType::kF32, {1})}), {{"sinks", "1"}}),
              IsError(kInvalid, "metadata 'sinks': there is a tensor of this name too"));
}

TEST(CheckNotMissedTest, TellsTheContractFromNotes) {
  for (const char* note : {"format", "description", "output", "lse", "tokens", "casual"}) {
    EXPECT_THAT(CheckNotMissed(CaseKind::kAttend, note), IsOk()) << note;
  }
  for (const char* option : {"precision", "Precision"}) {
    EXPECT_THAT(CheckNotMissed(CaseKind::kAttend, option), IsError(absl::StatusCode::kUnimplemented, option));
  }
  for (const char* option : {"is_causal", "Key-Padding-Mask", "window", "rope", "Explain"}) {
    EXPECT_THAT(CheckNotMissed(CaseKind::kAttend, option), IsError(kInvalid, option));
  }
}

TEST(CheckNoSlipTest, TellsSlipsFromNotes) {
  for (const char* note : {"format", "description", "author", "shape", "layer", "tokens", "tensor", "q", "task", ""}) {
    EXPECT_THAT(CheckNoSlip(CaseKind::kAttend, note, /*is_tensor=*/false), IsOk()) << note;
  }
  const Texts slips = {{"casual", "causal"},  {"Scale", "scale"},    {"scal", "scale"},  {"kv-heads", "kv_heads"},
                       {"layouts", "layout"}, {"output", "outputs"}, {"haeds", "heads"}, {"scala", "scale"}};
  for (const auto& [slip, meant] : slips) {
    EXPECT_THAT(CheckNoSlip(CaseKind::kAttend, slip, /*is_tensor=*/false),
                IsError(kInvalid, "is '" + meant + "' meant?"));
  }
}

TEST(AddressTest, AcceptsWhatGrpcTakesAsMeant) {
  for (const char* address : {"localhost:1", "127.0.0.1:65535", "[::1]:50051", "unix:/run/attnd.sock", "dns:///a:1",
                              "attnd.example.org:443"}) {
    EXPECT_THAT(CheckAddress(address), IsOk()) << address;
  }
}

TEST(AddressTest, RefusesWhatGrpcWouldMisread) {
  for (const char* address : {"", ":1", "localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:http",
                              "::1:50051", "http://localhost:1", "unix:", "a b:1", "localhost:1 "}) {
    EXPECT_THAT(CheckAddress(address), IsError(absl::StatusCode::kInvalidArgument, "address: ")) << address;
  }
}

}  // namespace
}  // namespace attnd::attnctl
