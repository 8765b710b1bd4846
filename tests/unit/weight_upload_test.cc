#include "core/linear/weight_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/status_matchers.h"
#include "tests/support/weights_case.h"

namespace attnd {
namespace {

using Role = WeightRole;
using enum absl::StatusCode;

ProjectionWeights WithoutBytes(ProjectionWeights weights) {
  for (const WeightRoleInfo& info : WeightRoles()) {
    if (weights.tensors[info.role].has_value()) weights.tensors[info.role]->bytes = {};
  }
  return weights;
}

class WeightUploadTest : public ::testing::Test {
 protected:
  WeightUploadTest() {
    weights_.Fill(Role::kQuery, {4, 5}).Fill(Role::kKey, {4, 5}).Fill(Role::kValue, {3, 5}).Fill(Role::kKeyBias, {4});
    upload_ = *WeightUpload::Begin(WithoutBytes(weights_.weights()), weights_.Id());
  }

  std::span<const std::byte> Bytes(Role role) const { return weights_.weights().tensors[role]->bytes.pieces()[0]; }
  absl::Status Send(Role role) { return upload_->Append(InfoOf(role).name, Fragments(Bytes(role))); }

  WeightsCase weights_;
  std::unique_ptr<WeightUpload> upload_;
};

TEST_F(WeightUploadTest, PutsTensorsTogether) {
  EXPECT_EQ(upload_->bytes(), (20 + 20 + 15 + 4) * 4);
  const auto query = Bytes(Role::kQuery);
  ASSERT_THAT(upload_->Append("w_query", Fragments(query.first(7))), IsOk());
  ASSERT_THAT(upload_->Append("", {}), IsOk());
  ASSERT_THAT(upload_->Append("", Fragments(query.subspan(7, 1))), IsOk());
  ASSERT_THAT(upload_->Append("w_query", Fragments(query.subspan(8))), IsOk());
  for (const Role role : {Role::kKey, Role::kValue, Role::kKeyBias}) ASSERT_THAT(Send(role), IsOk());
  const auto weights = upload_->Finish();
  ASSERT_THAT(weights, IsOk());
  EXPECT_EQ(*WeightsId(**weights), weights_.Id());
}

TEST_F(WeightUploadTest, TakesTensorsInAnyOrder) {
  for (const Role role : {Role::kKeyBias, Role::kValue, Role::kQuery, Role::kKey}) ASSERT_THAT(Send(role), IsOk());
  EXPECT_THAT(upload_->Finish(), IsOk());
}

TEST_F(WeightUploadTest, NeedsAnId) {
  EXPECT_THAT(WeightUpload::Begin(WithoutBytes(weights_.weights()), ""),
              NamesField(kInvalidArgument, "header.weights_id"));
  EXPECT_THAT(WeightUpload::Begin(WithoutBytes(weights_.weights()), std::string(1000, '\n')),
              IsError(kInvalidArgument, "SHA-256"));
}

TEST_F(WeightUploadTest, ChecksTheHeader) {
  ProjectionWeights wrong = WithoutBytes(weights_.weights());
  wrong.tensors[Role::kKeyBias]->shape = {9};
  EXPECT_THAT(WeightUpload::Begin(wrong, weights_.Id()), NamesField(kInvalidArgument, "header.weights.b_key.shape"));
}

TEST_F(WeightUploadTest, NamesWhatIsWrongWithChunks) {
  EXPECT_THAT(upload_->Append("", {}), NamesField(kInvalidArgument, "chunk.tensor"));
  EXPECT_THAT(upload_->Append("w_output", {}), IsError(kInvalidArgument, "'w_output', which the header does not have"));
  ASSERT_THAT(upload_->Append("w_query", Fragments(Bytes(Role::kQuery).first(8))), IsOk());
  EXPECT_THAT(upload_->Append("w_key", {}), IsError(kInvalidArgument, "'w_key' after 8 of 80 bytes of w_query"));
  EXPECT_THAT(upload_->Append("", Fragments(Bytes(Role::kQuery))),
              IsError(kInvalidArgument, "has 80 bytes; 72 of 80 are missing in w_query"));
  ASSERT_THAT(upload_->Append("", Fragments(Bytes(Role::kQuery).subspan(8))), IsOk());
  ASSERT_THAT(Send(Role::kKey), IsOk());
  EXPECT_THAT(Send(Role::kQuery), IsError(kInvalidArgument, "come before"));
  EXPECT_THAT(upload_->Finish(), IsError(kInvalidArgument, "ended after 0 of 60 bytes of w_value"));
}

TEST_F(WeightUploadTest, RefusesOtherContent) {
  upload_ = *WeightUpload::Begin(WithoutBytes(weights_.weights()), std::string(64, '0'));
  for (const Role role : {Role::kQuery, Role::kKey, Role::kValue, Role::kKeyBias}) ASSERT_THAT(Send(role), IsOk());
  const auto weights = upload_->Finish();
  EXPECT_THAT(weights, NamesField(kInvalidArgument, "header.weights_id"));
  EXPECT_THAT(weights, IsError(kInvalidArgument, "the content that came has " + weights_.Id()));
}

}  // namespace
}  // namespace attnd
