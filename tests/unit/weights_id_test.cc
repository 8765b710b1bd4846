#include "core/linear/weights_id.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

using Role = WeightRole;

constexpr std::array kHalves = {std::byte{0x80}, std::byte{0x3f}, std::byte{0x00}, std::byte{0x40}};

void FillSmall(WeightsCase& weights) {
  weights.Set(Role::kQuery, {2, 3}, {0, 1, 2, 3, 4, 5}).Set(Role::kKey, {2, 3}, {10, 11, 12, 13, 14, 15});
  weights.weights().tensors[Role::kValue] = {DataType::kBfloat16, {2, 1}, Fragments(kHalves)};
  weights.Set(Role::kKeyBias, {3}, {1, 2, 3}).Set(Role::kPositionTable, {1, 2}, {7, 8});
  weights.Set(Role::kAttentionNormScale, {2}, {1, 1});
}

// The literal is what Python's hashlib makes of the definition in weights.proto.
TEST(WeightsIdTest, IsTheDocumentedHash) {
  WeightsCase weights(Orientation::kInOut);
  FillSmall(weights);
  EXPECT_EQ(weights.Id(), "383975ff74589a13c5f2c1499583a9865d6b9d259b6e1b1bbf8eeb9f160f4396");
}

TEST(WeightsIdTest, DoesNotDependOnPieces) {
  WeightsCase weights(Orientation::kInOut);
  FillSmall(weights);
  const std::string whole = weights.Id();
  auto& bytes = weights.weights().tensors[Role::kQuery]->bytes;
  const auto all = bytes.pieces()[0];
  bytes = Fragments(all.first(5));
  bytes.Append(all.subspan(5));
  EXPECT_EQ(weights.Id(), whole);
}

TEST(WeightsIdTest, DependsOnEverythingElse) {
  WeightsCase weights(Orientation::kInOut);
  FillSmall(weights);
  std::vector<std::string> ids = {weights.Id()};
  weights.weights().orientation = Orientation::kOutIn;
  ids.push_back(weights.Id());
  weights.Set(Role::kQuery, {3, 2}, {0, 1, 2, 3, 4, 5});
  ids.push_back(weights.Id());
  weights.weights().tensors[Role::kValue]->dtype = DataType::kFloat16;
  ids.push_back(weights.Id());
  weights.Set(Role::kKeyBias, {3}, {1, 2, 4});
  ids.push_back(weights.Id());
  weights.Set(Role::kValueBias, {3}, {1, 2, 4}).Remove(Role::kKeyBias);
  ids.push_back(weights.Id());
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_TRUE(IsWeightsId(ids[i]));
    for (size_t j = 0; j < i; ++j) EXPECT_NE(ids[i], ids[j]) << i << " " << j;
  }
}

TEST(WeightsIdTest, KnowsTheFormOfIds) {
  EXPECT_TRUE(IsWeightsId(std::string(64, 'a')));
  EXPECT_FALSE(IsWeightsId(std::string(63, 'a')));
  EXPECT_FALSE(IsWeightsId(std::string(64, 'A')));
  EXPECT_FALSE(IsWeightsId(std::string(64, 'g')));
}

TEST(AliasTest, HasLettersDigitsAndSomeSigns) {
  for (const std::string& alias : {std::string("bert.layer.0"), std::string("a/b:c_d-E9"), std::string(256, 'x')}) {
    EXPECT_THAT(CheckAlias("alias", alias), IsOk()) << alias;
  }
  const std::string bad[] = {"", std::string(257, 'x'), "a b", "a\nb", "\xc3\xa4", "a*", std::string(64, 'F')};
  for (const std::string& alias : bad) {
    EXPECT_THAT(CheckAlias("alias", alias), NamesField(absl::StatusCode::kInvalidArgument, "alias")) << alias;
  }
}

}  // namespace
}  // namespace attnd
