#include "proto/message_table.h"

#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "attnd/v1/attention.pb.h"
#include "attnd/v1/tensor.pb.h"
#include "attnd/v1/weights.pb.h"

namespace attnd::codec {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;

// The field with a payload as bytes; 0 if messages of this type have no payload.
int PayloadFieldOf(const Descriptor& type) {
  if (&type == v1::Tensor::descriptor()) return v1::Tensor::kDataFieldNumber;
  return &type == v1::WeightsChunk::descriptor() ? v1::WeightsChunk::kDataFieldNumber : 0;
}

FieldKind KindOf(const FieldDescriptor& field) {
  const Descriptor& type = *field.containing_type();
  if (field.message_type() != nullptr) return FieldKind::kMessage;
  if (field.number() == PayloadFieldOf(type)) return FieldKind::kData;
  const bool values = &type == v1::Tensor::descriptor() && field.number() == v1::Tensor::kValuesFieldNumber;
  return values ? FieldKind::kValues : FieldKind::kSmall;
}

// Tables of some types and of all that these contain.
class Tables {
 public:
  explicit Tables(const std::vector<const Descriptor*>& types) {
    for (const Descriptor* type : types) Add(*type);
  }

  const MessageTable& Of(const Descriptor& type) const { return *by_type_.at(&type); }

 private:
  const MessageTable* Add(const Descriptor& type) {
    auto& place = by_type_[&type];
    if (place != nullptr) return place.get();
    place = std::make_unique<MessageTable>();
    MessageTable* table = place.get();
    table->type = &type;
    table->payload_field = PayloadFieldOf(type);
    table->fields = static_cast<size_t>(type.field_count());
    for (int i = 0; i < type.field_count(); ++i) Add(*type.field(i), *table);
    return table;
  }

  void Add(const FieldDescriptor& field, MessageTable& table) {
    const auto number = static_cast<size_t>(field.number());
    table.by_number.resize(std::max(table.by_number.size(), number + 1));
    FieldEntry entry{.field = &field,
                     .kind = KindOf(field),
                     .wire = static_cast<uint8_t>(
                         WireFormatLite::WireTypeForFieldType(static_cast<WireFormatLite::FieldType>(field.type()))),
                     .packable = field.is_packable(),
                     .repeated = field.is_repeated(),
                     .index = static_cast<uint16_t>(field.index())};
    if (entry.kind == FieldKind::kMessage) entry.message = Add(*field.message_type());
    table.by_number[number] = entry;
  }

  std::unordered_map<const Descriptor*, std::unique_ptr<MessageTable>> by_type_;
};

std::vector<const Descriptor*> ContractTypes() {
  std::vector<const Descriptor*> types;
  for (const Descriptor* any : {v1::AttendRequest::descriptor(), v1::Tensor::descriptor(),
                                v1::WeightsChunk::descriptor(), v1::AttentionOptions::descriptor()}) {
    for (int i = 0; i < any->file()->message_type_count(); ++i) types.push_back(any->file()->message_type(i));
  }
  return types;
}

}  // namespace

const MessageTable& TableOf(const Descriptor& type) {
  static const auto& tables = *new Tables(ContractTypes());
  return tables.Of(type);
}

}  // namespace attnd::codec
