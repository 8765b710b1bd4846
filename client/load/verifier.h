// Whether answers are right.
#ifndef ATTND_CLIENT_LOAD_VERIFIER_H_
#define ATTND_CLIENT_LOAD_VERIFIER_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "client/load/run_result.h"
#include "client/load/work.h"
#include "core/runtime/clock.h"

namespace attnd::load {

struct VerifierOptions {
  // Part of the answers that is compared with the oracle, 0..1, beside the first to each work.
  double share = 0;
  // False: no answer is looked at.
  bool enabled = true;
  // Compare with a local computation if the server's arithmetic is this program's.
  bool local = true;
  // Works of more floating-point operations are not computed by the oracle or locally; the
  // verification says so.
  double max_flops = 2e9;
};

// What an answer says of the server's time.
struct ServerTimings {
  Duration queue{};
  Duration gather{};
  Duration compute{};
};

// Looks at answers while they come in: bits of tensors at once (a hash), the oracle later, on
// a thread of its own at the lowest priority and in Finish, so that it does not disturb what
// is measured. Thread-safe.
class Verifier {
 public:
  // `works` must outlive it.
  Verifier(const VerifierOptions& options, const std::vector<Work>& works);
  ~Verifier();
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;

  // An answer with status OK to works[work]. Returns what it says of times; a failure if it
  // is no answer at all, which is counted, too.
  absl::StatusOr<ServerTimings> Take(size_t work, const grpc::ByteBuffer& answer);

  // Waits for what is under way, and returns and forgets the counts; what is known of the
  // works stays for the next run.
  Verification Finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_VERIFIER_H_
