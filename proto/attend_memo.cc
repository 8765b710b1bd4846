#include "proto/attend_memo.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <utility>

#include "proto/piece_reader.h"

namespace attnd::codec {
namespace {

using Bytes = std::span<const std::byte>;

// What is larger takes so long to compute that taking it apart does not show.
constexpr uint64_t kMaxMessage = 256 << 10;
// Lists make messages that are not likely to repeat.
constexpr uint64_t kMaxFixed = 1024;

bool HasOtherTensors(const AttentionOptions& options) {
  return !options.masks.empty() || !options.biases.empty() || options.alibi_slopes || options.sinks;
}

// Where in the message `bytes` begin; its size if they are no part of it.
uint64_t OffsetOf(Bytes bytes, MessagePieces message) {
  const std::less_equal<> not_after;
  uint64_t before = 0;
  for (const std::string_view piece : message) {
    const Bytes here = std::as_bytes(std::span(piece));
    if (not_after(here.data(), bytes.data()) && not_after(bytes.data() + bytes.size(), here.data() + here.size())) {
      return before + static_cast<uint64_t>(bytes.data() - here.data());
    }
    before += here.size();
  }
  return before;
}

std::array<TensorView*, 3> TensorsOf(AttentionRequest& request) {
  return {&request.query, &request.key, &request.value};
}

}  // namespace

bool AttendMemo::Remember(MessagePieces message, const AttendCall& call) {
  PieceReader reader(message);
  size_ = 0;
  if (reader.size() > kMaxMessage || HasOtherTensors(call.request.options)) return false;
  call_ = call;
  call_.request.owner.reset();
  stretches_.clear();
  fixed_.clear();
  struct Part {
    uint64_t offset;
    Stretch stretch;
  };
  std::vector<Part> parts;
  for (size_t i = 0; i < kTensors; ++i) {
    TensorView& tensor = *TensorsOf(call_.request)[i];
    for (const Bytes bytes : tensor.bytes.pieces()) parts.push_back({OffsetOf(bytes, message), {i, bytes.size()}});
    tensor.bytes.Clear();
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.offset < b.offset; });
  parts.push_back({reader.size(), {}});
  for (const Part& part : parts) {
    if (part.offset < reader.position()) return false;  // a tensor came twice, or was copied
    if (const uint64_t between = part.offset - reader.position(); between > 0) {
      if (fixed_.size() + between > kMaxFixed) return false;
      stretches_.push_back({kTensors, between});
      reader.Read(between,
                  [this](Bytes bytes) { fixed_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); });
    }
    if (part.stretch.size > 0) {
      if (part.offset + part.stretch.size > reader.size()) return false;
      stretches_.push_back(part.stretch);
      reader.Skip(part.stretch.size);
    }
  }
  size_ = reader.size();
  return true;
}

std::optional<AttendCall> AttendMemo::Recall(MessagePieces message, std::shared_ptr<const void> owner) const {
  PieceReader reader(message);
  if (size_ == 0 || reader.size() != size_) return std::nullopt;
  std::array<Fragments, kTensors> elements;
  const char* fixed = fixed_.data();
  bool same = true;
  for (const Stretch& stretch : stretches_) {
    if (stretch.tensor < kTensors) {
      reader.Read(stretch.size, [&](Bytes bytes) { elements[stretch.tensor].Append(bytes); });
      continue;
    }
    reader.Read(stretch.size, [&](Bytes bytes) {
      same = same && std::memcmp(fixed, bytes.data(), bytes.size()) == 0;
      fixed += bytes.size();
    });
    if (!same) return std::nullopt;
  }
  std::optional<AttendCall> call(call_);
  for (size_t i = 0; i < kTensors; ++i) TensorsOf(call->request)[i]->bytes = std::move(elements[i]);
  call->request.owner = std::move(owner);
  return call;
}

}  // namespace attnd::codec
