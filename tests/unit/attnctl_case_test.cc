#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "client/address.h"
#include "client/attnctl/case.h"
#include "core/linear/safetensors.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd::attnctl {
namespace {

using ::testing::ElementsAre;

AttentionRequest Applied(const std::string& name, const std::string& text) {
  AttentionRequest request;
  CallOptions call;
  EXPECT_THAT(FindOptionRule(name)->apply(text, &request, &call), IsOk()) << name << "=" << text;
  return request;
}

std::string WriteCase(const std::string& name, const std::vector<std::string>& tensors, StoredType dtype,
                      const std::map<std::string, std::string>& metadata = {}) {
  const std::array<std::byte, 32> bytes = {};
  std::vector<StoredTensor> stored;
  stored.reserve(tensors.size());
  for (const std::string& tensor : tensors) {
    stored.push_back({tensor, dtype, {2, 2}, std::span(bytes).first(4 * StoredTypeSize(dtype))});
  }
  std::string path = TempPath(name);
  EXPECT_THAT(WriteSafetensors(path, stored, metadata), IsOk());
  return path;
}

absl::StatusOr<Case> LoadInput(const std::string& path) {
  CaseSource source;
  source.input = path;
  return LoadCase(source);
}

TEST(OptionRulesTest, CausalSaysWhichPositionsLineUp) {
  EXPECT_TRUE(Applied("causal", "").options.causal);
  EXPECT_EQ(Applied("causal", "true").options.alignment, Alignment::kUnset);
  EXPECT_FALSE(Applied("causal", "false").options.causal);
  EXPECT_EQ(Applied("causal", "top_left").options.alignment, Alignment::kTopLeft);
  EXPECT_EQ(Applied("causal", "bottom_right").options.alignment, Alignment::kBottomRight);
  const AttentionOptions offset = Applied("causal", "-3,5").options;
  EXPECT_EQ(offset.alignment, Alignment::kOffset);
  EXPECT_THAT(offset.q_offset, ElementsAre(-3, 5));
}

TEST(OptionRulesTest, TheLastValueStands) {
  AttentionRequest request;
  CallOptions call;
  for (const char* text : {"7", "8", "top_left"}) {
    EXPECT_THAT(FindOptionRule("causal")->apply(text, &request, &call), IsOk());
  }
  EXPECT_EQ(request.options.alignment, Alignment::kTopLeft);
  EXPECT_TRUE(request.options.q_offset.empty());
  for (const char* text : {"lse,weights", "lse"}) {
    EXPECT_THAT(FindOptionRule("outputs")->apply(text, &request, &call), IsOk());
  }
  EXPECT_TRUE(request.outputs.lse);
  EXPECT_FALSE(request.outputs.weights);
}

TEST(OptionRulesTest, ReadsLayoutHeadsScalePriorityAndTenant) {
  EXPECT_EQ(Applied("layout", "tokens_first").layout, Layout::kTokensFirst);
  EXPECT_EQ(Applied("heads", "8").heads, 8);
  EXPECT_EQ(Applied("kv_heads", "2").kv_heads, 2);
  EXPECT_EQ(Applied("scale", "-0.125").options.scale, -0.125F);
  AttentionRequest request;
  CallOptions call;
  EXPECT_THAT(FindOptionRule("priority")->apply("-2", &request, &call), IsOk());
  EXPECT_THAT(FindOptionRule("tenant")->apply("team a", &request, &call), IsOk());
  EXPECT_EQ(call.priority, -2);
  EXPECT_EQ(call.tenant, "team a");
}

TEST(CheckNotMissedTest, TellsTheContractFromNotes) {
  for (const char* note : {"format", "description", "output", "lse", "tokens", "casual"}) {
    EXPECT_THAT(CheckNotMissed(note), IsOk()) << note;
  }
  for (const char* option : {"softcap", "mask", "window-left", "is_causal", "Sinks"}) {
    EXPECT_THAT(CheckNotMissed(option), IsError(absl::StatusCode::kUnimplemented, option));
  }
}

TEST(CheckNoSlipTest, TellsSlipsFromNotes) {
  for (const char* note : {"format", "description", "author", "shape", "layer", "tokens", "tensor", "q", ""}) {
    EXPECT_THAT(CheckNoSlip(note), IsOk()) << note;
  }
  const std::map<std::string, std::string> slips = {
      {"casual", "causal"},  {"Scale", "scale"},    {"scal", "scale"},  {"kv-heads", "kv_heads"},
      {"layouts", "layout"}, {"output", "outputs"}, {"haeds", "heads"}, {"scala", "scale"}};
  for (const auto& [slip, meant] : slips) {
    EXPECT_THAT(CheckNoSlip(slip), IsError(absl::StatusCode::kInvalidArgument, "is '" + meant + "' meant?"));
  }
}

TEST(CaseTest, SendsHalfPrecisionAsItIs) {
  const std::vector<std::string> names = {"query", "key", "value"};
  const auto f16 = LoadInput(WriteCase("f16", names, StoredType::kF16));
  ASSERT_THAT(f16, IsOk());
  EXPECT_EQ(f16->request.query.dtype, DataType::kFloat16);
  const auto bf16 = LoadInput(WriteCase("bf16", names, StoredType::kBf16));
  ASSERT_THAT(bf16, IsOk());
  EXPECT_EQ(bf16->request.value.dtype, DataType::kBfloat16);
}

TEST(CaseTest, OwnsItsTensors) {
  const auto loaded = LoadInput(WriteCase("owned", {"query", "key", "value"}, StoredType::kF32));
  ASSERT_THAT(loaded, IsOk());
  std::array<std::byte, 16> copy = {};
  loaded->request.key.bytes.CopyTo(copy.data());
  EXPECT_NE(loaded->request.owner, nullptr);
}

TEST(CaseTest, NamesWhatAFileLacksOrHasTooMuch) {
  EXPECT_THAT(LoadInput(WriteCase("lacks", {"query", "value", "k"}, StoredType::kF32)),
              IsError(absl::StatusCode::kInvalidArgument, "no tensor 'key'; it has: "));
  EXPECT_THAT(LoadInput(WriteCase("integers", {"query", "key", "value"}, StoredType::kI64)),
              IsError(absl::StatusCode::kInvalidArgument, "tensor 'query': I64 elements; save it as float32"));
  EXPECT_THAT(LoadInput(WriteCase("mask", {"query", "key", "value", "mask"}, StoredType::kF32)),
              IsError(absl::StatusCode::kUnimplemented, "tensor 'mask' would change the result"));
  EXPECT_THAT(LoadInput(WriteCase("expected", {"query", "key", "value", "output", "lse"}, StoredType::kF32)), IsOk());
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
