#include "client/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/file_contents.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"

namespace attnd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::TestParamInfo;
using ::testing::TestWithParam;
using ::testing::ValuesIn;

// A file of the given format version.
std::string File(const std::string& header, size_t data_bytes, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) file += static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(data_bytes, '\0');
}

std::string Dictionary(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }   \n";
}

TEST(NpyTest, ReadsWhatItWrites) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {1}, {2, 3}, {2, 0, 5}, {1, 1, 1, 1, 7}}) {
    size_t count = 1;
    for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i) + 0.5F;
    const std::string path = TempPath("round_trip.npy");
    ASSERT_THAT(WriteNpy(path, shape, values), IsOk());

    const auto array = ReadNpy(path);
    ASSERT_THAT(array, IsOk());
    EXPECT_EQ(array->dtype, StoredType::kF32);
    EXPECT_EQ(array->shape, shape);
    ASSERT_EQ(array->bytes.size(), count * sizeof(float));
    const auto written = std::as_bytes(std::span(values));
    EXPECT_TRUE(std::equal(array->bytes.begin(), array->bytes.end(), written.begin(), written.end()));
  }
}

TEST(NpyTest, WritesDataAtAMultipleOf64Bytes) {
  const std::string path = TempPath("aligned.npy");
  ASSERT_THAT(WriteNpy(path, std::vector<int64_t>{1}, std::vector<float>{1}), IsOk());
  const auto contents = ReadFile(path);
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ((contents->bytes().size() - sizeof(float)) % 64, 0);
}

TEST(NpyTest, RefusesToWriteAShapeThatDoesNotFit) {
  EXPECT_THAT(WriteNpy(TempPath("x.npy"), std::vector<int64_t>{2}, std::vector<float>{1}),
              IsError(absl::StatusCode::kInvalidArgument, "shape [2] does not have 1 elements"));
}

TEST(NpyTest, WritesTheTypesThatItReads) {
  const std::vector<std::byte> bytes(16);
  for (const StoredType dtype :
       {StoredType::kF16, StoredType::kF64, StoredType::kBool, StoredType::kU8, StoredType::kI32, StoredType::kI64}) {
    const StoredTensor written = {"", dtype, {2}, std::span(bytes).first(2 * StoredTypeSize(dtype))};
    ASSERT_THAT(WriteNpy(TempPath("typed.npy"), written), IsOk());
    const auto read = ReadNpy(TempPath("typed.npy"));
    ASSERT_THAT(read, IsOk());
    EXPECT_EQ(read->dtype, dtype);
  }
  EXPECT_THAT(WriteNpy(TempPath("typed.npy"), {"", StoredType::kBf16, {8}, bytes}),
              IsError(absl::StatusCode::kInvalidArgument, ".npy has no BF16 elements"));
}

TEST(NpyTest, ReadsEveryVersionAndType) {
  const std::vector<std::tuple<const char*, StoredType, size_t>> types = {
      {"'<f2'", StoredType::kF16, 2},   {"'<f4'", StoredType::kF32, 4}, {"'<f8'", StoredType::kF64, 8},
      {"'|b1'", StoredType::kBool, 1},  {"'|u1'", StoredType::kU8, 1},  {"'<i4'", StoredType::kI32, 4},
      {"\"<i8\"", StoredType::kI64, 8},
  };
  for (int version = 1; version <= 3; ++version) {
    for (const auto& [descr, dtype, size] : types) {
      const auto array = ParseNpy(Contents(File(Dictionary(descr, "False", "(3,)"), 3 * size, version)), "a.npy");
      ASSERT_THAT(array, IsOk()) << descr << " version " << version;
      EXPECT_EQ(array->dtype, dtype);
      EXPECT_THAT(array->shape, ElementsAre(3));
    }
  }
}

TEST(NpyTest, ReadsKeysInAnyOrderAndSpacing) {
  const auto array =
      ParseNpy(Contents(File("{'shape':( 2 , 1 ),\n'fortran_order' : False,\t'descr':'<f4'}", 8)), "a.npy");
  ASSERT_THAT(array, IsOk());
  EXPECT_THAT(array->shape, ElementsAre(2, 1));
  const auto scalar = ParseNpy(Contents(File(Dictionary("'<f4'", "False", "()"), 4)), "a.npy");
  ASSERT_THAT(scalar, IsOk());
  EXPECT_THAT(scalar->shape, IsEmpty());
}

struct BadFile {
  const char* name;
  std::string contents;
  const char* message;
};

class BadNpyTest : public TestWithParam<BadFile> {};

TEST_P(BadNpyTest, IsRefusedWithAReason) {
  const auto array = ParseNpy(Contents(GetParam().contents), "a.npy");
  EXPECT_THAT(array, IsError(absl::StatusCode::kInvalidArgument, GetParam().message));
  EXPECT_THAT(array, IsError(absl::StatusCode::kInvalidArgument, "a.npy: "));
}

const std::vector<BadFile>& BadFiles() {
  static const auto* files = new std::vector<BadFile>{
      {"empty", "", "not a .npy file"},
      {"text", "1.0, 2.0, 3.0", "not a .npy file"},
      {"magic_only", "\x93NUMPY", "not a .npy file"},
      {"version_4", File("{}", 0, 4), ".npy version 4"},
      {"no_length", std::string("\x93NUMPY\x01\0\x01", 9), "truncated in the header"},
      {"long_header", std::string("\x93NUMPY\x02\0\xff\xff\xff\xff{}", 14), "truncated in the header"},
      {"no_dictionary", File("descr", 0), "not one that NumPy writes"},
      {"open_dictionary", File("{'descr': '<f4', ", 0), "not one that NumPy writes"},
      {"open_string", File("{'descr': '<f4", 0), "not one that NumPy writes"},
      {"open_list", File("{'descr': [('a', '<f4')", 0), "not one that NumPy writes"},
      {"open_tuple", File("{'shape': (3", 0), "not one that NumPy writes"},
      {"missing_key", File("{'descr': '<f4', 'fortran_order': False}", 0), "not one that NumPy writes"},
      {"unknown_key", File("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}", 4),
       "not one that NumPy writes"},
      {"order_no_bool", File(Dictionary("'<f4'", "0", "()"), 4), "not one that NumPy writes"},
      {"negative_extent", File(Dictionary("'<f4'", "False", "(-1,)"), 4), "not one that NumPy writes"},
      {"huge_extent", File(Dictionary("'<f4'", "False", "(9223372036854775808,)"), 4), "not one that NumPy writes"},
      {"after_the_dictionary", File(Dictionary("'<f4'", "False", "()") + "x", 4), "not one that NumPy writes"},
      {"big_endian", File(Dictionary("'>f4'", "False", "()"), 4), "save array.astype('<f4') instead"},
      {"complex", File(Dictionary("'<c8'", "False", "()"), 8), "elements of type '<c8'; save array.astype('<f4')"},
      {"structured", File(Dictionary("[('a', '<f4'), ('b', '<f4')]", "False", "(1,)"), 8), "a structured array"},
      {"fortran_order", File(Dictionary("'<f4'", "True", "(2, 2)"), 16), "save np.ascontiguousarray(array) instead"},
      {"too_short", File(Dictionary("'<f4'", "False", "(2, 2)"), 15),
       "F32 of shape [2, 2] needs 16 bytes, the file has 15"},
      {"too_long", File(Dictionary("'<f4'", "False", "(2, 2)"), 17), "needs 16 bytes, the file has 17"},
      {"overflow", File(Dictionary("'<f8'", "False", "(4294967296, 4294967296)"), 0), "needs too many bytes"},
  };
  return *files;
}

INSTANTIATE_TEST_SUITE_P(Table, BadNpyTest, ValuesIn(BadFiles()),
                         [](const TestParamInfo<BadFile>& bad) { return std::string(bad.param.name); });

TEST(NpyTest, MissingFilesAreNamed) {
  EXPECT_THAT(ReadNpy("/nowhere/q.npy"), IsError(absl::StatusCode::kNotFound, "/nowhere/q.npy: No such file"));
}

}  // namespace
}  // namespace attnd
