// Bytes from strangers given to what reads weights: as the fuzzer and the mutation test do.
#ifndef ATTND_TESTS_SUPPORT_HOSTILE_WEIGHTS_H_
#define ATTND_TESTS_SUPPORT_HOSTILE_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "core/linear/packed_weights.h"
#include "core/linear/weight_files.h"
#include "core/linear/weight_upload.h"
#include "core/linear/weights_id.h"
#include "proto/codec_weights.h"
#include "tests/support/file_contents.h"

namespace attnd {

// Uploads over this are refused by their headers, as a server's budget does.
inline constexpr int64_t kHostileBudget = int64_t{64} << 10;

// Reads a safetensors file and the layers in it. OK, or what a user would be told.
inline absl::Status ReadHostileFile(const std::string& bytes) {
  auto file = Safetensors::Parse(Contents(bytes), "hostile");
  if (!file.ok()) return file.status();
  static const WeightMapping& mapping = *new WeightMapping(*WeightMapping::Preset("auto"));
  std::vector<Safetensors> files;
  files.push_back(*std::move(file));
  const auto loaded = MapWeights("hostile", std::move(files), {"hostile"}, mapping);
  if (!loaded.ok()) return loaded.status();
  // Every byte is there: hashing touches it.
  for (const NamedWeights& set : loaded->sets) {
    if (const auto id = WeightsId(set.weights); !id.ok()) return id.status();
  }
  return absl::OkStatus();
}

// Messages of an upload one after the other, each behind its length in two bytes.
inline std::string JoinUpload(const std::vector<std::string>& messages) {
  std::string bytes;
  for (const std::string& message : messages) {
    bytes.push_back(static_cast<char>(message.size() & 0xff));
    bytes.push_back(static_cast<char>(message.size() >> 8));
    bytes += message;
  }
  return bytes;
}

// Takes them as the server does: header, checks, chunks, end.
inline absl::Status ReadHostileUpload(std::string_view bytes) {
  std::unique_ptr<WeightUpload> upload;
  while (bytes.size() >= 2) {
    const size_t size = static_cast<uint8_t>(bytes[0]) + 256U * static_cast<uint8_t>(bytes[1]);
    const std::string_view message = bytes.substr(2, size);
    bytes.remove_prefix(2 + message.size());
    auto part = codec::DecodeRegisterWeightsRequest(std::span(&message, 1), nullptr);
    if (!part.ok()) return part.status();
    auto* header = std::get_if<codec::UploadHeader>(&*part);
    if ((header != nullptr) != (upload == nullptr)) return absl::InvalidArgumentError("part");
    if (header == nullptr) {
      const auto& chunk = std::get<codec::UploadChunk>(*part);
      if (absl::Status s = upload->Append(chunk.tensor, chunk.data); !s.ok()) return s;
      continue;
    }
    auto begun = WeightUpload::Begin(std::move(header->weights), header->id);
    if (!begun.ok()) return begun.status();
    if (PackedWeights::BytesFor((*begun)->shapes()) > kHostileBudget) return absl::InvalidArgumentError("budget");
    upload = *std::move(begun);
  }
  if (upload == nullptr) return absl::InvalidArgumentError("part");
  const auto weights = upload->Finish();
  if (!weights.ok()) return weights.status();
  const auto id = WeightsId(**weights);
  return id.ok() && *id == upload->id() ? absl::OkStatus() : absl::InternalError("the content has another id");
}

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_HOSTILE_WEIGHTS_H_
