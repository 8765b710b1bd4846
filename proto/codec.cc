#include "proto/codec.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attnd/v1/attention.pb.h"
#include "attnd/v1/options.pb.h"
#include "attnd/v1/tensor.pb.h"
#include "core/errors.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "proto/chunk_writer.h"
#include "proto/skeleton.h"

namespace attnd::codec {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian and used in place");

// Small fields of a request: room for offsets of a batch of several hundred thousand.
constexpr size_t kMaxRequestSkeleton = size_t{8} << 20;

// What this build serves of an AttendRequest, by message type. A type that is not listed
// is served whole.
struct ServedType {
  const google::protobuf::Descriptor* type;
  std::vector<std::string_view> fields;
};

FieldSet UnservedFields() {
  const ServedType served[] = {
      {v1::AttendRequest::descriptor(), {"query", "key", "value", "layout", "heads", "kv_heads", "options", "outputs"}},
      {v1::AttentionOptions::descriptor(), {"scale", "causal", "alignment", "q_offset", "k_offset", "precision"}},
      {v1::Outputs::descriptor(), {"dtype", "lse", "weights"}},
      {v1::WeightsOutput::descriptor(), {"heads"}},
  };
  FieldSet unserved;
  for (const ServedType& s : served) {
    for (int i = 0; i < s.type->field_count(); ++i) {
      const auto* field = s.type->field(i);
      if (std::find(s.fields.begin(), s.fields.end(), field->name()) == s.fields.end()) unserved.insert(field);
    }
  }
  return unserved;
}

// An enumerator as users know it: "HEADS_FIRST" for LAYOUT_HEADS_FIRST.
std::string Word(const google::protobuf::EnumValueDescriptor& value) {
  const std::string& unspecified = value.type()->value(0)->name();
  const size_t prefix = unspecified.size() - std::string_view("UNSPECIFIED").size();
  return value.name().substr(prefix);
}

std::string AllowedWords(const google::protobuf::EnumDescriptor& type) {
  std::string words;
  for (int i = 1; i < type.value_count(); ++i) absl::StrAppend(&words, i > 1 ? ", " : "", Word(*type.value(i)));
  return words;
}

// That `value` is an enumerator the contract knows.
template <typename Enum>
absl::Status CheckKnown(std::string_view field, Enum value) {
  const auto& type = *google::protobuf::GetEnumDescriptor<Enum>();
  if (type.FindValueByNumber(value) != nullptr) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat(static_cast<int>(value), " is no known ", type.name(), "; allowed: ", AllowedWords(type)));
}

template <typename Enum>
absl::Status UnservedValue(std::string_view field, Enum value) {
  const auto& type = *google::protobuf::GetEnumDescriptor<Enum>();
  return UnservedField(field, absl::StrCat(Word(*type.FindValueByNumber(value)),
                                           " is part of the contract but not served by this version"));
}

// That `dtype` is one for numbers, and served.
absl::Status CheckNumeric(std::string_view field, v1::DataType dtype) {
  if (absl::Status s = CheckKnown(field, dtype); !s.ok()) return s;
  switch (dtype) {
    case v1::DATA_TYPE_UNSPECIFIED:
    case v1::DATA_TYPE_FLOAT32:
      return absl::OkStatus();
    case v1::DATA_TYPE_BOOL:
    case v1::DATA_TYPE_BIT:
      return InvalidField(field, absl::StrCat(dtype == v1::DATA_TYPE_BOOL ? "BOOL" : "BIT",
                                              " is for masks; allowed: FLOAT32, FLOAT16, BFLOAT16"));
    default:
      return UnservedValue(field, dtype);
  }
}

absl::Status CheckForm(const std::string& name, const v1::Tensor& tensor, const TensorPayload& payload) {
  if (payload.values.empty()) return absl::OkStatus();
  if (!payload.data.empty()) {
    return InvalidField(name, absl::StrCat("has both data (", payload.data.size(), " bytes) and values (",
                                           payload.values.size() / sizeof(float), " elements); one is allowed"));
  }
  if (tensor.dtype() == v1::DATA_TYPE_UNSPECIFIED || tensor.dtype() == v1::DATA_TYPE_FLOAT32) return absl::OkStatus();
  if (absl::Status s = CheckKnown(name + ".dtype", tensor.dtype()); !s.ok()) return s;
  return InvalidField(
      name + ".values",
      absl::StrCat("came with dtype ", Word(*v1::DataType_descriptor()->FindValueByNumber(tensor.dtype())),
                   "; allowed with values: FLOAT32"));
}

const Fragments& PresentForm(const TensorPayload& payload) {
  return payload.values.empty() ? payload.data : payload.values;
}

absl::Status ReadTensor(const std::string& name, bool present, const v1::Tensor& tensor, const Skeleton& skeleton,
                        TensorView& view) {
  if (!present) return InvalidField(name, "is required");
  const TensorPayload& payload = PayloadOf(skeleton, tensor);
  if (absl::Status s = CheckForm(name, tensor, payload); !s.ok()) return s;
  if (absl::Status s = CheckNumeric(name + ".dtype", tensor.dtype()); !s.ok()) return s;
  view.dtype = DataType::kFloat32;
  view.shape.assign(tensor.shape().begin(), tensor.shape().end());
  view.bytes = PresentForm(payload);
  return absl::OkStatus();
}

absl::Status ReadTensors(const v1::AttendRequest& wire, const Skeleton& skeleton, AttentionRequest& request) {
  if (absl::Status s = ReadTensor("query", wire.has_query(), wire.query(), skeleton, request.query); !s.ok()) return s;
  if (absl::Status s = ReadTensor("key", wire.has_key(), wire.key(), skeleton, request.key); !s.ok()) return s;
  return ReadTensor("value", wire.has_value(), wire.value(), skeleton, request.value);
}

absl::Status ReadLayout(const v1::AttendRequest& wire, AttentionRequest& request) {
  if (absl::Status s = CheckKnown("layout", wire.layout()); !s.ok()) return s;
  if (wire.layout() == v1::LAYOUT_PACKED) return UnservedValue("layout", wire.layout());
  request.layout = wire.layout() == v1::LAYOUT_TOKENS_FIRST ? Layout::kTokensFirst : Layout::kHeadsFirst;
  if (wire.has_heads()) request.heads = wire.heads();
  if (wire.has_kv_heads()) request.kv_heads = wire.kv_heads();
  return absl::OkStatus();
}

Alignment FromWire(v1::Alignment alignment) {
  switch (alignment) {
    case v1::ALIGNMENT_TOP_LEFT:
      return Alignment::kTopLeft;
    case v1::ALIGNMENT_BOTTOM_RIGHT:
      return Alignment::kBottomRight;
    case v1::ALIGNMENT_OFFSET:
      return Alignment::kOffset;
    default:
      return Alignment::kUnset;
  }
}

absl::Status ReadOptions(const v1::AttentionOptions& wire, AttentionOptions& options) {
  if (absl::Status s = CheckKnown("options.alignment", wire.alignment()); !s.ok()) return s;
  if (absl::Status s = CheckKnown("options.precision", wire.precision()); !s.ok()) return s;
  if (wire.precision() == v1::PRECISION_BFLOAT16_PRODUCTS) return UnservedValue("options.precision", wire.precision());
  if (wire.has_scale()) options.scale = wire.scale();
  options.causal = wire.causal();
  options.alignment = FromWire(wire.alignment());
  options.q_offset.assign(wire.q_offset().begin(), wire.q_offset().end());
  options.k_offset.assign(wire.k_offset().begin(), wire.k_offset().end());
  return absl::OkStatus();
}

absl::Status ReadOutputs(const v1::Outputs& wire, AttentionOutputs& outputs) {
  if (absl::Status s = CheckNumeric("outputs.dtype", wire.dtype()); !s.ok()) return s;
  const auto heads = wire.weights().heads();
  if (absl::Status s = CheckKnown("outputs.weights.heads", heads); !s.ok()) return s;
  if (heads == v1::WeightsOutput::HEADS_MEAN) return UnservedValue("outputs.weights.heads", heads);
  outputs.lse = wire.has_lse();
  outputs.weights = wire.has_weights();
  return absl::OkStatus();
}

// Keeps the message and what was copied out of it alive.
std::shared_ptr<const void> OwnerOf(std::shared_ptr<const void> message, Skeleton skeleton) {
  if (skeleton.copies.empty()) return message;
  return std::make_shared<std::pair<std::shared_ptr<const void>, decltype(skeleton.copies)>>(
      std::move(message), std::move(skeleton.copies));
}

v1::DataType ToWire(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat32:
      return v1::DATA_TYPE_FLOAT32;
    case DataType::kFloat16:
      return v1::DATA_TYPE_FLOAT16;
    case DataType::kBfloat16:
      return v1::DATA_TYPE_BFLOAT16;
    case DataType::kBool:
      return v1::DATA_TYPE_BOOL;
    case DataType::kBit:
      return v1::DATA_TYPE_BIT;
  }
  return v1::DATA_TYPE_UNSPECIFIED;
}

v1::Alignment ToWire(Alignment alignment) {
  switch (alignment) {
    case Alignment::kUnset:
      break;
    case Alignment::kTopLeft:
      return v1::ALIGNMENT_TOP_LEFT;
    case Alignment::kBottomRight:
      return v1::ALIGNMENT_BOTTOM_RIGHT;
    case Alignment::kOffset:
      return v1::ALIGNMENT_OFFSET;
  }
  return v1::ALIGNMENT_UNSPECIFIED;
}

void WriteTensor(int field, const TensorView& tensor, bool as_values, ChunkWriter& out) {
  v1::Tensor small;
  small.set_dtype(ToWire(tensor.dtype));
  small.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  // `values` are packed, so both forms are the same bytes behind another field number.
  const int payload_field = as_values ? v1::Tensor::kValuesFieldNumber : v1::Tensor::kDataFieldNumber;
  out.MessageWithPayload(field, small, payload_field, tensor.bytes);
}

void WriteTensor(int field, const std::vector<int64_t>& shape, const Buffer& values, bool as_values, ChunkWriter& out) {
  const std::span<const std::byte> bytes(values.data(), values.size());
  WriteTensor(field, TensorView{DataType::kFloat32, shape, Fragments(bytes)}, as_values, out);
}

int64_t SaturatedInteger(double value) {
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  if (std::isnan(value)) return 0;
  if (value >= kLimit) return std::numeric_limits<int64_t>::max();
  if (value < -kLimit) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

int32_t ClampedInteger(int64_t value) {
  using Limits = std::numeric_limits<int32_t>;
  return static_cast<int32_t>(std::clamp<int64_t>(value, Limits::min(), Limits::max()));
}

absl::Status InternalError(const char* field, std::string_view problem) {
  return absl::InternalError("the response is malformed: " + std::string(field) + ": " + std::string(problem));
}

// Product of `shape`, if there is one.
std::optional<size_t> ElementCount(const std::vector<int64_t>& shape) {
  size_t count = 1;
  bool overflow = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent == 0) return 0;
    overflow |= __builtin_mul_overflow(count, static_cast<size_t>(extent), &count);
  }
  return overflow ? std::nullopt : std::optional(count);
}

absl::Status ReadReplyTensor(const char* name, const v1::Tensor& wire, const Skeleton& skeleton, ReplyTensor& tensor) {
  const TensorPayload& payload = PayloadOf(skeleton, wire);
  if (!payload.data.empty() && !payload.values.empty()) return InternalError(name, "has both data and values");
  if (wire.dtype() != v1::DATA_TYPE_UNSPECIFIED && wire.dtype() != v1::DATA_TYPE_FLOAT32) {
    return InternalError(name, absl::StrCat("has dtype ", static_cast<int>(wire.dtype()), ", not FLOAT32"));
  }
  const Fragments& bytes = PresentForm(payload);
  tensor.shape.assign(wire.shape().begin(), wire.shape().end());
  // An absent tensor and a scalar have the same shape.
  const std::optional<size_t> count = tensor.shape.empty() && bytes.empty() ? 0 : ElementCount(tensor.shape);
  if (bytes.size() % sizeof(float) != 0 || count != bytes.size() / sizeof(float)) {
    return InternalError(name, absl::StrCat("has ", bytes.size(), " bytes for shape ", ShapeString(tensor.shape)));
  }
  tensor.values.resize(*count);
  bytes.CopyTo(reinterpret_cast<std::byte*>(tensor.values.data()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AttendCall> DecodeAttendRequest(MessagePieces message, std::shared_ptr<const void> owner) {
  static const auto& unserved = *new FieldSet(UnservedFields());
  const SplitOptions options{.root = "request", .max_skeleton_bytes = kMaxRequestSkeleton, .unserved = &unserved};
  google::protobuf::Arena arena;
  auto& wire = *google::protobuf::Arena::CreateMessage<v1::AttendRequest>(&arena);
  absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, options, wire);
  if (!skeleton.ok()) return skeleton.status();

  AttendCall call;
  if (absl::Status s = ReadTensors(wire, *skeleton, call.request); !s.ok()) return s;
  if (absl::Status s = ReadLayout(wire, call.request); !s.ok()) return s;
  if (absl::Status s = ReadOptions(wire.options(), call.request.options); !s.ok()) return s;
  if (absl::Status s = ReadOutputs(wire.outputs(), call.request.outputs); !s.ok()) return s;
  call.reply_with_values = !PayloadOf(*skeleton, wire.query()).values.empty();
  call.request.owner = OwnerOf(std::move(owner), *std::move(skeleton));
  return call;
}

std::vector<Chunk> EncodeAttendResponse(const AttentionResult& result, bool reply_with_values,
                                        std::string_view numerics_id) {
  using Wire = v1::AttendResponse;
  ChunkWriter out;
  WriteTensor(Wire::kOutputFieldNumber, result.output_shape, result.output, reply_with_values, out);
  if (result.has_lse) WriteTensor(Wire::kLseFieldNumber, result.lse_shape, result.lse, reply_with_values, out);
  if (result.has_weights) {
    WriteTensor(Wire::kWeightsFieldNumber, result.weights_shape, result.weights, reply_with_values, out);
  }
  Wire small;
  small.mutable_timings()->set_queue_seconds(Seconds(result.timings.queue));
  small.mutable_timings()->set_gather_seconds(Seconds(result.timings.prepare));
  small.mutable_timings()->set_compute_seconds(Seconds(result.timings.compute));
  small.mutable_counts()->set_tiles(result.tiles);
  small.mutable_counts()->set_flops(SaturatedInteger(result.flops));
  small.mutable_counts()->set_empty_rows(result.rows.empty);
  small.mutable_counts()->set_non_finite_rows(result.rows.non_finite);
  small.set_numerics_id(std::string(numerics_id));
  out.Fields(small);
  return std::move(out).Finish();
}

std::vector<Chunk> EncodeAttendRequest(const AttentionRequest& request) {
  using Wire = v1::AttendRequest;
  ChunkWriter out;
  WriteTensor(Wire::kQueryFieldNumber, request.query, /*as_values=*/false, out);
  WriteTensor(Wire::kKeyFieldNumber, request.key, /*as_values=*/false, out);
  WriteTensor(Wire::kValueFieldNumber, request.value, /*as_values=*/false, out);
  Wire small;
  small.set_layout(request.layout == Layout::kTokensFirst ? v1::LAYOUT_TOKENS_FIRST : v1::LAYOUT_HEADS_FIRST);
  if (request.heads) small.set_heads(ClampedInteger(*request.heads));
  if (request.kv_heads) small.set_kv_heads(ClampedInteger(*request.kv_heads));
  v1::AttentionOptions& options = *small.mutable_options();
  if (request.options.scale) options.set_scale(*request.options.scale);
  options.set_causal(request.options.causal);
  options.set_alignment(ToWire(request.options.alignment));
  options.mutable_q_offset()->Add(request.options.q_offset.begin(), request.options.q_offset.end());
  options.mutable_k_offset()->Add(request.options.k_offset.begin(), request.options.k_offset.end());
  if (request.outputs.lse) small.mutable_outputs()->mutable_lse();
  if (request.outputs.weights) small.mutable_outputs()->mutable_weights();
  out.Fields(small);
  return std::move(out).Finish();
}

absl::StatusOr<AttendReply> DecodeAttendResponse(MessagePieces message) {
  v1::AttendResponse wire;
  const absl::StatusOr<Skeleton> skeleton = ParseWithoutPayloads(message, {.root = "response"}, wire);
  if (!skeleton.ok()) {
    return absl::InternalError("the response is malformed: " + std::string(skeleton.status().message()));
  }
  AttendReply reply;
  if (absl::Status s = ReadReplyTensor("output", wire.output(), *skeleton, reply.output); !s.ok()) return s;
  if (absl::Status s = ReadReplyTensor("lse", wire.lse(), *skeleton, reply.lse); !s.ok()) return s;
  if (absl::Status s = ReadReplyTensor("weights", wire.weights(), *skeleton, reply.weights); !s.ok()) return s;
  reply.has_lse = wire.has_lse();
  reply.has_weights = wire.has_weights();
  reply.queue_seconds = wire.timings().queue_seconds();
  reply.gather_seconds = wire.timings().gather_seconds();
  reply.compute_seconds = wire.timings().compute_seconds();
  reply.tiles = wire.counts().tiles();
  reply.flops = wire.counts().flops();
  reply.empty_rows = wire.counts().empty_rows();
  reply.non_finite_rows = wire.counts().non_finite_rows();
  reply.numerics_id = wire.numerics_id();
  return reply;
}

std::string EncodeErrorDetails(const absl::Status& status) {
  const auto field = FieldOf(status);
  const auto retry_after = RetryAfterOf(status);
  if (!field && !retry_after) return {};

  const std::string message(status.message());
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(message);
  if (field) {
    google::rpc::BadRequest details;
    auto& violation = *details.add_field_violations();
    violation.set_field(*field);
    const std::string prefix = *field + ": ";
    violation.set_description(message.starts_with(prefix) ? message.substr(prefix.size()) : message);
    wire.add_details()->PackFrom(details);
  }
  if (retry_after) {
    google::rpc::RetryInfo details;
    const auto millis = retry_after->count();
    details.mutable_retry_delay()->set_seconds(millis / 1000);
    details.mutable_retry_delay()->set_nanos(static_cast<int32_t>(millis % 1000) * 1'000'000);
    wire.add_details()->PackFrom(details);
  }
  return wire.SerializeAsString();
}

}  // namespace attnd::codec
