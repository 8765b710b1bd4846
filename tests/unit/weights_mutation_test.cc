// 100,000 files and uploads that are almost right: all are read or refused, and none takes
// more memory than it may.
#include <gmock/gmock.h>
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/hostile_weights.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_path.h"
#include "tests/support/weights_case.h"
#include "tests/support/wire.h"

namespace attnd {
namespace {

std::atomic<int64_t> live_bytes = 0;
std::atomic<int64_t> peak_bytes = 0;

constexpr size_t kHeader = 16;

void* Allocate(size_t size) {
  auto* memory = static_cast<char*>(std::malloc(size + kHeader));
  if (memory == nullptr) return nullptr;
  *reinterpret_cast<size_t*>(memory) = size;
  const int64_t live = live_bytes += static_cast<int64_t>(size);
  for (int64_t peak = peak_bytes; live > peak && !peak_bytes.compare_exchange_weak(peak, live);) {
  }
  return memory + kHeader;
}

void Free(void* pointer) {
  if (pointer == nullptr) return;
  char* memory = static_cast<char*>(pointer) - kHeader;
  live_bytes -= static_cast<int64_t>(*reinterpret_cast<size_t*>(memory));
  std::free(memory);
}

}  // namespace
}  // namespace attnd

// Counted; what is over-aligned is not, and nothing here is.
void* operator new(size_t size) {
  void* memory = attnd::Allocate(size);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return attnd::Allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return attnd::Allocate(size); }
void operator delete(void* pointer) noexcept { attnd::Free(pointer); }
void operator delete[](void* pointer) noexcept { attnd::Free(pointer); }
void operator delete(void* pointer, size_t) noexcept { attnd::Free(pointer); }
void operator delete[](void* pointer, size_t) noexcept { attnd::Free(pointer); }

namespace attnd {
namespace {

constexpr int kMutations = kSanitized ? 2'000 : 50'000;

constexpr std::string_view kWords[] = {"data_offsets",
                                       "shape",
                                       "dtype",
                                       "__metadata__",
                                       "w_query",
                                       "\"F32\"",
                                       "\"F64\"",
                                       "[",
                                       "]",
                                       "{",
                                       "}",
                                       ":",
                                       ",",
                                       "-1",
                                       "0",
                                       "1e308",
                                       "null",
                                       "\\u0000",
                                       "\xff",
                                       "9223372036854775807",
                                       "9223372036854775808",
                                       "18446744073709551616",
                                       "[[[[[[[[[[[[",
                                       "block.w_up"};

// One to four changes at random places.
std::string Mutate(std::string bytes, Random& random) {
  for (int64_t changes = 1 + random.Below(4); changes > 0; --changes) {
    const auto at = static_cast<size_t>(random.Below(static_cast<int64_t>(bytes.size()) + 1));
    const auto span = static_cast<size_t>(random.Below(16));
    const std::string_view word = kWords[random.Below(std::size(kWords))];
    switch (random.Below(7)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.Below(8)));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random.Bits());
        break;
      case 2:
        bytes.erase(at, span);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, span));
        break;
      case 4:
        bytes.insert(at, word);
        break;
      case 5:
        bytes.replace(at, std::min(word.size(), bytes.size() - at), word);
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// A header's length made right again, so that mutations get past it.
std::string FixLength(std::string file, size_t data_bytes) {
  if (file.size() < 8 + data_bytes) return file;
  uint64_t length = file.size() - 8 - data_bytes;
  for (size_t i = 0; i < 8; ++i, length >>= 8) file[i] = static_cast<char>(length);
  return file;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class MutationTest : public ::testing::Test {
 protected:
  MutationTest() { google::protobuf::SetLogHandler(nullptr); }

  // Reads mutations of `seed`; `limit(size)` is the memory that one of this size may take.
  template <typename Fix, typename Read, typename Limit>
  void Run(const std::string& seed, int mutations, Fix fix, Read read, Limit limit) {
    ASSERT_THAT(read(seed), IsOk());
    Random random(seed.size());
    int accepted = 0;
    const int64_t at_first = live_bytes;
    for (int i = 0; i < mutations; ++i) {
      const std::string bytes = fix(Mutate(seed, random), i);
      const int64_t before = live_bytes;
      peak_bytes = before;
      {
        const absl::Status status = read(bytes);
        accepted += status.ok() ? 1 : 0;
        if (!status.ok()) {
          ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
          ASSERT_FALSE(status.message().empty());
          ASSERT_EQ(std::string(status.message()).find('\n'), std::string::npos) << status;
        }
      }
      ASSERT_LE(peak_bytes - before, limit(static_cast<int64_t>(bytes.size()))) << "mutation " << i;
    }
    EXPECT_GT(accepted, 0);
    EXPECT_LT(accepted, mutations);
    // But for tables that are made once, nothing stays.
    EXPECT_LE(live_bytes - at_first, int64_t{64} << 10);
  }
};

TEST_F(MutationTest, OfFiles) {
  WeightsCase weights;
  FillSquare(weights, 3, 1);
  std::vector<StoredTensor> tensors;
  for (const WeightRole role : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue}) {
    const TensorView& tensor = *weights.weights().tensors[role];
    tensors.push_back({InfoOf(role).name, StoredType::kF32, tensor.shape, tensor.bytes.pieces()[0]});
  }
  const std::string path = TempPath("seed.safetensors");
  ASSERT_THAT(WriteSafetensors(path, tensors, {{"orientation", "OUT_IN"}}), IsOk());
  constexpr size_t kData = 3 * 9 * 4;
  Run(
      ReadAll(path), kMutations,
      [](std::string bytes, int i) { return i % 4 == 0 ? bytes : FixLength(std::move(bytes), kData); }, ReadHostileFile,
      // What JSON values and names take beside their text.
      [](int64_t size) { return 200 * size + (int64_t{64} << 10); });
}

TEST_F(MutationTest, OfUploads) {
  WeightsCase weights;
  FillSquare(weights, 4, 1);
  std::vector<std::string> messages = {
      codec::ToString(codec::EncodeUploadHeader(weights.weights(), weights.Id(), "name"))};
  for (const WeightRole role : {WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue}) {
    const auto bytes = weights.weights().tensors[role]->bytes.pieces()[0];
    messages.push_back(codec::ToString(codec::EncodeUploadChunk(InfoOf(role).name, Fragments(bytes.first(20)))));
    messages.push_back(codec::ToString(codec::EncodeUploadChunk("", Fragments(bytes.subspan(20)))));
  }
  Run(
      JoinUpload(messages), kMutations, [](std::string bytes, int) { return bytes; }, ReadHostileUpload,
      [](int64_t size) { return kHostileBudget + 50 * size + (int64_t{64} << 10); });
}

}  // namespace
}  // namespace attnd
