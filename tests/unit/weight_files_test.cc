#include "core/linear/weight_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using Role = WeightRole;
using enum absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Tensors of a file to be written. The first element of each tells them apart.
class FileCase {
 public:
  FileCase& Add(const std::string& name, std::vector<int64_t> shape, StoredType dtype = StoredType::kF32) {
    auto& bytes = bytes_.emplace_back(*StoredBytes(dtype, shape), std::byte{0});
    if (!bytes.empty()) bytes[0] = static_cast<std::byte>(bytes_.size());
    tensors_.push_back({name, dtype, std::move(shape), bytes});
    return *this;
  }
  FileCase& Remove(const std::string& name) {
    std::erase_if(tensors_, [&name](const StoredTensor& t) { return t.name == name; });
    return *this;
  }
  std::string Write(const std::string& name, const std::map<std::string, std::string>& metadata = {}) const {
    const std::string path = TempPath(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    EXPECT_THAT(WriteSafetensors(path, tensors_, metadata), IsOk());
    return path;
  }

 private:
  std::deque<std::vector<std::byte>> bytes_;
  std::vector<StoredTensor> tensors_;
};

absl::StatusOr<LoadedWeights> Load(const std::string& path, const std::string& preset = "auto",
                                   const std::string& name = "") {
  return LoadWeights(path, *WeightMapping::Preset(preset), name);
}

std::vector<std::string> Aliases(const LoadedWeights& loaded) {
  std::vector<std::string> aliases;
  for (const NamedWeights& set : loaded.sets) aliases.push_back(set.alias);
  return aliases;
}

std::vector<std::string> RolesOf(const ProjectionWeights& weights) {
  std::vector<std::string> roles;
  for (const WeightRoleInfo& info : WeightRoles()) {
    if (weights.tensors[info.role].has_value()) roles.emplace_back(info.name);
  }
  return roles;
}

void AddBertLayer(FileCase& file, const std::string& layer) {
  for (const char* part :
       {"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"}) {
    file.Add(layer + part + ".weight", {4, 4}).Add(layer + part + ".bias", {4});
  }
  file.Add(layer + "attention.output.LayerNorm.weight", {4}).Add(layer + "attention.output.LayerNorm.bias", {4});
  file.Add(layer + "intermediate.dense.weight", {8, 4}).Add(layer + "intermediate.dense.bias", {8});
  file.Add(layer + "output.dense.weight", {4, 8}).Add(layer + "output.dense.bias", {4});
  file.Add(layer + "output.LayerNorm.weight", {4}).Add(layer + "output.LayerNorm.bias", {4});
}

const std::vector<std::string>& WholeLayer() {
  static const auto& roles = *new std::vector<std::string>{"w_query",
                                                           "w_key",
                                                           "w_value",
                                                           "w_output",
                                                           "b_query",
                                                           "b_key",
                                                           "b_value",
                                                           "b_output",
                                                           "block.attention_norm_scale",
                                                           "block.attention_norm_shift",
                                                           "block.ffn_norm_scale",
                                                           "block.ffn_norm_shift",
                                                           "block.w_up",
                                                           "block.b_up",
                                                           "block.w_down",
                                                           "block.b_down"};
  return roles;
}

TEST(WeightFilesTest, ReadsBert) {
  for (const std::string prefix : {"", "encoder.", "bert.encoder.", "roberta.encoder."}) {
    FileCase file;
    AddBertLayer(file, prefix + "layer.0.");
    AddBertLayer(file, prefix + "layer.10.");
    AddBertLayer(file, prefix + "layer.2.");
    file.Add(prefix + "embeddings.word_embeddings.weight", {10, 4});
    const auto loaded = Load(file.Write("bert.safetensors"));
    ASSERT_THAT(loaded, IsOk());
    EXPECT_THAT(Aliases(*loaded), ElementsAre("bert.layer.0", "bert.layer.2", "bert.layer.10"));
    EXPECT_EQ(RolesOf(loaded->sets[0].weights), WholeLayer());
    EXPECT_EQ(loaded->sets[0].weights.orientation, Orientation::kOutIn);
    EXPECT_THAT(loaded->passed_over, ElementsAre(prefix + "embeddings.word_embeddings.weight"));
    // The tenth tensor of a layer is the attention's LayerNorm.bias.
    EXPECT_EQ(loaded->sets[0].weights.tensors[Role::kAttentionNormShift]->bytes.pieces()[0][0], std::byte{10});
  }
}

TEST(WeightFilesTest, ReadsGpt2) {
  FileCase file;
  const std::string h = "transformer.h.3.";
  file.Add(h + "attn.c_attn.weight", {4, 12}).Add(h + "attn.c_attn.bias", {12}).Add(h + "attn.bias", {1, 1, 8, 8});
  file.Add(h + "attn.c_proj.weight", {4, 4}).Add(h + "attn.c_proj.bias", {4});
  file.Add(h + "ln_1.weight", {4}).Add(h + "ln_1.bias", {4}).Add(h + "ln_2.weight", {4}).Add(h + "ln_2.bias", {4});
  file.Add(h + "mlp.c_fc.weight", {4, 16}).Add(h + "mlp.c_fc.bias", {16});
  file.Add(h + "mlp.c_proj.weight", {16, 4}).Add(h + "mlp.c_proj.bias", {4});
  const auto loaded = Load(file.Write("gpt2.safetensors"), "auto", "mine");
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("mine.layer.3"));
  EXPECT_EQ(loaded->sets[0].weights.orientation, Orientation::kInOut);
  EXPECT_EQ(RolesOf(loaded->sets[0].weights).size(), 12);
  EXPECT_THAT(loaded->passed_over, ElementsAre(h + "attn.bias"));
}

void AddLlamaLayer(FileCase& file, const std::string& layer, StoredType dtype = StoredType::kBf16) {
  file.Add(layer + "self_attn.q_proj.weight", {8, 6}, dtype).Add(layer + "self_attn.k_proj.weight", {4, 6}, dtype);
  file.Add(layer + "self_attn.v_proj.weight", {4, 6}, dtype).Add(layer + "self_attn.o_proj.weight", {6, 8}, dtype);
  file.Add(layer + "input_layernorm.weight", {6}, dtype).Add(layer + "post_attention_layernorm.weight", {6}, dtype);
  file.Add(layer + "mlp.gate_proj.weight", {9, 6}, dtype).Add(layer + "mlp.up_proj.weight", {9, 6}, dtype);
  file.Add(layer + "mlp.down_proj.weight", {6, 9}, dtype);
}

TEST(WeightFilesTest, ReadsLlamaAndQwen) {
  FileCase file;
  AddLlamaLayer(file, "model.layers.0.");
  file.Add("model.layers.0.self_attn.q_proj.bias", {8}).Add("model.layers.0.self_attn.q_norm.weight", {2});
  file.Add("lm_head.weight", {10, 6});
  const auto loaded = Load(file.Write("llama.safetensors"));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("llama.layer.0"));
  EXPECT_THAT(
      RolesOf(loaded->sets[0].weights),
      ElementsAre("w_query", "w_key", "w_value", "w_output", "b_query", "query_norm", "block.attention_norm_scale",
                  "block.ffn_norm_scale", "block.w_up", "block.w_gate", "block.w_down"));
  EXPECT_EQ(loaded->sets[0].weights.tensors[Role::kGate]->dtype, DataType::kBfloat16);
}

TEST(WeightFilesTest, ExpertsAreLeftOut) {
  FileCase file;
  AddLlamaLayer(file, "model.layers.0.");
  for (const char* part : {"gate", "up", "down"})
    file.Remove(std::string("model.layers.0.mlp.") + part + "_proj.weight");
  file.Add("model.layers.1.input_layernorm.weight", {6});
  const auto loaded = Load(file.Write("mixtral.safetensors"), "llama");
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("llama.layer.0"));
  EXPECT_THAT(loaded->passed_over,
              ElementsAre("model.layers.0.post_attention_layernorm.weight", "model.layers.1.input_layernorm.weight"));
}

TEST(WeightFilesTest, ReadsTorchAttention) {
  FileCase file;
  file.Add("in_proj_weight", {12, 4})
      .Add("in_proj_bias", {12})
      .Add("out_proj.weight", {4, 4})
      .Add("out_proj.bias", {4});
  const auto loaded = Load(file.Write("attention.safetensors"));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("attention"));
  EXPECT_THAT(RolesOf(loaded->sets[0].weights), ElementsAre("w_output", "b_output", "w_qkv", "b_qkv"));
}

TEST(WeightFilesTest, ReadsTorchAttentionWithOtherWidths) {
  FileCase file;
  file.Add("in_proj_bias", {12}).Add("q_proj_weight", {4, 4}).Add("k_proj_weight", {4, 6}).Add("v_proj_weight", {4, 5});
  file.Add("out_proj.weight", {4, 4}).Add("bias_k", {1, 1, 4}).Add("bias_v", {1, 1, 4});
  const auto loaded = Load(file.Write("kdim.safetensors"));
  ASSERT_THAT(loaded, IsOk());
  const ProjectionWeights& weights = loaded->sets[0].weights;
  EXPECT_THAT(RolesOf(weights), ElementsAre("w_query", "w_key", "w_value", "w_output", "b_query", "b_key", "b_value",
                                            "bias_k", "bias_v"));
  EXPECT_THAT(weights.tensors[Role::kExtraKey]->shape, ElementsAre(4));
  const auto* first = weights.tensors[Role::kQueryBias]->bytes.pieces()[0].data();
  EXPECT_EQ(weights.tensors[Role::kValueBias]->bytes.pieces()[0].data(), first + 32);
}

void AddTorchLayer(FileCase& file, const std::string& layer) {
  file.Add(layer + "self_attn.in_proj_weight", {12, 4}).Add(layer + "self_attn.in_proj_bias", {12});
  file.Add(layer + "self_attn.out_proj.weight", {4, 4}).Add(layer + "self_attn.out_proj.bias", {4});
  for (const char* norm : {"norm1", "norm2"}) {
    file.Add(layer + norm + ".weight", {4}).Add(layer + norm + ".bias", {4});
  }
  file.Add(layer + "linear1.weight", {8, 4}).Add(layer + "linear1.bias", {8});
  file.Add(layer + "linear2.weight", {4, 8}).Add(layer + "linear2.bias", {4});
}

TEST(WeightFilesTest, ReadsTorchEncoders) {
  FileCase file;
  AddTorchLayer(file, "layers.0.");
  AddTorchLayer(file, "layers.1.");
  const auto loaded = Load(file.Write("encoder.safetensors"));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("encoder.layers.0", "encoder.layers.1"));
  EXPECT_EQ(RolesOf(loaded->sets[1].weights).size(), 12);
}

TEST(WeightFilesTest, OfTorchDecodersTheAttentionsAreFound) {
  FileCase file;
  AddTorchLayer(file, "");
  file.Add("multihead_attn.in_proj_weight", {12, 4}).Add("multihead_attn.out_proj.weight", {4, 4});
  const auto loaded = Load(file.Write("decoder.safetensors"));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("decoder.multihead_attn", "decoder.self_attn"));
  EXPECT_EQ(loaded->passed_over.size(), 8);
}

TEST(WeightFilesTest, ReadsItsOwnNames) {
  FileCase file;
  file.Add("w_query", {4, 8}).Add("w_key", {4, 8}).Add("w_value", {4, 8}).Add("block.attention_norm_scale", {4});
  const auto loaded = Load(file.Write("mine.safetensors", {{"orientation", "IN_OUT"}}));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("mine"));
  EXPECT_EQ(loaded->sets[0].weights.orientation, Orientation::kInOut);
  EXPECT_THAT(Load(file.Write("none.safetensors")), IsError(kInvalidArgument, "no metadata 'orientation'"));
  EXPECT_THAT(Load(file.Write("odd.safetensors", {{"orientation", "x"}})), IsError(kInvalidArgument, "is 'x'"));
}

TEST(WeightFilesTest, LayersMayBeSplitOverAFolder) {
  FileCase first;
  FileCase second;
  FileCase whole;
  AddLlamaLayer(first, "model.layers.0.");
  AddLlamaLayer(second, "model.layers.0.");
  first.Remove("model.layers.0.self_attn.q_proj.weight");
  for (const char* name : {"self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "input_layernorm",
                           "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    second.Remove(std::string("model.layers.0.") + name + ".weight");
  }
  first.Write("sharded/model-00001.safetensors");
  const std::string path = second.Write("sharded/model-00002.safetensors");
  const auto loaded = Load(TempPath("sharded"));
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("llama.layer.0"));
  EXPECT_THAT(Load(path), IsError(kInvalidArgument, "but no 'model.layers.0.self_attn.k_proj.weight'"));
}

TEST(WeightFilesTest, FilesOfTheSameNamesAreModelsOfTheirOwn) {
  for (const std::string name : {"a", "b"}) {
    FileCase file;
    AddLlamaLayer(file, "model.layers.7.");
    file.Write("models/" + name + ".safetensors");
  }
  EXPECT_THAT(Aliases(*Load(TempPath("models"))), ElementsAre("a.layer.7", "b.layer.7"));
  EXPECT_THAT(Aliases(*Load(TempPath("models/"), "auto", "x")), ElementsAre("x.a.layer.7", "x.b.layer.7"));
}

TEST(WeightFilesTest, PartsOfAModelHaveNamesOfTheirOwn) {
  FileCase file;
  AddBertLayer(file, "question.layer.0.");
  AddBertLayer(file, "answer.layer.0.");
  EXPECT_THAT(Aliases(*Load(file.Write("dpr.safetensors"))),
              ElementsAre("bert.answer.layer.0", "bert.question.layer.0"));
}

TEST(WeightFilesTest, NamesWhatIsMissingOrWrong) {
  FileCase file;
  AddBertLayer(file, "layer.0.");
  AddBertLayer(file, "layer.1.");
  file.Remove("layer.1.attention.self.key.weight").Remove("layer.1.attention.self.value.weight");
  EXPECT_THAT(Load(file.Write("missing.safetensors")),
              IsError(kInvalidArgument,
                      "missing.safetensors: there is 'layer.1.attention.self.query.weight' but no "
                      "'layer.1.attention.self.key.weight', 'layer.1.attention.self.value.weight'"));
  file.Add("layer.1.attention.self.key.weight", {4, 5}).Add("layer.1.attention.self.value.weight", {4, 4});
  file.Remove("layer.0.output.dense.weight").Remove("layer.0.output.dense.bias");
  EXPECT_THAT(Load(file.Write("ffn.safetensors")), IsError(kInvalidArgument, "(tensor 'layer.0.output.dense.weight')"));
  file.Add("layer.0.output.dense.weight", {4, 9});
  EXPECT_THAT(Load(file.Write("shape.safetensors")),
              IsError(kInvalidArgument, "(tensor 'layer.0.output.dense.weight')"));
  file.Remove("layer.0.output.dense.weight").Add("layer.0.output.dense.weight", {4, 8}, StoredType::kF64);
  EXPECT_THAT(Load(file.Write("dtype.safetensors")), IsError(kInvalidArgument, "is F64; F32, F16 or BF16 is allowed"));
}

TEST(WeightFilesTest, RefusesLayersOfAnotherKind) {
  FileCase gemma;
  AddLlamaLayer(gemma, "model.layers.0.");
  gemma.Add("model.layers.0.pre_feedforward_layernorm.weight", {6});
  EXPECT_THAT(Load(gemma.Write("gemma2.safetensors")), IsError(kInvalidArgument, "of another kind than 'llama'"));
  FileCase twice;
  AddBertLayer(twice, "layer.0.");
  twice.Add("layer.0.output.LayerNorm.gamma", {4});
  EXPECT_THAT(Load(twice.Write("twice.safetensors")), IsError(kInvalidArgument, "are both block.ffn_norm_scale"));
}

TEST(WeightFilesTest, SaysWhenItRecognisesNothing) {
  FileCase file;
  file.Add("conv.weight", {3, 3});
  EXPECT_THAT(Load(file.Write("conv.safetensors")),
              IsError(kInvalidArgument, "recognises none of the 1 tensors ('conv"));
  EXPECT_THAT(Load(TempPath("absent.safetensors")), IsError(kNotFound, "absent"));
  std::filesystem::create_directories(TempPath("empty"));
  EXPECT_THAT(Load(TempPath("empty")), IsError(kInvalidArgument, "no .safetensors files"));
}

TEST(WeightMappingTest, JsonNamesTensors) {
  const auto mapping = WeightMapping::FromJson(
      R"({"name": "mine/{layer}", "orientation": "IN_OUT", "tensors": {"w_qkv": "b.{layer}.qkv", "w_output": "b.{layer}.o"}})",
      "m.json");
  ASSERT_THAT(mapping, IsOk());
  FileCase file;
  file.Add("b.12.qkv", {4, 12}).Add("b.12.o", {4, 4}).Add("x.b.12.qkv", {4, 12}).Add("b.012.qkv", {4, 4});
  const std::string path = file.Write("json.safetensors");
  const auto loaded = LoadWeights(path, *mapping);
  ASSERT_THAT(loaded, IsOk());
  EXPECT_THAT(Aliases(*loaded), ElementsAre("mine/12"));
  EXPECT_THAT(loaded->passed_over, ElementsAre("b.012.qkv", "x.b.12.qkv"));
  const auto plain = WeightMapping::FromJson(R"({"orientation": "IN_OUT", "tensors": {"w_qkv": "b.12.qkv"}})", "m");
  ASSERT_THAT(plain, IsOk());
  EXPECT_THAT(Aliases(*LoadWeights(path, *plain)), ElementsAre("json"));
  EXPECT_THAT(Aliases(*LoadWeights(path, *plain, "n")), ElementsAre("n"));
}

TEST(WeightMappingTest, NamesWhatIsWrongWithJson) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "JSON object"},
      {"[]", "JSON object"},
      {R"({"tensors": {}})", "'tensors' is missing"},
      {R"({"tensors": {"w_q": "a"}})", "'w_q', which is no role"},
      {R"({"tensors": {"w_qkv": 1}})", "'w_qkv' is not a tensor's name"},
      {R"({"tensors": {"w_qkv": "{layer}{layer}"}})", "with {layer} once at most"},
      {R"({"tensors": {"w_qkv": "{layer}", "b_qkv": "b"}})", "either all"},
      {R"({"orientation": "x", "tensors": {"w_qkv": "a"}})", "'x' is neither"},
      {R"({"name": "x", "tensors": {"w_qkv": "a{layer}"}})", "'name' must have {layer}"},
      {R"({"name": "{layer}", "tensors": {"w_qkv": "a"}})", "'name' has {layer}"},
      {R"({"name": "a b", "tensors": {"w_qkv": "a"}})", "letters, digits"},
      {R"({"names": "a", "tensors": {"w_qkv": "a"}})", "there is no 'names'"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(WeightMapping::FromJson(text, "m.json"), IsError(kInvalidArgument, message)) << text;
    EXPECT_THAT(WeightMapping::FromJson(text, "m.json"), IsError(kInvalidArgument, "m.json: ")) << text;
  }
  EXPECT_THAT(WeightMapping::Preset("x"), IsError(kInvalidArgument, "there are auto, attnd, torch"));
  EXPECT_THAT(WeightMapping::FromPresetOrFile("x"), IsError(kInvalidArgument, "'x' is no mapping"));
  EXPECT_THAT(WeightMapping::FromPresetOrFile("/nowhere/x.json"), IsError(kNotFound, "/nowhere/x.json"));
  for (const std::string_view name : WeightMapping::PresetNames()) EXPECT_THAT(WeightMapping::Preset(name), IsOk());
}

}  // namespace
}  // namespace attnd
