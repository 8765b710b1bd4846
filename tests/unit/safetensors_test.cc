#include "core/linear/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/file_contents.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::TestParamInfo;
using ::testing::TestWithParam;
using ::testing::ValuesIn;

// The 8 bytes before the header.
std::string Length(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i)));
  return bytes;
}

std::string File(const std::string& header, size_t data_bytes) {
  return Length(header.size()) + header + std::string(data_bytes, '\x01');
}

TEST(SafetensorsTest, ReadsWhatItWrites) {
  const std::array<float, 6> floats = {1, 2, 3, 4, 5, 6};
  const std::array<uint8_t, 3> bools = {1, 0, 1};
  const std::array<int64_t, 1> number = {-7};
  const std::vector<StoredTensor> tensors = {
      {"mask", StoredType::kBool, {3}, std::as_bytes(std::span(bools))},
      {"query", StoredType::kF32, {2, 3}, std::as_bytes(std::span(floats))},
      {"count", StoredType::kI64, {}, std::as_bytes(std::span(number))},
      {"nothing", StoredType::kF32, {4, 0}, {}},
  };
  const std::string path = TempPath("round_trip");
  ASSERT_THAT(WriteSafetensors(path, tensors, {{"causal", "top_left"}, {"scale", "0.5"}}), IsOk());

  const auto file = Safetensors::Read(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("causal", "top_left"), Pair("scale", "0.5")));
  EXPECT_EQ(file->tensors().size(), tensors.size());
  for (const StoredTensor& wanted : tensors) {
    const StoredTensor* found = file->Find(wanted.name);
    ASSERT_NE(found, nullptr) << wanted.name;
    EXPECT_EQ(found->dtype, wanted.dtype);
    EXPECT_EQ(found->shape, wanted.shape);
    EXPECT_TRUE(std::equal(found->bytes.begin(), found->bytes.end(), wanted.bytes.begin(), wanted.bytes.end()));
  }
  EXPECT_EQ(file->Find("absent"), nullptr);
}

TEST(SafetensorsTest, WritesTensorsAlignedToTheirElements) {
  const std::array<uint8_t, 3> bools = {};
  const std::array<double, 2> doubles = {};
  const std::array<float, 1> floats = {};
  const std::vector<StoredTensor> tensors = {
      {"a", StoredType::kBool, {3}, std::as_bytes(std::span(bools))},
      {"b", StoredType::kF32, {1}, std::as_bytes(std::span(floats))},
      {"c", StoredType::kF64, {2}, std::as_bytes(std::span(doubles))},
  };
  const std::string path = TempPath("aligned");
  ASSERT_THAT(WriteSafetensors(path, tensors, {}), IsOk());
  const auto contents = ReadFile(path);
  ASSERT_THAT(contents, IsOk());
  const auto file = Safetensors::Read(path);
  ASSERT_THAT(file, IsOk());
  const std::byte* last = file->tensors().back().bytes.data() + file->tensors().back().bytes.size();
  for (const StoredTensor& tensor : file->tensors()) {
    const auto offset = contents->bytes().size() - static_cast<size_t>(last - tensor.bytes.data());
    EXPECT_EQ(offset % StoredTypeSize(tensor.dtype), 0) << tensor.name;
  }
}

TEST(SafetensorsTest, CopiesShareTheBytes) {
  auto file = Safetensors::Parse(Contents(File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2)), "f");
  ASSERT_THAT(file, IsOk());
  auto copy = std::make_unique<Safetensors>(*file);
  const auto owner = copy->owner();
  const auto bytes = copy->Find("a")->bytes;
  EXPECT_EQ(bytes.data(), file->Find("a")->bytes.data());
  copy.reset();
  file = absl::CancelledError();
  EXPECT_EQ(bytes[1], std::byte{1});
}

TEST(SafetensorsTest, AcceptsPaddedHeadersAndUnknownKeysOfATensor) {
  const std::string header = R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2],"note":"x"}}     )";
  EXPECT_THAT(Safetensors::Parse(Contents(File(header, 2)), "f"), IsOk());
}

TEST(SafetensorsTest, AcceptsAFileWithoutTensors) {
  const auto file = Safetensors::Parse(Contents(File(R"({"__metadata__":{}})", 0)), "f");
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE(file->tensors().empty());
}

struct BadFile {
  const char* name;
  std::string contents;
  const char* message;
};

class BadSafetensorsTest : public TestWithParam<BadFile> {};

TEST_P(BadSafetensorsTest, IsRefusedWithAReason) {
  const auto file = Safetensors::Parse(Contents(GetParam().contents), "case.safetensors");
  EXPECT_THAT(file, IsError(absl::StatusCode::kInvalidArgument, GetParam().message));
  EXPECT_THAT(file, IsError(absl::StatusCode::kInvalidArgument, "case.safetensors: "));
}

const std::vector<BadFile>& BadFiles() {
  static const auto* files = new std::vector<BadFile>{
      {"empty", "", "it has 0 bytes"},
      {"short_prefix", "1234567", "it has 7 bytes"},
      {"header_over_the_limit", Length(100'000'001) + "{}", "allowed are 100000000"},
      {"header_length_of_all_ones", Length(UINT64_MAX) + "{}", "header of 18446744073709551615 bytes"},
      {"header_longer_than_the_file", Length(3) + "{}", "truncated: header of 3 bytes in a file of 10"},
      {"no_header", Length(0), "no JSON object"},
      {"a_zip_file", "PK\x03\x04 and so on", "not a safetensors file"},
      {"leading_space", File(" {}", 0), "no JSON object"},
      {"broken_json", File(R"({"a":)", 0), "not valid JSON"},
      {"bytes_after_the_json", File("{} {}", 0), "not valid JSON"},
      {"invalid_utf8", File("{\"\xff\":1}", 0), "not valid JSON"},
      {"entry_no_object", File(R"({"a":1})", 0), "tensor 'a': its entry is not a JSON object"},
      {"no_dtype", File(R"({"a":{"shape":[],"data_offsets":[0,0]}})", 0), "tensor 'a': dtype is missing"},
      {"dtype_no_string", File(R"({"a":{"dtype":32,"shape":[],"data_offsets":[0,0]}})", 0), "dtype is missing or not"},
      {"unknown_dtype", File(R"({"a":{"dtype":"C64","shape":[],"data_offsets":[0,8]}})", 8), "unknown dtype 'C64'"},
      {"no_shape", File(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", 0), "shape is missing"},
      {"negative_extent", File(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", 0), "integers >= 0"},
      {"fractional_extent", File(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1), "integers >= 0"},
      {"huge_extent", File(R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0]}})", 0),
       "integers >= 0"},
      {"no_offsets", File(R"({"a":{"dtype":"U8","shape":[0]}})", 0), "data_offsets is missing"},
      {"one_offset", File(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}})", 0), "not two integers"},
      {"offsets_reversed", File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1), "[1, 0] are not"},
      {"offsets_past_the_end", File(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1),
       "within the 1 bytes of data"},
      {"shape_and_offsets_differ", File(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}})", 20),
       "F32 of shape [2, 3] needs 24 bytes, data_offsets give 20"},
      {"product_overflows", File(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
       "needs too many bytes"},
      {"overlap",
       File(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           3),
       "tensor 'b': its bytes overlap"},
      {"hole",
       File(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           3),
       "tensor 'b': there is a hole"},
      {"unclaimed_bytes", File(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 3),
       "2 bytes at the end belong to no tensor"},
      {"tensor_twice",
       File(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           1),
       "the header has 'a' twice"},
      {"key_twice", File(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
       "the header has 'dtype' twice"},
      {"metadata_no_object", File(R"({"__metadata__":[]})", 0), "__metadata__ is not a JSON object"},
      {"metadata_no_string", File(R"({"__metadata__":{"scale":1}})", 0), "__metadata__ 'scale' is not a string"},
      {"nested_too_deep", File(R"({"a":{"shape":[[1]]}})", 0), "nested deeper"},
      {"nested_very_deep", File("{\"a\":" + std::string(1'000'000, '['), 0), "nested deeper"},
  };
  return *files;
}

INSTANTIATE_TEST_SUITE_P(Table, BadSafetensorsTest, ValuesIn(BadFiles()),
                         [](const TestParamInfo<BadFile>& bad) { return std::string(bad.param.name); });

// In time that grows with the header: in its square this would take an hour.
TEST(SafetensorsTest, ReadsHeadersOfVeryManyTensors) {
  constexpr int kTensors = 300'000;
  std::string header = "{";
  for (int i = 0; i < kTensors; ++i) {
    header += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" +
              std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  const auto file = Safetensors::Parse(Contents(File(header + "}", kTensors)), "f");
  ASSERT_THAT(file.status(), IsOk());
  EXPECT_EQ(file->tensors().size(), kTensors);
}

TEST(SafetensorsTest, AnyTruncationOfAFileIsRefused) {
  const std::string whole = File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Safetensors::Parse(Contents(whole.substr(0, size)), "f").ok()) << size;
  }
  EXPECT_THAT(Safetensors::Parse(Contents(whole), "f"), IsOk());
}

TEST(SafetensorsTest, MissingFilesAndDirectoriesAreNamed) {
  EXPECT_THAT(Safetensors::Read("/nowhere/x.safetensors"),
              IsError(absl::StatusCode::kNotFound, "/nowhere/x.safetensors: No such file"));
  EXPECT_THAT(Safetensors::Read("/dev"), IsError(absl::StatusCode::kInvalidArgument, "/dev: not a regular file"));
  EXPECT_THAT(Safetensors::Read("/dev/zero"), IsError(absl::StatusCode::kInvalidArgument, "not a regular file"));
}

TEST(SafetensorsTest, RefusesToWriteWhatItCouldNotRead) {
  const std::array<float, 2> floats = {};
  const StoredTensor good = {"a", StoredType::kF32, {2}, std::as_bytes(std::span(floats))};
  StoredTensor reserved = good;
  reserved.name = "__metadata__";
  StoredTensor misshapen = good;
  misshapen.shape = {3};
  const std::string path = TempPath("refused");
  const auto write = [&path](const std::vector<StoredTensor>& tensors) { return WriteSafetensors(path, tensors, {}); };
  EXPECT_THAT(write({good, good}), IsError(absl::StatusCode::kInvalidArgument, "tensor 'a': given twice"));
  EXPECT_THAT(write({reserved}), IsError(absl::StatusCode::kInvalidArgument, "the format's own"));
  EXPECT_THAT(write({misshapen}), IsError(absl::StatusCode::kInvalidArgument, "F32 of shape [3] does not have 8"));
  EXPECT_THAT(ReadFile(path), IsError(absl::StatusCode::kNotFound, path));
  EXPECT_THAT(WriteSafetensors("/nowhere/x", {}, {}), IsError(absl::StatusCode::kNotFound, "/nowhere/x: No such file"));
}

TEST(SafetensorsTest, SizesAreOverflowSafe) {
  EXPECT_EQ(StoredBytes(StoredType::kF32, std::vector<int64_t>{2, 3}), 24);
  EXPECT_EQ(StoredBytes(StoredType::kF64, std::vector<int64_t>{}), 8);
  EXPECT_EQ(StoredBytes(StoredType::kF64, std::vector<int64_t>{INT64_MAX, INT64_MAX, 0}), 0);
  EXPECT_EQ(StoredBytes(StoredType::kF64, std::vector<int64_t>{INT64_MAX}), std::nullopt);
  EXPECT_EQ(StoredBytes(StoredType::kU8, std::vector<int64_t>{0, -1}), std::nullopt);
}

TEST(SafetensorsTest, EveryTypeHasItsOwnName) {
  for (int i = 0; i <= static_cast<int>(StoredType::kF64); ++i) {
    const auto dtype = static_cast<StoredType>(i);
    EXPECT_EQ(StoredTypeFromName(StoredTypeName(dtype)), dtype);
  }
  EXPECT_EQ(StoredTypeFromName("f32"), std::nullopt);
}

}  // namespace
}  // namespace attnd
