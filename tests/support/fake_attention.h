// A server whose capacity is known: it takes a given time for each call, one after the other,
// and computes nothing.
#ifndef ATTND_TESTS_SUPPORT_FAKE_ATTENTION_H_
#define ATTND_TESTS_SUPPORT_FAKE_ATTENTION_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/runtime/clock.h"

namespace attnd {

// To a call of any method of attnd.v1.AttentionService.
struct FakeAnswer {
  // Of status OK; others are sent at once.
  grpc::ByteBuffer message = grpc::ByteBuffer(nullptr, 0);
  grpc::Status status;
  // Trailer grpc-retry-pushback-ms.
  std::optional<int> pushback_ms;
};

struct FakeAttentionOptions {
  // Of each call; 0: they are answered as they come.
  Duration service_time{};
  // Calls that are worked on at a time; the others wait in the order they came. The capacity
  // is servers / service_time.
  int servers = 1;
  // Nothing is worked on for `stall` at each multiple of `stall_every` from the start on.
  Duration stall{};
  Duration stall_every{};
  // Called on one thread, with 0, 1, ... in the order that calls come in.
  std::function<FakeAnswer(int64_t call)> answer = [](int64_t) { return FakeAnswer{}; };
  // 0 takes a free one.
  int port = 0;
};

// Thread-safe.
class FakeAttention {
 public:
  // Listens on 127.0.0.1. Fails the test if it cannot.
  explicit FakeAttention(FakeAttentionOptions options);
  ~FakeAttention();
  FakeAttention(const FakeAttention&) = delete;
  FakeAttention& operator=(const FakeAttention&) = delete;

  // "127.0.0.1:PORT".
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
  [[nodiscard]] int port() const;
  // Calls that came in.
  [[nodiscard]] int64_t calls() const;

  // Goes away; calls under way fail.
  void Stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_FAKE_ATTENTION_H_
