#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "core/errors.h"
#include "core/linear/weight_upload.h"
#include "core/linear/weights_id.h"
#include "proto/codec_weights.h"
#include "server/byte_buffer.h"
#include "server/weights_rpc.h"

namespace attnd {
namespace {

class RegisterWeightsCall final : public ClientStreamCall<grpc::ByteBuffer, grpc::ByteBuffer>, public Upload {
 public:
  RegisterWeightsCall(const WeightsScope& scope, grpc::ServerCompletionQueue* queue)
      : ClientStreamCall(scope.call), scope_(scope), queue_(queue) {
    scope_.rpcs->RequestRegisterWeights(&context_, &reader_, queue_, queue_, AcceptedTag());
  }
  ~RegisterWeightsCall() override { scope_.uploads->Leave(this); }
  RegisterWeightsCall(const RegisterWeightsCall&) = delete;
  RegisterWeightsCall& operator=(const RegisterWeightsCall&) = delete;

  void EndIfWaiting(Time since, const absl::Status& status) override;

 private:
  // Who may touch the call: in kWaiting nobody; who leads it out of there, by exchange, has it.
  enum class State { kWorking, kWaiting, kEnded };

  [[nodiscard]] std::string_view method() const override { return "/attnd.v1.WeightsService/RegisterWeights"; }
  void Renew() override { PostRegisterWeights(scope_, queue_); }
  void Serve() override;
  void OnGone() override { gone_ = true; }
  void OnRead(bool ok) override;

  void AwaitMessage();
  // Leads out of kWaiting; false if somebody else did.
  bool Leave(State to);
  absl::StatusOr<codec::UploadPart> Decode();
  // True if the weights existed and the call is answered.
  absl::StatusOr<bool> TakeHeader();
  absl::Status TakeChunk();
  void FinishUpload();
  void FreeUpload();
  void Succeed(const RegisteredWeights& registered);
  void Fail(const absl::Status& error);

  const WeightsScope& scope_;
  grpc::ServerCompletionQueue* const queue_;
  std::atomic<State> state_ = State::kWorking;
  std::atomic<Time> waiting_since_{};
  std::atomic<bool> gone_ = false;
  // Set and counted in Uploads once the header is accepted.
  std::unique_ptr<WeightUpload> upload_;
  std::string alias_;
};

void RegisterWeightsCall::AwaitMessage() {
  waiting_since_ = Clock::Real().Now();
  // From here on the keeper may end the call, which lives until the event.
  ExpectEvent();
  state_ = State::kWaiting;
  StartRead();
}

bool RegisterWeightsCall::Leave(State to) {
  State waiting = State::kWaiting;
  return state_.compare_exchange_strong(waiting, to);
}

void RegisterWeightsCall::EndIfWaiting(Time since, const absl::Status& status) {
  if (waiting_since_.load() <= since && Leave(State::kEnded)) Fail(status);
}

// On the poller:
void RegisterWeightsCall::Serve() {
  if (const absl::Status status = scope_.uploads->Enter(this); !status.ok()) return Fail(status);
  AwaitMessage();
}

void RegisterWeightsCall::OnRead(bool ok) {
  if (!Leave(State::kWorking)) return;
  if (upload_ != nullptr) {
    scope_.uploads->Run([this, ok] {
      if (!ok) return FinishUpload();
      const absl::Status status = TakeChunk();
      status.ok() ? AwaitMessage() : Fail(status);
    });
    return;
  }
  if (!ok) return Fail(InvalidField("part", "the stream ended before a header came"));
  const absl::StatusOr<bool> existed = TakeHeader();
  if (!existed.ok()) return Fail(existed.status());
  if (!*existed) AwaitMessage();
}

absl::StatusOr<codec::UploadPart> RegisterWeightsCall::Decode() {
  auto message = std::make_shared<grpc::ByteBuffer>();
  message->Swap(&request_);
  const auto pieces = PiecesOf(*message);
  return codec::DecodeRegisterWeightsRequest(pieces, std::move(message));
}

absl::StatusOr<bool> RegisterWeightsCall::TakeHeader() {
  absl::StatusOr<codec::UploadPart> part = Decode();
  if (!part.ok()) return part.status();
  auto* header = std::get_if<codec::UploadHeader>(&*part);
  if (header == nullptr) return InvalidField("part", "is a chunk; the header comes first");
  if (!header->alias.empty()) {
    if (absl::Status s = CheckAlias("header.alias", header->alias); !s.ok()) return s;
  }
  auto upload = WeightUpload::Begin(std::move(header->weights), header->id);
  if (!upload.ok()) return upload.status();
  const absl::StatusOr<bool> existed = scope_.weights->Reuse(header->id, header->alias);
  if (!existed.ok()) return existed.status();
  if (*existed) {
    Succeed({header->id, true});
    return true;
  }
  if (absl::Status s = scope_.weights->CheckFits((*upload)->shapes()); !s.ok()) return s;
  if (absl::Status s = scope_.uploads->TakeRoom((*upload)->bytes()); !s.ok()) return s;
  upload_ = *std::move(upload);
  alias_ = std::move(header->alias);
  return false;
}

// On Uploads' thread:
absl::Status RegisterWeightsCall::TakeChunk() {
  if (gone_) return absl::CancelledError("the client went away");
  const absl::StatusOr<codec::UploadPart> part = Decode();
  if (!part.ok()) return part.status();
  const auto* chunk = std::get_if<codec::UploadChunk>(&*part);
  if (chunk == nullptr) return InvalidField("part", "is a second header; chunks come after the first");
  return upload_->Append(chunk->tensor, chunk->data);
}

void RegisterWeightsCall::FinishUpload() {
  if (gone_) return Fail(absl::CancelledError("the client went away"));
  const auto weights = upload_->Finish();
  if (!weights.ok()) return Fail(weights.status());
  const auto registered = scope_.weights->RegisterAs(upload_->id(), **weights, upload_->shapes(), alias_);
  registered.ok() ? Succeed(*registered) : Fail(registered.status());
}

// Wherever the call ends:
void RegisterWeightsCall::FreeUpload() {
  if (upload_ == nullptr) return;
  const int64_t bytes = upload_->bytes();
  upload_.reset();
  scope_.uploads->ReleaseRoom(bytes);
}

void RegisterWeightsCall::Succeed(const RegisteredWeights& registered) {
  FreeUpload();
  v1::RegisterWeightsResponse response;
  response.set_weights_id(registered.id);
  response.set_existed(registered.existed);
  const grpc::Slice slice(response.SerializeAsString());
  Answer(grpc::ByteBuffer(&slice, 1));
}

void RegisterWeightsCall::Fail(const absl::Status& error) {
  FreeUpload();
  Answer(error);
}

}  // namespace

void PostRegisterWeights(const WeightsScope& scope, grpc::ServerCompletionQueue* queue) {
  new RegisterWeightsCall(scope, queue);
}

}  // namespace attnd
