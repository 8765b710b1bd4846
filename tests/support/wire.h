// Wire bytes for tests of the codec: written by hand, cut into pieces, compared with what
// the generated parser makes of them.
#ifndef ATTND_TESTS_SUPPORT_WIRE_H_
#define ATTND_TESTS_SUPPORT_WIRE_H_

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "attnd/v1/tensor.pb.h"
#include "attnd/v1/weights.pb.h"
#include "proto/codec.h"
#include "proto/skeleton.h"

namespace attnd::codec {

inline std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

inline std::string Tag(uint64_t number, unsigned wire) { return Varint(number << 3 | wire); }

// A length-delimited field.
inline std::string Field(uint64_t number, const std::string& bytes) {
  return Tag(number, 2) + Varint(bytes.size()) + bytes;
}

inline std::string FloatBytes(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

// A message cut into pieces, each in memory of its own, so that a read past a piece's end
// is one past an allocation's.
class Pieces {
 public:
  Pieces() = default;
  explicit Pieces(std::string_view whole) { Add(whole); }

  // Pieces of `size` bytes, the last one shorter.
  static Pieces OfSize(std::string_view message, size_t size) {
    Pieces pieces;
    for (size_t i = 0; i < message.size(); i += size) pieces.Add(message.substr(i, size));
    return pieces;
  }

  void Add(std::string_view piece) {
    // A byte more keeps pieces apart in memory, as a message's slices are.
    auto copy = std::make_unique<char[]>(piece.size() + 1);
    std::copy(piece.begin(), piece.end(), copy.get());
    views_.emplace_back(copy.get(), piece.size());
    owned_.push_back(std::move(copy));
  }

  [[nodiscard]] MessagePieces views() const { return views_; }

 private:
  std::vector<std::unique_ptr<char[]>> owned_;
  std::vector<std::string_view> views_;
};

inline std::string ToString(const Fragments& fragments) {
  std::string bytes(fragments.size(), '\0');
  fragments.CopyTo(reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

inline std::string ToString(std::span<const Chunk> chunks) {
  std::string bytes;
  for (const Chunk& chunk : chunks) {
    if (const auto* text = std::get_if<std::string>(&chunk)) {
      bytes += *text;
    } else {
      const auto span = std::get<std::span<const std::byte>>(chunk);
      bytes.append(reinterpret_cast<const char*>(span.data()), span.size());
    }
  }
  return bytes;
}

// Puts the payloads back into the tensors of a message parsed from a skeleton.
inline void Rehydrate(const Skeleton& skeleton, google::protobuf::Message& message) {
  if (message.GetDescriptor() == v1::Tensor::descriptor()) {
    auto& tensor = dynamic_cast<v1::Tensor&>(message);
    const TensorPayload& payload = PayloadOf(skeleton, tensor);
    tensor.set_data(ToString(payload.data));
    tensor.mutable_values()->Resize(static_cast<int>(payload.values.size() / sizeof(float)), 0);
    payload.values.CopyTo(reinterpret_cast<std::byte*>(tensor.mutable_values()->mutable_data()));
    return;
  }
  if (message.GetDescriptor() == v1::WeightsChunk::descriptor()) {
    auto& chunk = dynamic_cast<v1::WeightsChunk&>(message);
    chunk.set_data(ToString(PayloadOf(skeleton, chunk)));
    return;
  }
  const auto& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->message_type() == nullptr) continue;
    if (!field->is_repeated()) {
      Rehydrate(skeleton, *reflection.MutableMessage(&message, field));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      Rehydrate(skeleton, *reflection.MutableRepeatedMessage(&message, field, i));
    }
  }
}

// The known fields, as bytes that are equal for equal messages, NaN included.
inline std::string Canonical(google::protobuf::Message& message) {
  message.DiscardUnknownFields();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

}  // namespace attnd::codec

#endif  // ATTND_TESTS_SUPPORT_WIRE_H_
