// Writes a message as chunks: small parts by generated code, payloads borrowed.
#ifndef ATTND_PROTO_CHUNK_WRITER_H_
#define ATTND_PROTO_CHUNK_WRITER_H_

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/attention/tensor.h"
#include "proto/codec.h"

namespace attnd::codec {

// Thread-compatible.
class ChunkWriter {
 public:
  // The fields of `small`.
  void Fields(const google::protobuf::MessageLite& small) {
    const size_t before = text_.size();
    small.AppendToString(&text_);
    size_ += text_.size() - before;
  }

  // An integer or an enumerator; nothing if it is 0.
  void Number(int field, int64_t value) {
    using google::protobuf::internal::WireFormatLite;
    if (value == 0) return;
    AppendVarint(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT));
    AppendVarint(static_cast<uint64_t>(value));
  }

  // A double; nothing if it is 0.
  void Real(int field, double value) {
    using google::protobuf::internal::WireFormatLite;
    if (value == 0) return;
    AppendVarint(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_FIXED64));
    const auto bytes = std::bit_cast<std::array<char, sizeof(value)>>(value);
    Append({bytes.data(), bytes.size()});
  }

  // A string; nothing if it is empty.
  void Text(int field, std::string_view text) {
    if (text.empty()) return;
    AppendHeader(field, text.size());
    Append(text);
  }

  // A packed list of integers; nothing if it is empty.
  void Numbers(int field, std::span<const int64_t> values) {
    using google::protobuf::io::CodedOutputStream;
    if (values.empty()) return;
    uint64_t length = 0;
    for (const int64_t value : values) length += CodedOutputStream::VarintSize64(static_cast<uint64_t>(value));
    AppendHeader(field, length);
    for (const int64_t value : values) AppendVarint(static_cast<uint64_t>(value));
  }

  // A length-delimited field with `payload`, which is borrowed; nothing if it is empty.
  void Payload(int field, const Fragments& payload) {
    if (payload.empty()) return;
    AppendHeader(field, payload.size());
    for (const auto piece : payload.pieces()) Borrow(piece);
  }

  // A sub-message in `field`, whose fields `write` writes here. Its size may pass 2 GiB.
  template <typename Write>
  void Message(int field, const Write& write) {
    const uint64_t begin = size_;
    const size_t chunk = chunks_.size();
    const size_t offset = text_.size();
    write();
    // Known only now; what comes before the first borrowed bytes is text.
    std::string& text = chunk < chunks_.size() ? std::get<std::string>(chunks_[chunk]) : text_;
    const Header header(field, size_ - begin);
    text.insert(offset, header.bytes());
    size_ += header.bytes().size();
  }

  std::vector<Chunk> Finish() && {
    Flush();
    return std::move(chunks_);
  }

 private:
  // Of a length-delimited field.
  class Header {
   public:
    Header(int field, uint64_t length) {
      using google::protobuf::internal::WireFormatLite;
      using google::protobuf::io::CodedOutputStream;
      const uint32_t tag = WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
      uint8_t* end = CodedOutputStream::WriteVarint32ToArray(tag, bytes_.data());
      end = CodedOutputStream::WriteVarint64ToArray(length, end);
      size_ = static_cast<size_t>(end - bytes_.data());
    }
    [[nodiscard]] std::string_view bytes() const { return {reinterpret_cast<const char*>(bytes_.data()), size_}; }

   private:
    std::array<uint8_t, 15> bytes_;
    size_t size_;
  };

  void AppendHeader(int field, uint64_t length) { Append(Header(field, length).bytes()); }

  void AppendVarint(uint64_t value) {
    uint8_t bytes[10];
    const uint8_t* end = google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(value, bytes);
    Append({reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes)});
  }

  void Append(std::string_view bytes) {
    constexpr size_t kUsual = 120;
    if (text_.empty()) text_.reserve(kUsual);
    text_ += bytes;
    size_ += bytes.size();
  }

  // REQUIRES: text has been written since the last Message began, such as a header.
  void Borrow(std::span<const std::byte> piece) {
    Flush();
    Push(piece);
    size_ += piece.size();
  }

  void Flush() {
    if (!text_.empty()) Push(std::exchange(text_, {}));
  }

  void Push(Chunk chunk) {
    constexpr size_t kUsual = 4;
    if (chunks_.empty()) chunks_.reserve(kUsual);
    chunks_.push_back(std::move(chunk));
  }

  std::vector<Chunk> chunks_;
  std::string text_;
  uint64_t size_ = 0;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_CHUNK_WRITER_H_
