#include "core/attention/gather.h"

#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "core/attention/rope.h"
#include "core/attention/simd_rows.h"

namespace attnd {
namespace {

size_t FloatBytes(const TensorView& tensor) {
  return static_cast<size_t>(TensorBytes(DataType::kFloat32, tensor.shape).value_or(0));
}

// What a thread copies in one go: some tenths of a millisecond.
constexpr size_t kPartBytes = size_t{2} << 20;

// Cuts the copying of `tensor` to `place` between its pieces.
void AppendParts(const TensorView& tensor, std::byte* place, std::vector<Gathering::Part>& parts) {
  const auto pieces = tensor.bytes.pieces();
  size_t begin = 0;
  size_t bytes = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    bytes += pieces[i].size();
    if (bytes < kPartBytes && i + 1 < pieces.size()) continue;
    parts.push_back({pieces.subspan(begin, i + 1 - begin), place});
    place += bytes;
    begin = i + 1;
    bytes = 0;
  }
}

// Hands out the block from its start, and fills it or, where there are `parts`, leaves that to
// them for what is large.
class Cursor {
 public:
  explicit Cursor(std::byte* at, std::vector<Gathering::Part>* parts = nullptr) : at_(at), parts_(parts) {}

  std::byte* Take(size_t bytes) { return std::exchange(at_, at_ + AlignedSize(bytes)); }
  std::byte* Copy(const TensorView& tensor) {
    std::byte* place = Take(tensor.bytes.size());
    if (parts_ != nullptr && tensor.bytes.size() >= 2 * kPartBytes) {
      AppendParts(tensor, place, *parts_);
    } else {
      tensor.bytes.CopyTo(place);
    }
    return place;
  }
  const float* CopyAsFloats(const TensorView& tensor) {
    std::vector<std::byte> raw(tensor.bytes.size());
    tensor.bytes.CopyTo(raw.data());
    const size_t bytes = FloatBytes(tensor);
    auto* floats = reinterpret_cast<float*>(Take(bytes));
    simd::LoadRow(raw.data(), tensor.dtype, static_cast<int64_t>(bytes / sizeof(float)), floats);
    return floats;
  }

 private:
  std::byte* at_;
  std::vector<Gathering::Part>* const parts_;
};

size_t OptionBytes(const AttentionOptions& options) {
  size_t bytes = 0;
  for (const Mask& mask : options.masks) bytes += AlignedSize(mask.tensor.bytes.size());
  for (const TensorView& bias : options.biases) bytes += AlignedSize(bias.bytes.size());
  for (const auto* tensor : {&options.alibi_slopes, &options.sinks}) {
    if (tensor->has_value()) bytes += AlignedSize(FloatBytes(**tensor));
  }
  return bytes;
}

size_t BlockBytes(const AttentionRequest& request, bool rotated) {
  size_t bytes = OptionBytes(request.options) + AlignedSize(request.value.bytes.size());
  for (const TensorView* tensor : {&request.query, &request.key}) {
    bytes += AlignedSize(rotated ? FloatBytes(*tensor) : tensor->bytes.size());
  }
  return bytes;
}

void CopyOptions(const AttentionOptions& options, Cursor& cursor, AttentionData& data) {
  for (const Mask& mask : options.masks) data.masks.push_back(cursor.Copy(mask.tensor));
  for (const TensorView& bias : options.biases) data.biases.push_back(cursor.Copy(bias));
  if (options.alibi_slopes) data.alibi_slopes = cursor.CopyAsFloats(*options.alibi_slopes);
  if (options.sinks) data.sinks = cursor.CopyAsFloats(*options.sinks);
}

// Query or key, rotated. Tensors of 16 bits need room of their own for a moment.
absl::Status Rotate(const TensorView& tensor, RopeTensor which, const AttentionPlan& plan, BufferPool* pool,
                    float* destination) {
  auto* bytes = reinterpret_cast<std::byte*>(destination);
  if (tensor.dtype == DataType::kFloat32) {
    tensor.bytes.CopyTo(bytes);
    ApplyRope(plan, which, bytes, destination);
    return absl::OkStatus();
  }
  const auto raw = pool->Allocate(tensor.bytes.size());
  if (!raw.ok()) return raw.status();
  tensor.bytes.CopyTo(raw->data());
  ApplyRope(plan, which, raw->data(), destination);
  return absl::OkStatus();
}

}  // namespace

absl::Status Gathering::Begin(const AttentionRequest& request, const AttentionPlan& plan, BufferPool* pool,
                              Buffer& memory, AttentionData& data) {
  const bool rotated = plan.rope.has_value();
  auto block = pool->Allocate(BlockBytes(request, rotated));
  if (!block.ok()) return block.status();
  memory = *std::move(block);
  Cursor cursor(memory.data(), &parts_);
  if (rotated) {
    auto* query = reinterpret_cast<float*>(cursor.Take(FloatBytes(request.query)));
    auto* key = reinterpret_cast<float*>(cursor.Take(FloatBytes(request.key)));
    if (absl::Status s = Rotate(request.query, RopeTensor::kQuery, plan, pool, query); !s.ok()) return s;
    if (absl::Status s = Rotate(request.key, RopeTensor::kKey, plan, pool, key); !s.ok()) return s;
    data.query = reinterpret_cast<std::byte*>(query);
    data.key = reinterpret_cast<std::byte*>(key);
  } else {
    data.query = cursor.Copy(request.query);
    data.key = cursor.Copy(request.key);
  }
  data.value = cursor.Copy(request.value);
  CopyOptions(request.options, cursor, data);
  return absl::OkStatus();
}

void Gathering::Run(int64_t part) const {
  const Part& taken = parts_[static_cast<size_t>(part)];
  std::byte* to = taken.to;
  for (const auto piece : taken.pieces) {
    std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
}

absl::Status GatherInputs(const AttentionRequest& request, const AttentionPlan& plan, BufferPool* pool, Buffer& memory,
                          AttentionData& data) {
  Gathering gathering;
  if (absl::Status s = gathering.Begin(request, plan, pool, memory, data); !s.ok()) return s;
  for (int64_t part = 0; part < gathering.parts(); ++part) gathering.Run(part);
  return absl::OkStatus();
}

absl::Status GatherOptions(const AttentionOptions& options, BufferPool* pool, Buffer& memory, AttentionData& data) {
  auto block = pool->Allocate(OptionBytes(options));
  if (!block.ok()) return block.status();
  memory = *std::move(block);
  Cursor cursor(memory.data());
  CopyOptions(options, cursor, data);
  return absl::OkStatus();
}

}  // namespace attnd
