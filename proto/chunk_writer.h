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
  void Fields(const google::protobuf::MessageLite& small) { small.AppendToString(&text_); }

  // A sub-message in `field`: what `small` holds, and a length-delimited field with
  // `payload`, which is borrowed and left out if empty. The total may pass 2 GiB.
  void MessageWithPayload(int field, const google::protobuf::MessageLite& small, int payload_field,
                          const Fragments& payload) {
    const std::string inner = small.SerializeAsString();
    std::string header;
    if (!payload.empty()) AppendHeader(header, payload_field, payload.size());
    AppendHeader(text_, field, inner.size() + header.size() + payload.size());
    text_ += inner;
    text_ += header;
    for (const auto piece : payload.pieces()) {
      Flush();
      chunks_.emplace_back(piece);
    }
  }

  std::vector<Chunk> Finish() && {
    Flush();
    return std::move(chunks_);
  }

 private:
  static void AppendHeader(std::string& out, int field, uint64_t length) {
    using google::protobuf::internal::WireFormatLite;
    AppendVarint(out, WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
    AppendVarint(out, length);
  }

  static void AppendVarint(std::string& out, uint64_t value) {
    uint8_t bytes[10];
    const uint8_t* end = google::protobuf::io::CodedOutputStream::WriteVarint64ToArray(value, bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(end - bytes));
  }

  void Flush() {
    if (!text_.empty()) chunks_.emplace_back(std::exchange(text_, {}));
  }

  std::vector<Chunk> chunks_;
  std::string text_;
};

}  // namespace attnd::codec

#endif  // ATTND_PROTO_CHUNK_WRITER_H_
