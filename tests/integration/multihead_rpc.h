// A server that serves multi-head attention, and what tests ask of it.
#ifndef ATTND_TESTS_INTEGRATION_MULTIHEAD_RPC_H_
#define ATTND_TESTS_INTEGRATION_MULTIHEAD_RPC_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/client.h"
#include "core/linear/packed_weights.h"
#include "core/linear/weights_id.h"
#include "tests/support/layer_case.h"
#include "tests/support/multihead_calls.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"

namespace attnd {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Response = v1::MultiHeadAttendResponse;
using Request = v1::MultiHeadAttendRequest;

inline constexpr char kUsedMemory[] = R"(attnd_pool_bytes{state="used"})";

inline std::string Handled(const std::string& code) {
  return "grpc_server_handled_total{grpc_code=\"" + code +
         R"(",grpc_method="MultiHeadAttend",grpc_service="attnd.v1.AttentionService",grpc_type="unary"})";
}

// The output alone is asked for.
inline MultiHeadCase OutputAlone(MultiHeadCase c) {
  c.request.outputs = {};
  return c;
}

// Takes seconds on two workers; nobody waits for it.
inline MultiHeadCase LongCase(const MultiHeadCase& layer) {
  MultiHeadCase c = OutputAlone(OfTokens(1, 16'384, layer, 1));
  c.request.options.causal = false;
  return c;
}

class MultiHeadRpcTest : public ::testing::Test {
 protected:
  explicit MultiHeadRpcTest(const ServerOptions& options = TestOptions())
      : server_(options), client_(*Client::Connect({.address = server_.address(), .retry = {.max_attempts = 1}})) {}

  Response Call(const Request& request) {
    Response response;
    const grpc::Status status = MultiHeadAttend(server_.attention(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  grpc::Status ErrorOf(const Request& request) {
    Response response;
    return MultiHeadAttend(server_.attention(), request, &response);
  }
  std::string Register(const MultiHeadCase& c, const std::string& alias = "") {
    const auto registered = client_->RegisterWeights(c.weights, alias);
    EXPECT_THAT(registered, IsOk());
    return registered.ok() ? registered->id : "";
  }
  double Metric(const std::string& series) const { return attnd::Metric(server_.http(), series); }
  bool Working() const {
    return Eventually([&] { return Metric("attnd_queue_jobs") > 0 && Metric("attnd_queue_waiting") == 0; });
  }
  // Nothing is computed and nothing held for requests.
  void ExpectIdle() {
    EXPECT_TRUE(Eventually([&] { return Metric("attnd_queue_jobs") == 0 && Metric(kUsedMemory) == 0; }))
        << Metric(kUsedMemory) << " bytes are in use";
    EXPECT_TRUE(Eventually([&] { return Metric("attnd_inflight_bytes") == 0; }));
    const auto list = client_->ListWeights();
    ASSERT_THAT(list, IsOk());
    for (const v1::WeightsInfo& info : list->weights()) EXPECT_EQ(info.requests(), 0);
  }

  RunningServer server_;
  const std::unique_ptr<Client> client_;
  const MultiHeadCase layer_ = LayerCase();
};

}  // namespace attnd

#endif  // ATTND_TESTS_INTEGRATION_MULTIHEAD_RPC_H_
