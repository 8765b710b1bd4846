// Writes a message as chunks: small parts by generated code, payloads borrowed.
#ifndef ATTND_PROTO_CHUNK_WRITER_H_
#define ATTND_PROTO_CHUNK_WRITER_H_

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstddef>
#include <cstdint>
#include <string>
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

  // A length-delimited field with `payload`, which is borrowed; nothing if it is empty.
  void Payload(int field, const Fragments& payload) {
    if (payload.empty()) return;
    AppendHeader(field, payload.size());
    for (const auto piece : payload.pieces()) Borrow(piece);
  }

  // A sub-message in `field`. Its size may pass 2 GiB.
  void Message(int field, ChunkWriter inner) {
    const uint64_t size = inner.size_;
    AppendHeader(field, size);
    for (Chunk& chunk : std::move(inner).Finish()) {
      if (auto* text = std::get_if<std::string>(&chunk)) {
        text_ += *text;
      } else {
        Flush();
        chunks_.push_back(std::move(chunk));
      }
    }
    size_ += size;
  }

  std::vector<Chunk> Finish() && {
    Flush();
    return std::move(chunks_);
  }

 private:
  void AppendHeader(int field, uint64_t length) {
    using google::protobuf::internal::WireFormatLite;
    AppendVarint(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
    AppendVarint(length);
  }

  void AppendVarint(uint64_t value) {
    uint8_t bytes[10];
    const uint8_t* end = google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(value, bytes);
    text_.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes));
    size_ += static_cast<uint64_t>(end - bytes);
  }

  void Borrow(std::span<const std::byte> piece) {
    Flush();
    chunks_.emplace_back(piece);
    size_ += piece.size();
  }

  void Flush() {
    if (!text_.empty()) chunks_.emplace_back(std::exchange(text_, {}));
  }

  std::vector<Chunk> chunks_;
  std::string text_;
  uint64_t size_ = 0;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_CHUNK_WRITER_H_
