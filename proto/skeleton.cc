#include "proto/skeleton.h"

#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"
#include "proto/message_table.h"
#include "proto/payload_builder.h"
#include "proto/piece_reader.h"

namespace attnd::codec {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

// What the generated parser allows.
constexpr int kMaxDepth = 100;
constexpr int kMaxVarint = 10;
constexpr int kMaxTag = 5;
constexpr int kMaxLength = 5;

// A sub-message's length is not known when its first byte is written, so it gets a varint
// of fixed width.
constexpr size_t kLengthWidth = 5;

constexpr uint8_t kHighBit = 0x80;

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kBeginGroup = 3, kEndGroup = 4, kFixed32 = 5 };

struct Tag {
  uint32_t bits = 0;

  [[nodiscard]] int number() const { return static_cast<int>(bits >> 3); }
  [[nodiscard]] uint32_t wire() const { return bits & 7; }
};

// Whether the generated parser takes this wire type as the field's, or as an unknown field.
bool Fits(const FieldEntry& entry, uint32_t wire) { return wire == entry.wire || (wire == kLength && entry.packable); }

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= kHighBit; value >>= 7) out.push_back(static_cast<char>(value | kHighBit));
  out.push_back(static_cast<char>(value));
}

void WriteLength(char* place, uint64_t value) {
  for (size_t i = 0; i < kLengthWidth; ++i, value >>= 7) {
    const unsigned more = i + 1 < kLengthWidth ? kHighBit : 0U;
    place[i] = static_cast<char>((value & 0x7f) | more);
  }
}

void AppendBytes(std::string& out, Bytes bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// A message being walked, linked to those around it.
struct Frame {
  Frame(const Frame* outer, const FieldDescriptor* outer_field, uint32_t nth, const MessageTable& message_table)
      : parent(outer), field(outer_field), index(nth), table(message_table), counts(table.fields) {}

  const Frame* parent;
  // The field of `parent` that holds this message, and which of its elements it is.
  const FieldDescriptor* field;
  uint32_t index;
  const MessageTable& table;
  // How often each sub-message has come, by FieldDescriptor::index().
  absl::InlinedVector<uint32_t, 20> counts;
};

// Where something is wrong: in a field of a message, known or not, or in its tags.
struct Place {
  const Frame& frame;
  const FieldDescriptor* field = nullptr;
  int unknown_number = 0;
};

// A payload on the way through its message.
struct PayloadParts {
  PayloadBuilder data;
  PayloadBuilder values;
};

class Splitter {
 public:
  Splitter(MessagePieces message, const SplitOptions& options, Skeleton& skeleton)
      : options_(options), reader_(message), skeleton_(skeleton), store_(skeleton.copies) {}

  // Has every small field tried alone by the generated parser, to find the one it
  // refuses.
  void TryFieldsAlone() { try_fields_alone_ = true; }

  absl::Status Split(const Descriptor& type) {
    skeleton_.bytes.reserve(256);
    skeleton_.payloads.reserve(4);
    Frame root(nullptr, nullptr, 0, TableOf(type));
    absl::Status status = WalkMessage(root, reader_.size(), kMaxDepth);
    if (!status.ok() || unserved_.empty()) return status;
    return UnservedField(unserved_, "is part of the contract but not served by this version");
  }

 private:
  absl::Status WalkMessage(Frame& frame, uint64_t end, int depth);
  // `payload` is nullptr where messages have none.
  absl::Status WalkFields(Frame& frame, uint64_t end, int depth, PayloadParts* payload);
  absl::Status WalkSubMessage(Frame& frame, const FieldEntry& entry, uint64_t end, int depth);
  absl::Status CopyField(const Frame& frame, const FieldDescriptor& field, Tag tag, uint64_t end);
  absl::Status TakePayload(const Place& place, Tag tag, uint64_t end, bool is_data, PayloadParts& payload);
  absl::Status FinishPayload(const Place& place, PayloadParts& payload);
  [[nodiscard]] bool IsServed(const FieldDescriptor& field) const;
  absl::Status SkipUnknown(const Place& place, Tag tag, uint64_t end, int depth);
  absl::Status SkipUnserved(const Place& place, Tag tag, uint64_t end, int depth);
  absl::Status SkipGroup(const Place& place, Tag begin, uint64_t end, int depth);

  absl::Status ReadTag(const Place& place, uint64_t end, Tag& tag);
  absl::Status ReadVarint(const Place& place, uint64_t end, int max_bytes, uint64_t& value);
  // The length of a field that fits before `end`.
  absl::Status ReadLength(const Place& place, uint64_t end, uint64_t& length);
  // That `count` bytes are left before `end`.
  absl::Status NeedBytes(const Place& place, uint64_t end, uint64_t count);
  absl::Status NeedRoom(const Place& place, uint64_t count);

  [[nodiscard]] absl::Status TryAlone(const Place& place, size_t begin) const;
  [[nodiscard]] std::string PathOf(const Frame& frame) const;
  [[nodiscard]] std::string PathOf(const Place& place) const;
  [[nodiscard]] absl::Status Refuse(const Place& place, std::string problem) const;

  const SplitOptions& options_;
  PieceReader reader_;
  Skeleton& skeleton_;
  CopyStore store_;
  std::string unserved_;
  bool try_fields_alone_ = false;
};

absl::Status Splitter::WalkMessage(Frame& frame, uint64_t end, int depth) {
  if (frame.table.payload_field == 0) return WalkFields(frame, end, depth, nullptr);
  PayloadParts payload;
  if (absl::Status s = WalkFields(frame, end, depth, &payload); !s.ok()) return s;
  return FinishPayload({frame}, payload);
}

absl::Status Splitter::WalkFields(Frame& frame, uint64_t end, int depth, PayloadParts* payload) {
  while (reader_.position() < end) {
    Tag tag;
    if (absl::Status s = ReadTag({frame}, end, tag); !s.ok()) return s;
    const FieldEntry* entry = frame.table.Find(tag.number());
    absl::Status status;
    if (entry == nullptr || !Fits(*entry, tag.wire())) {
      status = SkipUnknown({frame, nullptr, tag.number()}, tag, end, depth);
    } else if (!IsServed(*entry->field)) {
      status = SkipUnserved({frame, entry->field}, tag, end, depth);
    } else if (entry->kind == FieldKind::kMessage) {
      status = WalkSubMessage(frame, *entry, end, depth);
    } else if (entry->kind == FieldKind::kSmall || payload == nullptr) {
      status = CopyField(frame, *entry->field, tag, end);
    } else {
      status = TakePayload({frame, entry->field}, tag, end, entry->kind == FieldKind::kData, *payload);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Splitter::IsServed(const FieldDescriptor& field) const {
  if (options_.unserved == nullptr) return true;
  return std::find(options_.unserved->begin(), options_.unserved->end(), &field) == options_.unserved->end();
}

absl::Status Splitter::WalkSubMessage(Frame& frame, const FieldEntry& entry, uint64_t end, int depth) {
  const FieldDescriptor& field = *entry.field;
  const Place place{frame, &field};
  uint32_t& count = frame.counts[entry.index];
  if (!entry.repeated && count > 0) return Refuse(place, "occurs twice; at most once is allowed");
  if (count >= options_.max_repeats) {
    return Refuse(place, absl::StrCat("occurs more than ", options_.max_repeats, " times, which is the limit"));
  }
  Frame inner(&frame, &field, count++, *entry.message);
  if (depth == 0) return Refuse(place, absl::StrCat("is nested deeper than ", kMaxDepth, " messages"));

  uint64_t length = 0;
  if (absl::Status s = ReadLength(place, end, length); !s.ok()) return s;
  if (absl::Status s = NeedRoom(place, kMaxTag + kLengthWidth); !s.ok()) return s;
  std::string& out = skeleton_.bytes;
  AppendVarint(out, WireFormatLite::MakeTag(field.number(), WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  out.append(kLengthWidth, '\0');
  const size_t begin = out.size();
  if (absl::Status s = WalkMessage(inner, reader_.position() + length, depth - 1); !s.ok()) return s;
  WriteLength(out.data() + begin - kLengthWidth, out.size() - begin);
  return absl::OkStatus();
}

absl::Status Splitter::CopyField(const Frame& frame, const FieldDescriptor& field, Tag tag, uint64_t end) {
  const Place place{frame, &field};
  uint64_t number = 0;
  uint64_t count = 0;
  switch (tag.wire()) {
    case kVarint:
      if (absl::Status s = ReadVarint(place, end, kMaxVarint, number); !s.ok()) return s;
      break;
    case kLength:
      if (absl::Status s = ReadLength(place, end, count); !s.ok()) return s;
      break;
    default:
      count = tag.wire() == kFixed64 ? 8 : 4;
      if (absl::Status s = NeedBytes(place, end, count); !s.ok()) return s;
  }
  if (absl::Status s = NeedRoom(place, kMaxTag + kMaxVarint + count); !s.ok()) return s;
  std::string& out = skeleton_.bytes;
  const size_t begin = out.size();
  AppendVarint(out, tag.bits);
  if (tag.wire() == kVarint) AppendVarint(out, number);
  if (tag.wire() == kLength) AppendVarint(out, count);
  reader_.Read(count, [&out](Bytes bytes) { AppendBytes(out, bytes); });
  return try_fields_alone_ ? TryAlone(place, begin) : absl::OkStatus();
}

absl::Status Splitter::TakePayload(const Place& place, Tag tag, uint64_t end, bool is_data, PayloadParts& payload) {
  const bool one_by_one = tag.wire() == kFixed32;
  uint64_t count = sizeof(float);
  absl::Status status = one_by_one ? NeedBytes(place, end, count) : ReadLength(place, end, count);
  if (!status.ok()) return status;
  if (!is_data && count % sizeof(float) != 0) {
    return Refuse(place, absl::StrCat("has ", count, " bytes, which is no multiple of 4"));
  }
  if (is_data) payload.data.Clear();
  PayloadBuilder& builder = is_data ? payload.data : payload.values;
  reader_.Read(count, [&](Bytes piece) {
    if (one_by_one) {
      builder.AppendCopy(piece, store_);
    } else {
      builder.Append(piece, store_);
    }
  });
  return status;
}

absl::Status Splitter::FinishPayload(const Place& place, PayloadParts& payload) {
  TensorPayload tensor{payload.data.Finish(), payload.values.Finish()};
  if (tensor.data.empty() && tensor.values.empty()) return absl::OkStatus();
  const auto key = static_cast<uint32_t>(skeleton_.payloads.size());
  skeleton_.payloads.push_back(std::move(tensor));
  if (absl::Status s = NeedRoom(place, kMaxTag + 1 + sizeof(key)); !s.ok()) return s;
  AppendVarint(skeleton_.bytes,
               WireFormatLite::MakeTag(place.frame.table.payload_field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  AppendVarint(skeleton_.bytes, sizeof(key));
  AppendBytes(skeleton_.bytes, std::as_bytes(std::span(&key, 1)));
  return absl::OkStatus();
}

absl::Status Splitter::SkipUnknown(const Place& place, Tag tag, uint64_t end, int depth) {
  uint64_t value = 0;
  switch (tag.wire()) {
    case kVarint:
      return ReadVarint(place, end, kMaxVarint, value);
    case kFixed64:
    case kFixed32:
      value = tag.wire() == kFixed64 ? 8 : 4;
      if (absl::Status s = NeedBytes(place, end, value); !s.ok()) return s;
      break;
    case kLength:
      if (absl::Status s = ReadLength(place, end, value); !s.ok()) return s;
      break;
    case kBeginGroup:
      return SkipGroup(place, tag, end, depth);
    case kEndGroup:
      return Refuse(place, "ends a group that was not begun");
    default:
      return Refuse(place, absl::StrCat("has wire type ", tag.wire(), "; 0 to 5 are allowed"));
  }
  reader_.Skip(value);
  return absl::OkStatus();
}

absl::Status Splitter::SkipUnserved(const Place& place, Tag tag, uint64_t end, int depth) {
  const uint64_t begin = reader_.position();
  absl::Status status = SkipUnknown(place, tag, end, depth);
  const bool empty_list = place.field->is_packable() && tag.wire() == kLength && reader_.position() == begin + 1;
  if (unserved_.empty() && !empty_list) unserved_ = PathOf(place);
  return status;
}

absl::Status Splitter::SkipGroup(const Place& place, Tag begin, uint64_t end, int depth) {
  if (depth == 0) return Refuse(place, absl::StrCat("is nested deeper than ", kMaxDepth, " messages"));
  while (reader_.position() < end) {
    Tag tag;
    if (absl::Status s = ReadTag(place, end, tag); !s.ok()) return s;
    if (tag.wire() == kEndGroup && tag.number() == begin.number()) return absl::OkStatus();
    if (absl::Status s = SkipUnknown({place.frame, nullptr, tag.number()}, tag, end, depth - 1); !s.ok()) return s;
  }
  return Refuse(place, "begins a group that does not end");
}

absl::Status Splitter::ReadTag(const Place& place, uint64_t end, Tag& tag) {
  uint64_t bits = 0;
  if (absl::Status s = ReadVarint(place, end, kMaxTag, bits); !s.ok()) return s;
  tag.bits = static_cast<uint32_t>(bits);
  return tag.number() != 0 ? absl::OkStatus() : Refuse(place, "has a field numbered 0; numbers start at 1");
}

absl::Status Splitter::ReadVarint(const Place& place, uint64_t end, int max_bytes, uint64_t& value) {
  if (reader_.ReadVarint(end, max_bytes, value)) return absl::OkStatus();
  if (reader_.position() == end) return Refuse(place, "is cut off inside a number");
  return Refuse(place, absl::StrCat("has a number of more than ", max_bytes, " bytes"));
}

absl::Status Splitter::ReadLength(const Place& place, uint64_t end, uint64_t& length) {
  if (absl::Status s = ReadVarint(place, end, kMaxLength, length); !s.ok()) return s;
  return NeedBytes(place, end, length);
}

absl::Status Splitter::NeedBytes(const Place& place, uint64_t end, uint64_t count) {
  const uint64_t left = end - reader_.position();
  if (count <= left) return absl::OkStatus();
  return Refuse(place, absl::StrCat("claims ", count, " bytes, ", left, " are left"));
}

absl::Status Splitter::NeedRoom(const Place& place, uint64_t count) {
  if (skeleton_.bytes.size() + count <= options_.max_skeleton_bytes) return absl::OkStatus();
  return Refuse(place, absl::StrCat("makes the fields other than tensors' elements take over ",
                                    options_.max_skeleton_bytes, " bytes, which are allowed"));
}

// Parses the field written at `begin` as a message of its own.
absl::Status Splitter::TryAlone(const Place& place, size_t begin) const {
  const auto* prototype = google::protobuf::MessageFactory::generated_factory()->GetPrototype(place.frame.table.type);
  const std::unique_ptr<google::protobuf::Message> message(prototype->New());
  if (message->ParseFromString(skeleton_.bytes.substr(begin))) return absl::OkStatus();
  return Refuse(
      place, place.field->type() == FieldDescriptor::TYPE_STRING ? "is not valid UTF-8" : "holds a malformed number");
}

std::string Splitter::PathOf(const Frame& frame) const {
  if (frame.parent == nullptr) return std::string(options_.root);
  std::string path = PathOf(Place{*frame.parent, frame.field});
  if (frame.field->is_repeated()) absl::StrAppend(&path, "[", frame.index, "]");
  return path;
}

std::string Splitter::PathOf(const Place& place) const {
  if (place.field == nullptr) return PathOf(place.frame);
  if (place.frame.parent == nullptr) return place.field->name();
  return absl::StrCat(PathOf(place.frame), ".", place.field->name());
}

absl::Status Splitter::Refuse(const Place& place, std::string problem) const {
  if (place.unknown_number != 0) problem = absl::StrCat("unknown field ", place.unknown_number, " ", problem);
  return InvalidField(PathOf(place), problem);
}

}  // namespace

absl::StatusOr<Skeleton> SplitPayloads(MessagePieces message, const Descriptor& type, const SplitOptions& options) {
  Skeleton skeleton;
  if (absl::Status s = Splitter(message, options, skeleton).Split(type); !s.ok()) return s;
  return skeleton;
}

absl::StatusOr<Skeleton> ParseWithoutPayloads(MessagePieces message, const SplitOptions& options,
                                              google::protobuf::Message& parsed) {
  const Descriptor& type = *parsed.GetDescriptor();
  absl::StatusOr<Skeleton> skeleton = SplitPayloads(message, type, options);
  if (!skeleton.ok() || parsed.ParseFromString(skeleton->bytes)) return skeleton;

  Skeleton again;
  Splitter splitter(message, options, again);
  splitter.TryFieldsAlone();
  if (absl::Status s = splitter.Split(type); !s.ok()) return s;
  return InvalidField(options.root, absl::StrCat("is no valid ", type.full_name()));
}

namespace {

const TensorPayload& PayloadOf(const Skeleton& skeleton, const std::string& data) {
  static const auto& none = *new TensorPayload;
  uint32_t key = 0;
  if (data.size() != sizeof(key)) return none;
  std::memcpy(&key, data.data(), sizeof(key));
  return skeleton.payloads[key];
}

}  // namespace

const TensorPayload& PayloadOf(const Skeleton& skeleton, const v1::Tensor& tensor) {
  return PayloadOf(skeleton, tensor.data());
}

const Fragments& PayloadOf(const Skeleton& skeleton, const v1::WeightsChunk& chunk) {
  return PayloadOf(skeleton, chunk.data()).data;
}

}  // namespace attnd::codec
