#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "client/load/build_works.h"
#include "client/load/presets.h"
#include "client/load/random_tensor.h"
#include "client/load/work_shape.h"
#include "client/messages.h"
#include "core/attention/reference.h"
#include "tests/support/status_matchers.h"

namespace attnd::load {
namespace {

using ::testing::ElementsAre;

// Where nothing is looked up.
WorkSources NoSources() {
  return {.weights = [](const std::string&) { return absl::NotFoundError("no weights"); },
          .case_file = [](const WorkShape&) { return absl::NotFoundError("no case"); }};
}

std::vector<Work> Build(const WorkShape& shape, uint64_t seed = 1) {
  auto works = BuildWorks(std::vector{shape}, seed, NoSources());
  EXPECT_THAT(works, IsOk());
  return works.ok() ? *std::move(works) : std::vector<Work>();
}

std::string BytesOf(const grpc::ByteBuffer& message) {
  std::string bytes;
  const std::vector<grpc::Slice> slices = SlicesOf(message).value();
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

TEST(LoadWorksTest, TheMessageSaysWhatTheShapeSays) {
  WorkShape shape;
  shape.name = "decode";
  shape.batch = 2;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.q_len = {3};
  shape.kv_len = {10};
  shape.head_dim = 8;
  shape.value_dim = 5;
  shape.dtype = DataType::kBfloat16;
  shape.causal = true;
  shape.window = 6;
  shape.kv_lengths = {10, 7};
  const auto works = Build(shape);
  ASSERT_EQ(works.size(), 1);
  const Work& work = works.front();
  EXPECT_EQ(work.name, "decode");
  EXPECT_EQ(work.method, "/attnd.v1.AttentionService/Attend");
  EXPECT_EQ(work.description, "Attend [2, 4, 3, 8] over [2, 2, 10, 8] bfloat16 causal windowed padded");
  ASSERT_NE(work.attend, nullptr);
  EXPECT_EQ(work.multihead, nullptr);
  const std::string bytes = BytesOf(work.message);
  const std::string_view piece = bytes;
  const auto call = codec::DecodeAttendRequest(codec::MessagePieces(&piece, 1), nullptr);
  ASSERT_THAT(call, IsOk());
  const AttentionRequest& request = call->request;
  EXPECT_THAT(request.query.shape, ElementsAre(2, 4, 3, 8));
  EXPECT_THAT(request.key.shape, ElementsAre(2, 2, 10, 8));
  EXPECT_THAT(request.value.shape, ElementsAre(2, 2, 10, 5));
  EXPECT_EQ(request.value.dtype, DataType::kBfloat16);
  EXPECT_TRUE(request.options.causal);
  EXPECT_EQ(request.options.alignment, Alignment::kBottomRight);
  EXPECT_EQ(request.options.window->left, 6);
  EXPECT_THAT(request.options.kv_lengths, ElementsAre(10, 7));
}

TEST(LoadWorksTest, TheRequestIsThatOfTheMessage) {
  const auto works = Build(*ShapeOfPreset("tiny"));
  const std::string bytes = BytesOf(works.front().message);
  const TensorView& query = works.front().attend->query;
  std::string tensor(query.bytes.size(), '\0');
  query.bytes.CopyTo(reinterpret_cast<std::byte*>(tensor.data()));
  EXPECT_NE(bytes.find(tensor), std::string::npos);
}

TEST(LoadWorksTest, FlopsAreThoseOfVisiblePairs) {
  WorkShape shape;
  shape.heads = 2;
  shape.q_len = {16};
  shape.head_dim = 8;
  const double all = 2.0 * 2 * 16 * 16 * 16;
  EXPECT_EQ(Build(shape).front().flops, all);
  shape.mask_density = 0.25;
  EXPECT_EQ(Build(shape).front().flops, all / 4);
  shape.mask_density.reset();
  shape.causal = true;
  EXPECT_EQ(Build(shape).front().flops, all * 17 / 32);
}

TEST(LoadWorksTest, MakesAWorkOfEachLength) {
  const auto works = Build(*ShapeOfPreset("llama-decode"));
  ASSERT_EQ(works.size(), 3);
  for (size_t i = 0; i < works.size(); ++i) {
    EXPECT_EQ(works[i].name, "llama-decode." + std::to_string(i + 1));
    EXPECT_DOUBLE_EQ(works[i].weight, 1.0 / 3);
    EXPECT_EQ(works[i].attend->key.shape[2], 1024 << i);
  }
}

TEST(LoadWorksTest, WorksOfOneNameAreNumbered) {
  std::vector<WorkShape> shapes(3);
  for (WorkShape& shape : shapes) shape.q_len = {4};
  shapes[1].name = "other";
  const auto works = BuildWorks(shapes, 1, NoSources());
  ASSERT_THAT(works, IsOk());
  EXPECT_EQ((*works)[0].name, "custom.1");
  EXPECT_EQ((*works)[1].name, "other");
  EXPECT_EQ((*works)[2].name, "custom.2");
}

TEST(LoadWorksTest, PackedSequencesHaveNoPadding) {
  WorkShape shape;
  shape.packed = {5, 3};
  shape.mask_density = 1;
  const auto works = Build(shape);
  const AttentionRequest& request = *works.front().attend;
  EXPECT_EQ(request.layout, Layout::kPacked);
  EXPECT_THAT(request.query.shape, ElementsAre(8, 12, 64));
  EXPECT_THAT(request.options.q_lengths, ElementsAre(5, 3));
  EXPECT_THAT(request.options.masks.front().tensor.shape, ElementsAre(1, 1, 5, 5));
  EXPECT_EQ(works.front().description, "Attend [8, 12, 64] float32 masked packed");
}

TEST(LoadWorksTest, EveryPresetMakesRequests) {
  for (const Preset& preset : Presets()) {
    for (const Work& work : Build(*ShapeOfPreset(preset.name))) {
      EXPECT_GT(work.flops, 0) << work.name;
      EXPECT_GT(work.message.Length(), 0) << work.name;
    }
  }
}

TEST(LoadWorksTest, TheSeedDecidesTheNumbers) {
  const WorkShape tiny = *ShapeOfPreset("tiny");
  EXPECT_EQ(BytesOf(Build(tiny, 7).front().message), BytesOf(Build(tiny, 7).front().message));
  EXPECT_NE(BytesOf(Build(tiny, 7).front().message), BytesOf(Build(tiny, 8).front().message));
}

TEST(LoadWorksTest, WhatNoMessageHoldsIsRefusedBeforeItIsMade) {
  WorkShape shape;
  shape.name = "huge";
  shape.kv_len = {int64_t{1} << 30};
  EXPECT_THAT(BuildWorks(std::vector{shape}, 1, NoSources()),
              IsError(absl::StatusCode::kInvalidArgument,
                      "huge: its tensors take more than 2 GiB, which is what a message holds"));
  shape.batch = shape.head_dim = shape.kv_len.front();
  EXPECT_THAT(BuildWorks(std::vector{shape}, 1, NoSources()), IsError(absl::StatusCode::kInvalidArgument, "2 GiB"));
}

TEST(LoadWorksTest, WhatNoServerTakesIsRefused) {
  WorkShape shape;
  shape.q_len = {4};
  shape.kv_lengths = {5};
  EXPECT_THAT(BuildWorks(std::vector{shape}, 1, NoSources()),
              IsError(absl::StatusCode::kInvalidArgument, "custom: kv_lengths: 5 is more than the 4 keys"));
}

TEST(LoadWorksTest, WeightsMakeItAMultiHeadAttend) {
  NamedWorkWeights weights{std::string(64, 'a'), {}, nullptr};
  for (const WeightRole role : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue, WeightRole::kOutput}) {
    weights.shapes.extents[role] = {24, 24};
  }
  WorkSources sources = NoSources();
  sources.weights = [&weights](const std::string& name) -> absl::StatusOr<NamedWorkWeights> {
    if (name == "layer") return weights;
    return absl::NotFoundError("weights 'x': unknown");
  };
  WorkShape shape;
  shape.name = "layer";
  shape.weights = "layer";
  shape.heads = 3;
  shape.batch = 2;
  shape.q_len = {5};
  const auto works = BuildWorks(std::vector{shape}, 1, sources);
  ASSERT_THAT(works, IsOk());
  const Work& work = works->front();
  EXPECT_EQ(work.method, "/attnd.v1.AttentionService/MultiHeadAttend");
  EXPECT_EQ(work.description, "MultiHeadAttend [2, 5, 24] float32 3 heads");
  ASSERT_NE(work.multihead, nullptr);
  EXPECT_EQ(work.multihead->weights_id, weights.id);
  EXPECT_THAT(work.multihead->request.query.shape, ElementsAre(2, 5, 24));
  // Four products of 10 rows, and attention of 3 heads of 8.
  EXPECT_EQ(work.flops, 4.0 * 2 * 10 * 24 * 24 + 2.0 * 2 * 3 * 5 * 5 * 16);

  shape.model_dim = 25;
  EXPECT_THAT(BuildWorks(std::vector{shape}, 1, sources), IsError(absl::StatusCode::kInvalidArgument, "layer: query"));
  shape.weights = "x";
  EXPECT_THAT(BuildWorks(std::vector{shape}, 1, sources), IsError(absl::StatusCode::kNotFound, "layer: weights 'x'"));
}

TEST(LoadRandomTest, NumbersAreNormalAndRoundedToNearest) {
  constexpr int64_t kCount = 100'000;
  RandomBits random(3);
  const auto exact_bytes = NormalNumbers(DataType::kFloat32, kCount, random);
  const auto numbers = ReferenceNumbers({DataType::kFloat32, {kCount}, Fragments(exact_bytes)});
  double sum = 0;
  double squares = 0;
  for (const double x : numbers) {
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.03);
  for (const DataType dtype : {DataType::kFloat16, DataType::kBfloat16}) {
    RandomBits same(3);
    const auto bytes = NormalNumbers(dtype, kCount, same);
    const auto rounded = ReferenceNumbers({dtype, {kCount}, Fragments(bytes)});
    for (size_t i = 0; i < rounded.size(); ++i) ASSERT_EQ(rounded[i], RoundTo(dtype, numbers[i])) << i;
  }
}

TEST(LoadRandomTest, MasksKeepTheShare) {
  RandomBits random(5);
  int64_t kept = 0;
  for (const std::byte keep : RandomMask(0.3, 100'000, random)) kept += std::to_integer<int64_t>(keep);
  EXPECT_NEAR(static_cast<double>(kept), 30'000, 1000);
}

}  // namespace
}  // namespace attnd::load
