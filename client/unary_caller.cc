#include "client/unary_caller.h"

#include <algorithm>
#include <random>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/channel.h"

namespace attnd {
namespace {

using std::chrono::milliseconds;

// Longer than anyone waits; keeps sums with the clock from overflowing.
constexpr milliseconds kUnbounded = std::chrono::hours(24 * 365);

bool IsPrintableAscii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::string TimeString(milliseconds time) {
  if (time.count() % 1000 == 0) return absl::StrCat(time.count() / 1000, " s");
  return absl::StrCat(time.count(), " ms");
}

// A fifth more or less, so that clients refused together don't come back together.
Duration Jittered(Duration pause) {
  thread_local std::minstd_rand random(std::random_device{}());
  std::uniform_real_distribution<double> factor(0.8, 1.2);
  return std::chrono::duration_cast<Duration>(pause * factor(random));
}

}  // namespace

UnaryCaller::UnaryCaller(const ClientOptions& options)
    : options_(options),
      channel_(MakeChannel(options.address, {.resends = true})),
      stub_(channel_),
      upload_channel_(MakeChannel(options.address, {.resends = false})),
      upload_stub_(upload_channel_) {}

absl::StatusOr<grpc::ByteBuffer> UnaryCaller::Call(const std::string& method, const grpc::ByteBuffer& request,
                                                   const CallOptions& call, int max_attempts) {
  return Retry(call, max_attempts, [&](grpc::ClientContext& context, grpc::CompletionQueue& queue) {
    Attempt attempt;
    const auto rpc = stub_.PrepareUnaryCall(&context, method, request, &queue);
    rpc->StartCall();
    rpc->Finish(&attempt.reply, &attempt.status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return attempt;
  });
}

absl::StatusOr<grpc::ByteBuffer> UnaryCaller::Upload(const std::string& method,
                                                     const std::function<NextMessage()>& begin, const CallOptions& call,
                                                     int max_attempts) {
  return Retry(call, max_attempts, [&](grpc::ClientContext& context, grpc::CompletionQueue& queue) {
    const auto rpc = upload_stub_.PrepareCall(&context, method, &queue);
    return UploadOnce(*rpc, begin(), queue);
  });
}

UnaryCaller::Attempt UnaryCaller::UploadOnce(grpc::GenericClientAsyncReaderWriter& rpc, const NextMessage& next,
                                             grpc::CompletionQueue& queue) {
  Attempt attempt;
  absl::Status failed;
  char read = 0;
  char write = 0;
  rpc.StartCall(&write);
  rpc.Read(&attempt.reply, &read);
  bool reading = true;
  bool writing = true;
  bool more = true;
  while (reading || writing) {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    (tag == &read ? reading : writing) = false;
    // The server has answered, or does not take any more.
    more = more && ok && tag == &write;
    if (!more || !reading || writing) continue;
    auto message = next();
    writing = true;
    if (message.has_value() && message->ok()) {
      rpc.Write(**message, &write);
    } else {
      more = false;
      if (message.has_value()) failed = message->status();
      rpc.WritesDone(&write);
    }
  }
  rpc.Finish(&attempt.status, &write);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!failed.ok()) attempt.status = {static_cast<grpc::StatusCode>(failed.code()), std::string(failed.message())};
  return attempt;
}

absl::StatusOr<grpc::ByteBuffer> UnaryCaller::Retry(const CallOptions& call, int max_attempts, const Once& once) {
  const milliseconds timeout = call.timeout.value_or(options_.timeout);
  if (timeout.count() < 0) return absl::InvalidArgumentError("timeout: negative; 0 means no bound");
  if (!IsPrintableAscii(call.tenant)) return absl::InvalidArgumentError("tenant: only printable ASCII is allowed");
  std::optional<Time> deadline;
  if (timeout.count() > 0 && timeout < kUnbounded) deadline = Clock::Real().Now() + timeout;

  for (int attempt = 1;; ++attempt) {
    Attempt result = TryOnce(call, deadline, once);
    if (result.status.ok()) return std::move(result.reply);
    const auto pause = attempt < max_attempts ? PauseBefore(attempt + 1, result) : std::nullopt;
    if (!pause.has_value() || (deadline.has_value() && *pause >= *deadline - Clock::Real().Now())) {
      return ToStatus(result.status, timeout);
    }
    std::this_thread::sleep_for(*pause);
  }
}

UnaryCaller::Attempt UnaryCaller::TryOnce(const CallOptions& call, const std::optional<Time>& deadline,
                                          const Once& once) {
  grpc::ClientContext context;
  if (deadline.has_value()) {
    context.set_deadline(std::chrono::system_clock::now() + std::max(*deadline - Clock::Real().Now(), Duration(0)));
  }
  if (call.priority != 0) context.AddMetadata("attnd-priority", absl::StrCat(call.priority));
  if (!call.tenant.empty()) context.AddMetadata("attnd-tenant", call.tenant);

  grpc::CompletionQueue queue;
  Attempt attempt = once(context, queue);
  queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue.Next(&tag, &ok)) {
  }

  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto hint = trailers.find("grpc-retry-pushback-ms"); hint != trailers.end()) {
    attempt.pushback.emplace(hint->second.data(), hint->second.size());
  }
  return attempt;
}

std::optional<Duration> UnaryCaller::PauseBefore(int next, const Attempt& last) const {
  const grpc::StatusCode code = last.status.error_code();
  if (code != grpc::StatusCode::UNAVAILABLE && code != grpc::StatusCode::RESOURCE_EXHAUSTED) return std::nullopt;
  if (last.pushback.has_value()) {
    int hint = 0;
    if (!absl::SimpleAtoi(*last.pushback, &hint) || hint < 0) return std::nullopt;
    return milliseconds(hint);
  }
  if (code == grpc::StatusCode::RESOURCE_EXHAUSTED) return std::nullopt;
  milliseconds pause = options_.retry.initial_backoff;
  for (int i = 2; i < next && pause < options_.retry.max_backoff; ++i) pause *= 2;
  return Jittered(std::min(pause, options_.retry.max_backoff));
}

absl::Status UnaryCaller::ToStatus(const grpc::Status& status, milliseconds timeout) const {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  std::string message = status.error_message();
  const auto broken = [](grpc::Channel& channel) { return channel.GetState(false) == GRPC_CHANNEL_TRANSIENT_FAILURE; };
  if (code == absl::StatusCode::kUnavailable && (broken(*channel_) || broken(*upload_channel_))) {
    return NoServerAt(options_.address, message);
  }
  if (code == absl::StatusCode::kDeadlineExceeded && message == "Deadline Exceeded") {
    message = absl::StrCat("no answer from ", options_.address, " within ", TimeString(timeout));
  }
  return {code, message};
}

}  // namespace attnd
