#include <gmock/gmock.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "attnd/v1/attention.pb.h"
#include "client/load/answer.h"
#include "client/load/build_works.h"
#include "client/load/oracle.h"
#include "client/load/presets.h"
#include "client/load/verifier.h"
#include "tests/support/status_matchers.h"

namespace attnd::load {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kElsewhere[] = "another machine";

std::vector<Work> Works(const WorkShape& shape) {
  auto works = BuildWorks(std::vector{shape}, 1, {});
  EXPECT_THAT(works, IsOk());
  return *std::move(works);
}

WorkShape SmallShape() {
  WorkShape shape;
  shape.name = "small";
  shape.heads = 2;
  shape.q_len = {5};
  shape.head_dim = 8;
  return shape;
}

// The right answer, as a server with this program's arithmetic would give it.
v1::AttendResponse AnswerTo(const Work& work) {
  const auto message = ComputeAnswer(work, EngineKind::kFused);
  EXPECT_THAT(message, IsOk());
  v1::AttendResponse answer;
  EXPECT_TRUE(answer.ParseFromString(*message));
  answer.mutable_timings()->set_queue_seconds(1e-3);
  answer.mutable_timings()->set_gather_seconds(2e-3);
  answer.mutable_timings()->set_compute_seconds(3e-3);
  return answer;
}

// The message in that many pieces.
grpc::ByteBuffer ToBuffer(const std::string& message, size_t pieces = 1) {
  std::vector<grpc::Slice> slices;
  for (size_t i = 0; i < pieces; ++i) {
    const size_t begin = message.size() * i / pieces;
    const size_t end = message.size() * (i + 1) / pieces;
    slices.emplace_back(message.data() + begin, end - begin);
  }
  return {slices.data(), slices.size()};
}

grpc::ByteBuffer ToBuffer(const v1::AttendResponse& answer) { return ToBuffer(answer.SerializeAsString()); }

float ElementOf(const v1::AttendResponse& answer, size_t i) {
  float x = 0;
  std::memcpy(&x, answer.output().data().data() + i * sizeof(x), sizeof(x));
  return x;
}

void SetElement(v1::AttendResponse& answer, size_t i, float x) {
  std::memcpy(answer.mutable_output()->mutable_data()->data() + i * sizeof(x), &x, sizeof(x));
}

size_t LargestElement(const v1::AttendResponse& answer) {
  size_t largest = 0;
  for (size_t i = 0; i < answer.output().data().size() / sizeof(float); ++i) {
    if (std::abs(ElementOf(answer, i)) > std::abs(ElementOf(answer, largest))) largest = i;
  }
  return largest;
}

TEST(LoadVerifierTest, RightAnswersPass) {
  WorkShape shape = SmallShape();
  shape.causal = true;
  shape.kv_len = {9};
  for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    shape.dtype = dtype;
    const auto works = Works(shape);
    Verifier verifier({.share = 1}, works);
    const grpc::ByteBuffer answer = ToBuffer(AnswerTo(works[0]));
    for (int i = 0; i < 3; ++i) ASSERT_THAT(verifier.Take(0, answer), IsOk());
    const Verification found = verifier.Finish();
    EXPECT_EQ(found.failures(), 0) << found.first_failure;
    EXPECT_EQ(found.first_failure, "");
    EXPECT_EQ(found.against_oracle, 3);
    EXPECT_EQ(found.against_first, 2);
    EXPECT_EQ(found.against_local, 1);
    EXPECT_GT(found.worst_error, 0);
    EXPECT_LE(found.worst_error, 1);
  }
}

TEST(LoadVerifierTest, EveryLayoutIsComparedInItsOrder) {
  WorkShape packed = SmallShape();
  packed.packed = {5, 2, 7};
  WorkShape grouped = SmallShape();
  grouped.batch = 3;
  grouped.heads = 4;
  grouped.kv_heads = 2;
  grouped.kv_lengths = {5, 1, 3};
  grouped.mask_density = 0.7;
  for (const WorkShape& shape : {packed, grouped}) {
    const auto works = Works(shape);
    Verifier verifier({}, works);
    ASSERT_THAT(verifier.Take(0, ToBuffer(AnswerTo(works[0]))), IsOk());
    const Verification found = verifier.Finish();
    EXPECT_EQ(found.against_oracle, 1);
    EXPECT_EQ(found.failures(), 0) << found.first_failure;
  }
}

TEST(LoadVerifierTest, SaysWhatTheAnswerSaysOfTimes) {
  const auto works = Works(SmallShape());
  for (const bool enabled : {true, false}) {
    Verifier verifier({.enabled = enabled}, works);
    const auto timings = verifier.Take(0, ToBuffer(AnswerTo(works[0])));
    ASSERT_THAT(timings, IsOk());
    EXPECT_NEAR(Seconds(timings->queue), 1e-3, 1e-9);
    EXPECT_NEAR(Seconds(timings->gather), 2e-3, 1e-9);
    EXPECT_NEAR(Seconds(timings->compute), 3e-3, 1e-9);
    EXPECT_EQ(verifier.Finish().against_oracle, enabled ? 1 : 0);
  }
}

TEST(LoadVerifierTest, TheOracleCatchesAFlippedExponentOrHighMantissaBit) {
  const auto works = Works(SmallShape());
  v1::AttendResponse right = AnswerTo(works[0]);
  // So that the oracle is alone with it.
  right.set_numerics_id(kElsewhere);
  const size_t element = LargestElement(right);
  const auto bits = std::bit_cast<uint32_t>(ElementOf(right, element));
  for (int bit = 15; bit < 32; ++bit) {
    v1::AttendResponse wrong = right;
    SetElement(wrong, element, std::bit_cast<float>(bits ^ (uint32_t{1} << bit)));
    Verifier verifier({}, works);
    EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
    const Verification found = verifier.Finish();
    EXPECT_EQ(found.oracle_failures, 1) << "bit " << bit;
    EXPECT_EQ(found.failures(), 1);
    EXPECT_THAT(found.first_failure, StartsWith("small: output["));
    EXPECT_THAT(found.first_failure, HasSubstr("1 of 80 elements are out of it"));
  }
}

TEST(LoadVerifierTest, AFailureNamesElementValuesAndTolerance) {
  const auto works = Works(SmallShape());
  v1::AttendResponse wrong = AnswerTo(works[0]);
  wrong.set_numerics_id(kElsewhere);
  // [0, 1, 2, 3] of [1, 2, 5, 8].
  SetElement(wrong, 59, 1000);
  Verifier verifier({}, works);
  EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
  EXPECT_THAT(
      verifier.Finish().first_failure,
      ::testing::MatchesRegex("small: output\\[0, 1, 2, 3\\] is 1000, expected -?[0-9.e-]+; tolerance [0-9.e-]+, "
                              "1 of 80 elements are out of it"));
}

TEST(LoadVerifierTest, TheIdentityCheckCatchesEveryFlippedBit) {
  const auto works = Works(SmallShape());
  const v1::AttendResponse right = AnswerTo(works[0]);
  Verifier verifier({.local = false, .max_flops = 0}, works);
  EXPECT_THAT(verifier.Take(0, ToBuffer(right)), IsOk());
  const size_t bytes = right.output().data().size();
  for (size_t bit = 0; bit < bytes * 8; ++bit) {
    v1::AttendResponse wrong = right;
    char& byte = (*wrong.mutable_output()->mutable_data())[bit / 8];
    byte = static_cast<char>(byte ^ (1 << (bit % 8)));
    EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
  }
  const Verification found = verifier.Finish();
  EXPECT_EQ(found.against_first, static_cast<int64_t>(bytes * 8));
  EXPECT_EQ(found.identity_failures, static_cast<int64_t>(bytes * 8));
  EXPECT_EQ(found.oracle_failures, 0);
  EXPECT_THAT(found.first_failure, StartsWith("small: two answers to the same request: output[0, 0, 0, 0] is "));
}

TEST(LoadVerifierTest, ALocalComputationCatchesTheLowestBit) {
  const auto works = Works(SmallShape());
  v1::AttendResponse wrong = AnswerTo(works[0]);
  SetElement(wrong, 3, std::bit_cast<float>(std::bit_cast<uint32_t>(ElementOf(wrong, 3)) ^ 1U));
  Verifier verifier({}, works);
  EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
  const Verification found = verifier.Finish();
  EXPECT_EQ(found.against_local, 1);
  EXPECT_EQ(found.local_failures, 1);
  EXPECT_EQ(found.oracle_failures, 0);
  EXPECT_THAT(found.first_failure, StartsWith("small: computed here by the same arithmetic: output[0, 0, 0, 3] is "));
}

TEST(LoadVerifierTest, OtherArithmeticIsNotExpectedToGiveTheSameBits) {
  const auto works = Works(SmallShape());
  v1::AttendResponse one = AnswerTo(works[0]);
  v1::AttendResponse other = one;
  other.set_numerics_id(kElsewhere);
  SetElement(other, 3, std::bit_cast<float>(std::bit_cast<uint32_t>(ElementOf(other, 3)) ^ 1U));
  Verifier verifier({}, works);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(verifier.Take(0, ToBuffer(one)), IsOk());
    EXPECT_THAT(verifier.Take(0, ToBuffer(other)), IsOk());
  }
  const Verification found = verifier.Finish();
  EXPECT_EQ(found.failures(), 0) << found.first_failure;
  EXPECT_EQ(found.against_first, 2);
  EXPECT_EQ(found.against_oracle, 2);
  EXPECT_EQ(found.against_local, 1);
}

TEST(LoadVerifierTest, TimingsAndCountsMayDifferAndPiecesMayEndAnywhere) {
  const auto works = Works(SmallShape());
  const v1::AttendResponse first = AnswerTo(works[0]);
  v1::AttendResponse second = first;
  second.mutable_timings()->set_queue_seconds(7);
  second.mutable_counts()->set_tiles(99);
  Verifier verifier({}, works);
  EXPECT_THAT(verifier.Take(0, ToBuffer(first)), IsOk());
  EXPECT_THAT(verifier.Take(0, ToBuffer(second)), IsOk());
  const std::string message = first.SerializeAsString();
  for (const size_t pieces : {size_t{2}, size_t{7}, message.size()}) {
    EXPECT_THAT(verifier.Take(0, ToBuffer(message, pieces)), IsOk());
  }
  const Verification found = verifier.Finish();
  EXPECT_EQ(found.against_first, 4);
  EXPECT_EQ(found.failures(), 0) << found.first_failure;
}

TEST(LoadVerifierTest, AWrongShapeOrTypeIsAFailure) {
  const auto works = Works(SmallShape());
  v1::AttendResponse shape = AnswerTo(works[0]);
  shape.mutable_output()->set_shape(1, 1);
  shape.mutable_output()->set_shape(2, 10);
  v1::AttendResponse dtype = AnswerTo(works[0]);
  dtype.mutable_output()->set_dtype(v1::DATA_TYPE_FLOAT16);
  dtype.mutable_output()->mutable_data()->resize(160);
  // The largest works, too.
  for (const double max_flops : {1e9, 0.0}) {
    for (const v1::AttendResponse& wrong : {shape, dtype}) {
      Verifier verifier({.local = false, .max_flops = max_flops}, works);
      EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
      const Verification found = verifier.Finish();
      EXPECT_EQ(found.oracle_failures, 1);
      EXPECT_THAT(found.first_failure, HasSubstr("expected FLOAT32 [1, 2, 5, 8]"));
    }
  }
}

TEST(LoadVerifierTest, WhatIsNoAnswerIsAFailureOfTheCall) {
  const auto works = Works(SmallShape());
  const std::string right = AnswerTo(works[0]).SerializeAsString();
  Verifier verifier({}, works);
  EXPECT_THAT(verifier.Take(0, ToBuffer("")), IsError(absl::StatusCode::kInternal, "the answer has no output"));
  EXPECT_THAT(verifier.Take(0, ToBuffer("\xff\xff\xff")), IsError(absl::StatusCode::kInternal, "malformed"));
  EXPECT_THAT(verifier.Take(0, ToBuffer(right.substr(0, 100))), IsError(absl::StatusCode::kInternal, "malformed"));
  const Verification found = verifier.Finish();
  EXPECT_EQ(found.oracle_failures, 3);
  EXPECT_EQ(found.first_failure, "small: the answer has no output");
}

TEST(LoadVerifierTest, NoTruncatedOrGarbledAnswerCrashes) {
  const auto works = Works(SmallShape());
  const std::string right = AnswerTo(works[0]).SerializeAsString();
  for (size_t size = 0; size < right.size(); size += 3) {
    Verifier verifier({}, works);
    const auto taken = verifier.Take(0, ToBuffer(right.substr(0, size)));
    const Verification found = verifier.Finish();
    // What is cut after the tensor is still an answer, by other arithmetic.
    EXPECT_TRUE(taken.ok() || found.oracle_failures == 1) << size;
  }
  for (size_t at = 0; at < std::min<size_t>(right.size(), 40); ++at) {
    for (const char garbage : {'\0', '\x7f', '\xff'}) {
      std::string garbled = right;
      garbled[at] = garbage;
      Verifier verifier({}, works);
      verifier.Take(0, ToBuffer(garbled)).IgnoreError();
      verifier.Finish();
    }
  }
}

TEST(LoadVerifierTest, NonFiniteNumbersAreWrongUnlessExpected) {
  const auto works = Works(SmallShape());
  for (const float x : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    v1::AttendResponse wrong = AnswerTo(works[0]);
    wrong.set_numerics_id(kElsewhere);
    SetElement(wrong, 7, x);
    Verifier verifier({}, works);
    EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
    EXPECT_EQ(verifier.Finish().oracle_failures, 1);
  }
  const ExpectedOutput expected{DataType::kFloat16, {3}, {std::nan(""), 1e6, -1e6}, 0.1};
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Compare({DataType::kFloat16, {3}, {std::nanf(""), kInf, -kInf}}, expected).problem, "");
  EXPECT_THAT(Compare({DataType::kFloat16, {3}, {0, kInf, -kInf}}, expected).problem, StartsWith("output[0] is 0"));
  EXPECT_THAT(Compare({DataType::kFloat16, {3}, {std::nanf(""), -kInf, -kInf}}, expected).problem,
              StartsWith("output[1] is -inf, expected 1000000"));
}

TEST(LoadVerifierTest, TheShareIsSpreadEvenly) {
  const auto works = Works(SmallShape());
  const grpc::ByteBuffer answer = ToBuffer(AnswerTo(works[0]));
  Verifier verifier({.share = 0.1}, works);
  int64_t compared = 0;
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < 20; ++i) EXPECT_THAT(verifier.Take(0, answer), IsOk());
    compared += verifier.Finish().against_oracle;
  }
  // And the first.
  EXPECT_EQ(compared, 200 / 10 + 1);
}

TEST(LoadVerifierTest, WhatIsKnownOfWorksStaysForTheNextRun) {
  const auto works = Works(SmallShape());
  const v1::AttendResponse right = AnswerTo(works[0]);
  Verifier verifier({}, works);
  EXPECT_THAT(verifier.Take(0, ToBuffer(right)), IsOk());
  EXPECT_EQ(verifier.Finish().against_oracle, 1);
  v1::AttendResponse wrong = right;
  SetElement(wrong, 0, 1);
  EXPECT_THAT(verifier.Take(0, ToBuffer(wrong)), IsOk());
  const Verification second = verifier.Finish();
  EXPECT_EQ(second.against_oracle, 0);
  EXPECT_EQ(second.identity_failures, 1);
  EXPECT_EQ(verifier.Finish().failures(), 0);
}

TEST(LoadVerifierTest, AnswersLeftWithoutFinishAreLetGo) {
  const auto works = Works(SmallShape());
  const grpc::ByteBuffer answer = ToBuffer(AnswerTo(works[0]));
  Verifier verifier({.share = 1}, works);
  for (int i = 0; i < 200; ++i) EXPECT_THAT(verifier.Take(0, answer), IsOk());
}

TEST(LoadVerifierTest, MultiHeadAnswersAreComparedWithTheirOwnOracle) {
  std::vector<std::vector<float>> numbers;
  const auto tensor = [&numbers](std::vector<int64_t> shape) {
    numbers.emplace_back(static_cast<size_t>(shape[0] * shape[1]));
    for (size_t i = 0; i < numbers.back().size(); ++i) numbers.back()[i] = std::sin(static_cast<float>(i + shape[0]));
    return TensorView{DataType::kFloat32, shape, Fragments(std::as_bytes(std::span(numbers.back())))};
  };
  auto weights = std::make_shared<ProjectionWeights>();
  weights->orientation = Orientation::kInOut;
  for (const WeightRole role : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue, WeightRole::kOutput}) {
    weights->tensors[role] = tensor({12, 12});
  }
  const auto shapes = CheckWeights(*weights, "weights");
  ASSERT_THAT(shapes, IsOk());
  WorkShape shape = SmallShape();
  shape.heads = 3;
  shape.batch = 2;
  shape.weights = "layer";
  for (const bool known : {true, false}) {
    const auto works = BuildWorks(std::vector{shape}, 1,
                                  {.weights = [&](const std::string&) -> absl::StatusOr<NamedWorkWeights> {
                                     return NamedWorkWeights{std::string(64, 'a'), *shapes, known ? weights : nullptr};
                                   },
                                   .case_file = nullptr});
    ASSERT_THAT(works, IsOk());
    Work computable = works->front();
    computable.weights = weights;
    const auto message = ComputeAnswer(computable, EngineKind::kFused);
    ASSERT_THAT(message, IsOk());
    Verifier verifier({}, *works);
    EXPECT_THAT(verifier.Take(0, ToBuffer(*message)), IsOk());
    const Verification found = verifier.Finish();
    EXPECT_EQ(found.failures(), 0) << found.first_failure;
    // Without the weights nobody can tell.
    EXPECT_EQ(found.against_oracle, known ? 1 : 0);
    EXPECT_EQ(found.against_local, known ? 1 : 0);
  }
}

}  // namespace
}  // namespace attnd::load
