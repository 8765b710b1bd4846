// attnd from C++: attention computed by a server, called like a function.
//
//   auto client = attnd::Client::Connect({.address = "127.0.0.1:50051"});
//   auto reply = (*client)->Attend(request);
//   if (!reply.ok()) return reply.status();
//   Use(reply->output.shape, reply->output.values);
//
// Every call blocks until it has an answer, its deadline passes or the server turns out
// not to be there. Nothing is printed.
//
// Status of a failed call: the server's code and message as they came (the codes are
// listed in proto/attnd/v1/attention.proto), or, if no server was reached,
//   kUnavailable       "no server at <address> (<reason>)": at once, not after the deadline
//   kDeadlineExceeded  "no answer from <address> within <time>"
#ifndef ATTND_CLIENT_CLIENT_H_
#define ATTND_CLIENT_CLIENT_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "attnd/v1/server.pb.h"
#include "attnd/v1/weights.pb.h"
#include "core/attention/request.h"
#include "core/linear/weight_store.h"
#include "proto/codec.h"

namespace attnd {

// When a call that failed is made again, all within the call's deadline:
//   UNAVAILABLE         after a pause that doubles each time, give or take a fifth, or after
//                       the server's hint (`grpc-retry-pushback-ms`) if it gave one
//   RESOURCE_EXHAUSTED  only after the server's hint. Without one the request is larger than
//                       the server receives, and sending it again would not make it smaller
// No other status is retried, nor is any when the hint is negative or when the pause would
// outlast the deadline: the call then fails at once with what the server said.
struct RetryPolicy {
  // Including the first; 1 means no retry. Raising it rides out longer overloads and
  // restarts, and loads a server in trouble more.
  int max_attempts = 4;
  // First pause, without a hint. Raising it loads a server in trouble less.
  std::chrono::milliseconds initial_backoff{50};
  // Longest pause, without a hint.
  std::chrono::milliseconds max_backoff{1000};
};

struct ClientOptions {
  // HOST:PORT, [IPV6]:PORT, unix:PATH, or another name that gRPC resolves (dns:///...).
  std::string address = "127.0.0.1:50051";
  // Time a call may take, retries and their pauses included, unless the call says
  // otherwise; 0 for no bound. Raising it waits longer for slow answers.
  std::chrono::milliseconds timeout{30'000};
  RetryPolicy retry = {};
};

// What may differ from call to call.
struct CallOptions {
  // Instead of ClientOptions::timeout; 0 for no bound.
  std::optional<std::chrono::milliseconds> timeout = {};
  // Higher first. Metadata `attnd-priority`, sent unless 0.
  int priority = 0;
  // Whom the work is for, printable ASCII. Metadata `attnd-tenant`, sent unless empty.
  std::string tenant = {};
};

enum class ServingStatus { kUnknown, kServing, kNotServing };

class UnaryCaller;

// A connection to one server, made by the first call, kept alive, and made again after it
// broke. Thread-safe: calls from many threads share the connection. Must outlive its calls.
class Client {
 public:
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Fails with kInvalidArgument if the options make no sense. Does not wait for the server;
  // one that is not there is found out by the first call.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  // Computes attention. The tensors' bytes are copied once, into memory that gRPC owns:
  // it may still be sending after a deadline, so it cannot be lent the caller's. They may go
  // as soon as the call returns. The server checks the request; its status names the field.
  // kInvalidArgument also for a request of 2 GiB or more.
  absl::StatusOr<codec::AttendReply> Attend(const AttentionRequest& request, const CallOptions& call = {});

  // Computes multi-head attention, or a transformer layer, from embeddings and weights; these
  // come with the call or are named. kNotFound if the server has none of that name. Otherwise
  // as Attend.
  absl::StatusOr<codec::MultiHeadReply> MultiHeadAttend(const codec::MultiHeadCall& request,
                                                        const CallOptions& call = {});

  // Combines results over disjoint sets of keys into the result over their union. Otherwise
  // as Attend. core/attention/merge.h does the same without a server.
  absl::StatusOr<codec::MergeReply> Merge(const MergeInputs& inputs, const CallOptions& call = {});

  // Registers weights under their content's id, and by the alias unless it is empty, taking it
  // from others. Weights that the server has cost the hash alone; others go in chunks, each
  // copied once. What CheckWeights finds is found before anything is sent. Unless the call
  // says otherwise it may take a second more than others for every 4 MiB. The bytes may go as
  // soon as the call returns.
  absl::StatusOr<RegisteredWeights> RegisterWeights(const ProjectionWeights& weights, std::string_view alias = {},
                                                    const CallOptions& call = {});

  absl::StatusOr<v1::ListWeightsResponse> ListWeights(const CallOptions& call = {});
  // `name` is an id or an alias; kNotFound if the server has none. The latter two return the
  // id.
  absl::StatusOr<v1::WeightsInfo> DescribeWeights(const std::string& name, const CallOptions& call = {});
  absl::StatusOr<std::string> DeleteWeights(const std::string& name, const CallOptions& call = {});
  absl::StatusOr<std::string> SetWeightsAlias(const std::string& name, const std::string& alias,
                                              const CallOptions& call = {});

  // Version, arithmetic and limits of the server.
  absl::StatusOr<v1::GetInfoResponse> GetInfo(const CallOptions& call = {});

  // Health of `service` ("attnd.v1.AttentionService"), or of the whole server if empty.
  // kNotFound if the server does not know the service. Never retried: a probe is to say
  // what is, not what may become.
  absl::StatusOr<ServingStatus> CheckHealth(const std::string& service = "", const CallOptions& call = {});

 private:
  explicit Client(const ClientOptions& options);

  const std::unique_ptr<UnaryCaller> caller_;
  const std::chrono::milliseconds timeout_;
  const int max_attempts_;
};

}  // namespace attnd

#endif  // ATTND_CLIENT_CLIENT_H_
