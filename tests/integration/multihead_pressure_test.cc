// More weights in use than the server has room for: clients that ask by id, register again what
// was dropped, and never see another model's numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "core/linear/packed_weights.h"
#include "core/linear/weights_id.h"
#include "tests/support/layer_case.h"
#include "tests/support/multihead_calls.h"
#include "tests/support/random_case.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int64_t kSetsThereMayBe = 3;
constexpr uint64_t kModels = 6;
constexpr uint64_t kThreads = 10;
constexpr int64_t kMostTokens = 12;

// Weights, requests for them and the answers there must be.
struct Model {
  explicit Model(uint64_t seed) : layer(LayerCase(seed)), id(*WeightsId(layer.weights)) {
    for (int64_t len = 1; len <= kMostTokens; ++len) {
      const MultiHeadCase c = OfTokens(1, len, layer, seed * 100 + static_cast<uint64_t>(len));
      requests.push_back(IdRequest(c, id));
      auto answer = RunMultiHead(c);
      EXPECT_THAT(answer, IsOk());
      answers.push_back(*std::move(answer));
    }
  }

  MultiHeadCase layer;
  std::string id;
  std::vector<v1::MultiHeadAttendRequest> requests;
  std::vector<MultiHeadResult> answers;
};

struct Counts {
  std::atomic<int64_t> answered = 0;
  std::atomic<int64_t> not_found = 0;
  std::atomic<int64_t> refused = 0;
  std::atomic<int64_t> cancelled = 0;
};

// One client: any model, any request, again and again.
class Visitor {
 public:
  Visitor(const RunningServer& server, const std::vector<std::unique_ptr<Model>>& models, uint64_t seed, Counts& counts)
      : client_(*Client::Connect({.address = server.address(), .timeout = kPatience, .retry = {.max_attempts = 1}})),
        stub_(v1::AttentionService::NewStub(ConnectTo(server.address()))),
        models_(models),
        random_(seed),
        counts_(counts) {}

  void Visit() {
    const Model& model = *models_[static_cast<size_t>(random_.Below(kModels))];
    const auto at = static_cast<size_t>(random_.Below(kMostTokens));
    grpc::ClientContext context;
    const bool impatient = random_.Below(20) == 0;
    context.set_deadline(std::chrono::system_clock::now() +
                         (impatient ? std::chrono::microseconds(random_.Below(3000)) : kPatience));
    v1::MultiHeadAttendResponse response;
    const grpc::Status status = stub_->MultiHeadAttend(&context, model.requests[at], &response);
    switch (status.error_code()) {
      case grpc::StatusCode::OK:
        ExpectSameAnswer(response, model.answers[at]);
        ++counts_.answered;
        return;
      case grpc::StatusCode::NOT_FOUND:
        ++counts_.not_found;
        return Register(model);
      default:
        EXPECT_TRUE(impatient && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
            << status.error_code() << ": " << status.error_message();
        ++counts_.cancelled;
    }
  }

 private:
  void Register(const Model& model) {
    const auto registered = client_->RegisterWeights(model.layer.weights);
    if (registered.ok()) {
      EXPECT_EQ(registered->id, model.id);
      return;
    }
    // No room beside weights that requests use now, or uploads enough already.
    EXPECT_EQ(registered.status().code(), absl::StatusCode::kResourceExhausted) << registered.status();
    ++counts_.refused;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const std::unique_ptr<Client> client_;
  const std::unique_ptr<v1::AttentionService::Stub> stub_;
  const std::vector<std::unique_ptr<Model>>& models_;
  Random random_;
  Counts& counts_;
};

TEST(WeightsPressureTest, EveryAnswerIsOfItsOwnWeightsAndTheBudgetIsKept) {
  std::vector<std::unique_ptr<Model>> models;
  for (uint64_t seed = 1; seed <= kModels; ++seed) models.push_back(std::make_unique<Model>(seed));
  const int64_t set_bytes = PackedWeights::BytesFor(models[0]->layer.Shapes());
  ServerOptions options = TestOptions();
  options.weights_budget = kSetsThereMayBe * set_bytes;
  const RunningServer server(options);

  const auto seconds = std::chrono::seconds(FromEnvironment("ATTND_PRESSURE_SECONDS", 3));
  const auto end = std::chrono::steady_clock::now() + seconds;
  Counts counts;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Visitor visitor(server, models, t, counts);
      while (std::chrono::steady_clock::now() < end && !testing::Test::HasFailure()) visitor.Visit();
    });
  }
  const auto client = *Client::Connect({.address = server.address(), .timeout = kPatience});
  double most_resident = 0;
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFailure()) {
    most_resident = std::max(most_resident, Metric(server.http(), "attnd_weights_resident_bytes"));
    const auto list = client->ListWeights();
    ASSERT_THAT(list, IsOk());
    most_resident = std::max(most_resident, static_cast<double>(list->resident_bytes()));
    int64_t listed = 0;
    for (const v1::WeightsInfo& info : list->weights()) listed += info.bytes();
    EXPECT_LE(listed, options.weights_budget);
  }
  for (auto& thread : threads) thread.join();

  EXPECT_LE(most_resident, static_cast<double>(options.weights_budget));
  EXPECT_GT(counts.answered, 0);
  EXPECT_GT(counts.not_found, 0);
  std::printf("%lld answered, %lld not found, %lld not registered, %lld late, %.0f evictions\n",
              static_cast<long long>(counts.answered), static_cast<long long>(counts.not_found),
              static_cast<long long>(counts.refused), static_cast<long long>(counts.cancelled),
              Metric(server.http(), "attnd_weights_evictions_total"));

  // Back to where it began, and the same answers.
  EXPECT_TRUE(Eventually([&] {
    return Metric(server.http(), "attnd_queue_jobs") == 0 && Metric(server.http(), "attnd_inflight_bytes") == 0 &&
           Metric(server.http(), R"(attnd_pool_bytes{state="used"})") == 0;
  }));
  const auto list = client->ListWeights();
  ASSERT_THAT(list, IsOk());
  for (const v1::WeightsInfo& info : list->weights()) {
    EXPECT_EQ(info.requests(), 0);
    EXPECT_THAT(client->DeleteWeights(info.weights_id()), IsOk());
  }
  EXPECT_EQ(client->ListWeights()->resident_bytes(), 0);
  for (const auto& model : models) {
    ASSERT_THAT(client->RegisterWeights(model->layer.weights), IsOk());
    v1::MultiHeadAttendResponse response;
    ASSERT_TRUE(MultiHeadAttend(server.attention(), model->requests[0], &response).ok());
    ExpectSameAnswer(response, model->answers[0]);
  }
}

}  // namespace
}  // namespace attnd
