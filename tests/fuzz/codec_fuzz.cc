// Gives the same bytes to the codec and to the generated parser and aborts if they differ:
// both accept them and mean the same, or both refuse them. Sub-messages that occur twice
// are ours alone to refuse. Requests for multi-head attention are planned, too, which must take
// no memory to speak of. Input: the message's type, how it is cut into pieces, its bytes.
#include <google/protobuf/stubs/logging.h>
#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "attnd/v1/attention.pb.h"
#include "attnd/v1/weights.pb.h"
#include "core/errors.h"
#include "core/linear/multihead_plan.h"
#include "core/linear/projection_weights.h"
#include "proto/codec.h"
#include "proto/skeleton.h"
#include "tests/support/wire.h"

namespace attnd::codec {
namespace {

using google::protobuf::Message;

void Require(bool holds, const char* what, const absl::Status& status) {
  if (holds) return;
  std::fprintf(stderr, "%s; our status: %s\n", what, status.ToString().c_str());
  std::abort();
}

// Pieces of pseudo-random sizes, 0 to `pattern` bytes and now and then more.
Pieces Cut(std::string_view bytes, uint8_t pattern) {
  Pieces pieces;
  uint32_t state = pattern;
  while (!bytes.empty()) {
    state = state * 1664525 + 1013904223;
    const size_t size = (state >> 16) % (size_t{pattern} + 1) + (state >> 29 == 0 ? 200 : 0) + (pattern == 0 ? 1 : 0);
    pieces.Add(bytes.substr(0, size));
    bytes.remove_prefix(std::min(size, bytes.size()));
  }
  return pieces;
}

bool IsDeliberate(const absl::Status& status) {
  return std::string(status.message()).find("occurs twice") != std::string::npos;
}

void CompareWithGenerated(const std::string& bytes, const Pieces& pieces, const Message& type) {
  const std::unique_ptr<Message> theirs(type.New());
  const bool accepted = theirs->ParseFromString(bytes);
  const std::unique_ptr<Message> ours(type.New());
  const auto skeleton = ParseWithoutPayloads(pieces.views(), {}, *ours);
  if (!skeleton.ok()) {
    Require(!accepted || IsDeliberate(skeleton.status()), "only the generated parser accepts", skeleton.status());
    Require(FieldOf(skeleton.status()).has_value(), "no field is named", skeleton.status());
    return;
  }
  Require(accepted, "only the generated parser refuses", skeleton.status());
  Rehydrate(*skeleton, *ours);
  Require(Canonical(*ours) == Canonical(*theirs), "the messages differ", skeleton.status());
}

// What is read from a request is written again so that it reads the same.
template <typename Call, typename Encode, typename Decode>
void RequireRoundTrip(const Call& call, Encode encode, Decode decode) {
  const std::string once = ToString(encode(call));
  const Pieces pieces(once);
  const auto again = decode(pieces.views(), nullptr);
  Require(again.ok(), "our own request is refused", again.status());
  Require(ToString(encode(*again)) == once, "our own request reads differently", again.status());
}

void DecodeRequest(const std::string& bytes, const Pieces& pieces) {
  const auto call = DecodeAttendRequest(pieces.views(), nullptr);
  if (!call.ok()) {
    Require(FieldOf(call.status()).has_value(), "no field is named", call.status());
    return;
  }
  v1::AttendRequest theirs;
  Require(theirs.ParseFromString(bytes), "only the generated parser refuses", call.status());
  const std::string query = ToString(call->request.query.bytes);
  const auto& values = theirs.query().values();
  Require(query == (call->reply_with_values ? FloatBytes({values.data(), static_cast<size_t>(values.size())})
                                            : theirs.query().data()),
          "the queries differ", call.status());
  RequireRoundTrip(
      *call, [](const AttendCall& c) { return EncodeAttendRequest(c.request); }, DecodeAttendRequest);
}

void DecodeMerge(const Pieces& pieces) {
  const auto call = DecodeMergeRequest(pieces.views(), nullptr);
  if (!call.ok()) {
    Require(FieldOf(call.status()).has_value(), "no field is named", call.status());
    return;
  }
  RequireRoundTrip(
      *call, [](const MergeCall& c) { return EncodeMergeRequest(c.inputs); }, DecodeMergeRequest);
}

// Bytes that were allocated so far.
std::atomic<size_t> allocated = 0;

void CountAllocation(const volatile void* /*at*/, size_t bytes) { allocated += bytes; }
void IgnoreFree(const volatile void* /*at*/) {}

// Of registered weights that a request may name: a layer of width 2 with everything.
const WeightShapes& SomeShapes() {
  static const auto& shapes = *[] {
    auto* all = new WeightShapes;
    all->extents[WeightRole::kQkv] = {2, 6};
    all->extents[WeightRole::kOutput] = {2, 2};
    all->extents[WeightRole::kQueryNorm] = {2};
    all->extents[WeightRole::kExtraKey] = {2};
    all->extents[WeightRole::kExtraValue] = {2};
    all->extents[WeightRole::kPositionTable] = {9, 2};
    all->extents[WeightRole::kAttentionNormScale] = {2};
    all->extents[WeightRole::kFfnNormScale] = {2};
    all->extents[WeightRole::kUp] = {2, 5};
    all->extents[WeightRole::kDown] = {5, 2};
    return all;
  }();
  return shapes;
}

// Takes memory for the request's lists only, whatever its shapes say.
void PlanMultiHeadCall(const MultiHeadCall& call, size_t message_bytes) {
  const size_t before = allocated;
  absl::StatusOr<WeightShapes> shapes = SomeShapes();
  if (call.with_request) shapes = CheckWeights(*call.with_request, "inline");
  absl::Status status = shapes.status();
  if (shapes.ok()) status = PlanMultiHead(call.request, *shapes, {}).status();
  const size_t taken = allocated - before;
  Require(status.ok() || FieldOf(status).has_value(), "no field is named", status);
  Require(taken <= (size_t{1} << 16) + 256 * message_bytes, "planning takes memory", status);
}

void DecodeMultiHead(const Pieces& pieces, size_t message_bytes) {
  const auto call = DecodeMultiHeadRequest(pieces.views(), nullptr);
  if (!call.ok()) {
    Require(FieldOf(call.status()).has_value(), "no field is named", call.status());
    return;
  }
  RequireRoundTrip(*call, EncodeMultiHeadRequest, DecodeMultiHeadRequest);
  PlanMultiHeadCall(*call, message_bytes);
}

template <typename Reply>
void RequireReplyOrInternalError(const absl::StatusOr<Reply>& reply) {
  Require(reply.ok() || reply.status().code() == absl::StatusCode::kInternal, "not an internal error", reply.status());
}

}  // namespace
}  // namespace attnd::codec

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  google::protobuf::SetLogHandler(nullptr);
  __sanitizer_install_malloc_and_free_hooks(attnd::codec::CountAllocation, attnd::codec::IgnoreFree);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const attnd::codec::Pieces pieces = attnd::codec::Cut(bytes, data[1]);
  namespace codec = attnd::codec;
  const std::array<const google::protobuf::Message*, 8> types = {
      &attnd::v1::AttendRequest::default_instance(),          &attnd::v1::AttendResponse::default_instance(),
      &attnd::v1::AttendStreamResponse::default_instance(),   &attnd::v1::MergeRequest::default_instance(),
      &attnd::v1::MergeResponse::default_instance(),          &attnd::v1::RegisterWeightsRequest::default_instance(),
      &attnd::v1::MultiHeadAttendRequest::default_instance(), &attnd::v1::MultiHeadAttendResponse::default_instance()};
  const size_t type = data[0] % types.size();
  codec::CompareWithGenerated(bytes, pieces, *types[type]);
  if (type == 0) codec::DecodeRequest(bytes, pieces);
  if (type == 1) codec::RequireReplyOrInternalError(codec::DecodeAttendResponse(pieces.views()));
  if (type == 3) codec::DecodeMerge(pieces);
  if (type == 4) codec::RequireReplyOrInternalError(codec::DecodeMergeResponse(pieces.views()));
  if (type == 6) codec::DecodeMultiHead(pieces, bytes.size());
  if (type == 7) codec::RequireReplyOrInternalError(codec::DecodeMultiHeadResponse(pieces.views()));
  return 0;
}
