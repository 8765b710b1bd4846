#include "tests/conformance/recorded_multihead.h"

#include <google/protobuf/message.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/linear/weights_id.h"

namespace attnd {
namespace {

// What names of the layer's weights and options begin with.
constexpr std::string_view kBlock = "block.";

absl::Status NotKnown(const std::string& what) { return absl::UnimplementedError(what); }

// The tensor field of that name, made if it was not set; nullptr if there is none.
v1::Tensor* TensorOf(std::string_view name, google::protobuf::Message* message) {
  const size_t dot = name.find('.');
  const auto* field = message->GetDescriptor()->FindFieldByName(std::string(name.substr(0, dot)));
  if (field == nullptr || field->is_repeated() || field->message_type() == nullptr) return nullptr;
  auto* inner = message->GetReflection()->MutableMessage(message, field);
  if (dot != std::string_view::npos) return TensorOf(name.substr(dot + 1), inner);
  return dynamic_cast<v1::Tensor*>(inner);
}

// The tensors that are set, in the order of their id.
std::vector<std::pair<const WeightRoleInfo*, const v1::Tensor*>> RolesOf(const v1::ProjectionWeights& weights) {
  std::vector<std::pair<const WeightRoleInfo*, const v1::Tensor*>> roles;
  for (const WeightRoleInfo& info : WeightRoles()) {
    const std::string name = info.name;
    const bool in_block = name.starts_with(kBlock);
    const google::protobuf::Message& owner =
        in_block ? static_cast<const google::protobuf::Message&>(weights.block()) : weights;
    const auto* descriptor = owner.GetDescriptor()->FindFieldByName(in_block ? name.substr(kBlock.size()) : name);
    if (!owner.GetReflection()->HasField(owner, descriptor)) continue;
    roles.emplace_back(&info, dynamic_cast<const v1::Tensor*>(&owner.GetReflection()->GetMessage(owner, descriptor)));
  }
  return roles;
}

DataType DataTypeOf(v1::DataType dtype) {
  if (dtype == v1::DATA_TYPE_FLOAT16) return DataType::kFloat16;
  return dtype == v1::DATA_TYPE_BFLOAT16 ? DataType::kBfloat16 : DataType::kFloat32;
}

// Sets an enum field to the value called by the field's name and the word, in upper case.
bool SetEnum(const std::string& name, const std::string& word, google::protobuf::Message* message) {
  const auto* field = message->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->enum_type() == nullptr) return false;
  const auto* value = field->enum_type()->FindValueByName(absl::AsciiStrToUpper(absl::StrCat(name, "_", word)));
  if (value == nullptr) return false;
  message->GetReflection()->SetEnum(message, field, value);
  return true;
}

// Metadata: an option, in the words of attnctl where it has them.
bool SetOption(const std::string& name, const std::string& text, v1::MultiHeadAttendRequest* request) {
  if (name == "torch" || name.starts_with("float32_error.")) return true;
  if (name == "orientation") return SetEnum(name, text, request->mutable_inline_());
  if (name == "weights_heads") return SetEnum("heads", text, request->mutable_outputs()->mutable_weights());
  if (name == "outputs") {
    request->mutable_outputs()->mutable_weights();
    return text == "weights";
  }
  if (name == "output_dtype") {
    request->mutable_outputs()->set_dtype(v1::DATA_TYPE_FLOAT32);
    return text == "float32";
  }
  if (name == "heads") {
    int32_t heads = 0;
    const bool right = absl::SimpleAtoi(text, &heads);
    request->set_heads(heads);
    return right;
  }
  if (name == "add_zero_attn") {
    request->set_add_zero_attn(true);
    return text == "true";
  }
  if (name == "causal") {
    request->mutable_options()->set_causal(true);
    return text == "true" || SetEnum("alignment", text, request->mutable_options());
  }
  if (name == "mask_polarity") {
    auto* masks = request->mutable_options()->mutable_masks();
    return std::all_of(masks->begin(), masks->end(), [&](v1::Mask& mask) { return SetEnum("polarity", text, &mask); });
  }
  if (name == "block.norm_epsilon") {
    float epsilon = 0;
    const bool right = absl::SimpleAtof(text, &epsilon);
    request->mutable_block()->set_norm_epsilon(epsilon);
    return right;
  }
  return name.starts_with(kBlock) && SetEnum(name.substr(kBlock.size()), text, request->mutable_block());
}

absl::StatusOr<ExpectedResult> ReadResult(const StoredTensor& tensor) {
  if (tensor.dtype != StoredType::kF32) return NotKnown(tensor.name + " is not F32");
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  ExpectedResult result{tensor.shape, {values.begin(), values.end()}};
  for (const double value : result.values) result.scale = std::max(result.scale, std::abs(value));
  return result;
}

absl::Status ReadTensor(const StoredTensor& tensor, RecordedMultiHead* result) {
  v1::MultiHeadAttendRequest& request = result->request;
  for (const auto& [name, expected] :
       {std::pair{"expected.output", &result->output}, std::pair{"expected.weights", &result->weights}}) {
    if (tensor.name != name) continue;
    auto read = ReadResult(tensor);
    if (read.ok()) *expected = *std::move(read);
    return read.status();
  }
  if (tensor.name == "kv_lengths") {
    if (tensor.dtype != StoredType::kI64) return NotKnown("kv_lengths that are not I64");
    std::vector<int64_t> lengths(tensor.bytes.size() / sizeof(int64_t));
    std::memcpy(lengths.data(), tensor.bytes.data(), tensor.bytes.size());
    request.mutable_options()->mutable_kv_lengths()->Add(lengths.begin(), lengths.end());
    return absl::OkStatus();
  }
  v1::Tensor* place = nullptr;
  if (tensor.name == "bias") {
    place = request.mutable_options()->add_biases();
  } else if (tensor.name == "mask" || tensor.name.starts_with("mask.")) {
    place = request.mutable_options()->add_masks()->mutable_tensor();
  } else if (tensor.name == "query" || tensor.name == "key" || tensor.name == "value") {
    place = TensorOf(tensor.name, &request);
  } else {
    return SetRole(tensor.name, tensor, request.mutable_inline_());
  }
  auto proto = ToProto(tensor);
  if (proto.ok()) *place = *std::move(proto);
  return proto.status();
}

}  // namespace

absl::StatusOr<v1::Tensor> ToProto(const StoredTensor& tensor) {
  v1::Tensor proto;
  switch (tensor.dtype) {
    case StoredType::kF32:
      proto.set_dtype(v1::DATA_TYPE_FLOAT32);
      break;
    case StoredType::kF16:
      proto.set_dtype(v1::DATA_TYPE_FLOAT16);
      break;
    case StoredType::kBf16:
      proto.set_dtype(v1::DATA_TYPE_BFLOAT16);
      break;
    case StoredType::kBool:
      proto.set_dtype(v1::DATA_TYPE_BOOL);
      break;
    default:
      return NotKnown(absl::StrCat(tensor.name, " is ", StoredTypeName(tensor.dtype)));
  }
  proto.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  proto.set_data(tensor.bytes.data(), tensor.bytes.size());
  return proto;
}

absl::Status SetRole(std::string_view role, const StoredTensor& tensor, v1::ProjectionWeights* weights) {
  v1::Tensor* place = TensorOf(role, weights);
  if (place == nullptr) return NotKnown("tensor " + std::string(role));
  auto proto = ToProto(tensor);
  if (proto.ok()) *place = *std::move(proto);
  return proto.status();
}

absl::StatusOr<RecordedMultiHead> ReadRecordedMultiHead(const std::string& path) {
  const auto file = Safetensors::Read(path);
  if (!file.ok()) return file.status();
  RecordedMultiHead result;
  for (const StoredTensor& tensor : file->tensors()) {
    if (absl::Status status = ReadTensor(tensor, &result); !status.ok()) return status;
  }
  for (const auto& [name, text] : file->metadata()) {
    if (!SetOption(name, text, &result.request)) return NotKnown(absl::StrCat(name, " = ", text));
  }
  return result;
}

absl::StatusOr<std::string> IdOf(const v1::ProjectionWeights& weights) {
  ProjectionWeights views;
  views.orientation =
      weights.orientation() == v1::ProjectionWeights::ORIENTATION_IN_OUT ? Orientation::kInOut : Orientation::kOutIn;
  for (const auto& [info, tensor] : RolesOf(weights)) {
    views.tensors[info->role] = TensorView{DataTypeOf(tensor->dtype()),
                                           {tensor->shape().begin(), tensor->shape().end()},
                                           Fragments(std::as_bytes(std::span(tensor->data())))};
  }
  return WeightsId(views);
}

grpc::Status Register(v1::WeightsService::Stub& service, const v1::ProjectionWeights& weights, const std::string& id,
                      size_t chunk_bytes, v1::RegisterWeightsResponse* response) {
  grpc::ClientContext context;
  const auto writer = service.RegisterWeights(&context, response);
  v1::RegisterWeightsRequest request;
  *request.mutable_header()->mutable_weights() = weights;
  request.mutable_header()->set_weights_id(id);
  for (const auto& [info, tensor] : RolesOf(weights)) {
    TensorOf(info->name, request.mutable_header()->mutable_weights())->clear_data();
  }
  bool open = writer->Write(request);
  for (const auto& [info, tensor] : RolesOf(weights)) {
    for (size_t at = 0; open && at < tensor->data().size(); at += chunk_bytes) {
      v1::WeightsChunk* chunk = request.mutable_chunk();
      chunk->Clear();
      // Only where another tensor begins must its name be said.
      if (at == 0) chunk->set_tensor(info->name);
      chunk->set_data(tensor->data().substr(at, chunk_bytes));
      open = writer->Write(request);
    }
  }
  writer->WritesDone();
  return writer->Finish();
}

}  // namespace attnd
