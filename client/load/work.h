// What a load test asks for: requests, made once and sent again and again.
#ifndef ATTND_CLIENT_LOAD_WORK_H_
#define ATTND_CLIENT_LOAD_WORK_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/codec.h"

namespace attnd::load {

// One request, ready to be sent any number of times: gRPC counts references to its bytes.
// Immutable, so thread-safe.
struct Work {
  // "llama-decode"; with several cases of a kind "llama-decode.2".
  std::string name;
  // Of --json and the head of the table: "Attend [1, 12, 128, 64] float32 causal".
  std::string description;
  // "/attnd.v1.AttentionService/Attend".
  std::string method;
  grpc::ByteBuffer message;
  // How often it is sent, relative to the others. > 0.
  double weight = 1;
  // On visible pairs, projections included.
  double flops = 0;
  // What `message` says. Exactly one of the two, the one that `method` takes.
  std::shared_ptr<const AttentionRequest> attend;
  std::shared_ptr<const codec::MultiHeadCall> multihead;
  // What the call's weights_id or weights_alias names, if that is known here: without it
  // nothing but the server can compute the answer.
  std::shared_ptr<const ProjectionWeights> weights;
};

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_WORK_H_
