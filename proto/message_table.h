// What walking a message asks of its type, field by field, found out once: descriptors answer
// each question with a search and a lock.
#ifndef ATTND_PROTO_MESSAGE_TABLE_H_
#define ATTND_PROTO_MESSAGE_TABLE_H_

#include <google/protobuf/descriptor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace attnd::codec {

struct MessageTable;

enum class FieldKind : uint8_t {
  kUnknown,
  // Anything that is copied.
  kSmall,
  // A sub-message.
  kMessage,
  // The bytes of a payload, and the other form it may have.
  kData,
  kValues,
};

struct FieldEntry {
  const google::protobuf::FieldDescriptor* field = nullptr;
  // Of a sub-message.
  const MessageTable* message = nullptr;
  FieldKind kind = FieldKind::kUnknown;
  // The wire type that the generated parser wants; it takes packed lists, too.
  uint8_t wire = 0;
  bool packable = false;
  bool repeated = false;
  // FieldDescriptor::index().
  uint16_t index = 0;
};

// Immutable, so thread-safe.
struct MessageTable {
  const google::protobuf::Descriptor* type = nullptr;
  // The field of kind kData; 0 if there is none.
  int payload_field = 0;
  size_t fields = 0;
  // By field number.
  std::vector<FieldEntry> by_number;

  // nullptr if the type has no such field.
  [[nodiscard]] const FieldEntry* Find(int number) const {
    const auto at = static_cast<size_t>(number);
    return at < by_number.size() && by_number[at].field != nullptr ? &by_number[at] : nullptr;
  }
};

// Lives as long as the program. REQUIRES: `type` is declared in one of attnd/v1's files.
const MessageTable& TableOf(const google::protobuf::Descriptor& type);

}  // namespace attnd::codec

#endif  // ATTND_PROTO_MESSAGE_TABLE_H_
