// Multi-head attention through a real server: weights from anywhere, clients that go away,
// requests that share their products.
#include "tests/integration/multihead_rpc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attnd {
namespace {

// --- weights ----------------------------------------------------------------------------

TEST_F(MultiHeadRpcTest, RandomRequestsGiveTheSameBitsWhereverTheirWeightsAre) {
  const uint64_t seeds = kSanitized ? 20 : 200;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const MultiHeadCase c = RandomMultiHeadCase(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + c.ToString());
    const auto here = RunMultiHead(c);
    ASSERT_THAT(here, IsOk());
    const Response inline_answer = Call(InlineRequest(c));
    ExpectSameAnswer(inline_answer, *here);
    EXPECT_EQ(inline_answer.counts().empty_rows(), here->attention.rows.empty);
    EXPECT_EQ(inline_answer.counts().non_finite_rows(), here->attention.rows.non_finite);
    EXPECT_NE(inline_answer.numerics_id(), "");
    const std::string alias = "case/" + std::to_string(seed);
    const std::string id = Register(c, alias);
    ExpectSameAnswer(Call(IdRequest(c, id)), *here);
    ExpectSameAnswer(Call(AliasRequest(c, alias)), *here);
  }
  ExpectIdle();
}

TEST_F(MultiHeadRpcTest, UnknownWeightsAreNotFoundByName) {
  const MultiHeadCase c = OfTokens(1, 3, layer_, 1);
  const std::string id = *WeightsId(c.weights);
  const grpc::Status by_id = ErrorOf(IdRequest(c, id));
  EXPECT_EQ(by_id.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(by_id.error_message(),
            "no weights of id '" + id + "' are registered (any more); register them and try again");
  const grpc::Status by_alias = ErrorOf(AliasRequest(c, "some/model"));
  EXPECT_EQ(by_alias.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(by_alias.error_message(),
            "no weights of alias 'some/model' are registered (any more); register them and try again");

  // An id is no alias, and an alias no id.
  Register(layer_, "some/model");
  EXPECT_EQ(ErrorOf(AliasRequest(c, id)).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ErrorOf(IdRequest(c, "some/model")).error_code(), grpc::StatusCode::NOT_FOUND);
  Call(AliasRequest(c, "some/model"));
  EXPECT_THAT(client_->DeleteWeights("some/model"), IsOk());
  EXPECT_EQ(ErrorOf(IdRequest(c, id)).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(MultiHeadRpcTest, AnAliasMeansWhatItNamesWhenTheRequestComes) {
  const MultiHeadCase other = LayerCase(8);
  const MultiHeadCase tokens = OfTokens(1, 5, layer_, 1);
  MultiHeadCase other_tokens = tokens;
  other_tokens.weights = other.weights;
  const auto first = RunMultiHead(tokens);
  const auto second = RunMultiHead(other_tokens);
  Register(layer_, "model");
  ExpectSameAnswer(Call(AliasRequest(tokens, "model")), *first);
  Register(other, "model");
  ExpectSameAnswer(Call(AliasRequest(tokens, "model")), *second);
}

TEST_F(MultiHeadRpcTest, DeletedWeightsStayUntilTheirRequestIsDone) {
  const std::string id = Register(layer_);
  const int64_t bytes = PackedWeights::BytesFor(layer_.Shapes());
  const MultiHeadCase c = OutputAlone(OfTokens(1, 4096, layer_, 1));
  const std::string expected = Call(InlineRequest(c)).output().data();
  // This one goes first: the request waits while its weights go.
  MultiHeadCalls calls(server_.channel());
  auto& blocking =
      calls.Start(InlineRequest(LongCase(layer_)), [](auto& context) { context.AddMetadata("attnd-priority", "1"); });
  ASSERT_TRUE(Working());
  auto& call = calls.Start(IdRequest(c, id));
  ASSERT_TRUE(Eventually([&] { return client_->ListWeights()->weights(0).requests() == 1; }));
  EXPECT_THAT(client_->DeleteWeights(id), IsOk());
  EXPECT_EQ(ErrorOf(IdRequest(c, id)).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(client_->ListWeights()->weights(), IsEmpty());
  EXPECT_EQ(client_->ListWeights()->resident_bytes(), bytes);
  EXPECT_FALSE(call.done);
  blocking.context.TryCancel();
  calls.AwaitAll();
  ASSERT_TRUE(call.status.ok()) << call.status.error_message();
  EXPECT_EQ(call.response.output().data(), expected);
  EXPECT_TRUE(Eventually([&] { return client_->ListWeights()->resident_bytes() == 0; }));
  ExpectIdle();
}

class OneSetTest : public MultiHeadRpcTest {
 protected:
  static ServerOptions OneSet() {
    ServerOptions options = TestOptions();
    options.weights_budget = PackedWeights::BytesFor(LayerCase().Shapes());
    return options;
  }
  OneSetTest() : MultiHeadRpcTest(OneSet()) {}
};

TEST_F(OneSetTest, WeightsInUseAreNotEvicted) {
  const std::string id = Register(layer_);
  const MultiHeadCase other = LayerCase(8);
  MultiHeadCalls calls(server_.channel());
  auto& call = calls.Start(IdRequest(LongCase(layer_), id));
  ASSERT_TRUE(Working());
  const auto refused = client_->RegisterWeights(other.weights);
  EXPECT_THAT(refused, IsError(absl::StatusCode::kResourceExhausted, "--weights-budget"));
  EXPECT_FALSE(call.done);
  call.context.TryCancel();
  calls.AwaitAll();
  std::string other_id;
  EXPECT_TRUE(Eventually([&] {
    const auto registered = client_->RegisterWeights(other.weights);
    if (registered.ok()) other_id = registered->id;
    return registered.ok();
  }));
  EXPECT_EQ(ErrorOf(IdRequest(OfTokens(1, 1, layer_, 1), id)).error_code(), grpc::StatusCode::NOT_FOUND);
  Call(IdRequest(OfTokens(1, 1, other, 1), other_id));
  ExpectIdle();
}

// Weights that come with a request are no registered ones: the budget does not bound them.
TEST_F(OneSetTest, InlineWeightsAreNotCounted) {
  Register(layer_);
  Call(InlineRequest(OfTokens(1, 2, LayerCase(9), 1)));
  EXPECT_EQ(client_->ListWeights()->weights_size(), 1);
}

TEST_F(MultiHeadRpcTest, TwoModelsAtOnce) {
  std::vector<std::thread> threads;
  for (uint64_t model = 1; model <= 2; ++model) {
    threads.emplace_back([this, model] {
      const MultiHeadCase layer = LayerCase(model);
      const std::string id = Register(layer);
      for (uint64_t i = 0; i < 40; ++i) {
        const MultiHeadCase c = OfTokens(1, static_cast<int64_t>(1 + i % 20), layer, i);
        const auto here = RunMultiHead(c);
        ExpectSameAnswer(Call(IdRequest(c, id)), *here);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  ExpectIdle();
}

// --- clients that go away ---------------------------------------------------------------

TEST_F(MultiHeadRpcTest, CancelledRequestsFreeEverything) {
  const std::string id = Register(layer_);
  for (const Request& request : {InlineRequest(LongCase(layer_)), IdRequest(LongCase(layer_), id)}) {
    MultiHeadCalls calls(server_.channel());
    auto& call = calls.Start(request);
    ASSERT_TRUE(Working());
    EXPECT_GT(Metric("attnd_inflight_bytes"), 0);
    call.context.TryCancel();
    calls.AwaitAll();
    EXPECT_EQ(call.status.error_code(), grpc::StatusCode::CANCELLED);
    ExpectIdle();
  }
  EXPECT_TRUE(Eventually([&] { return Metric(Handled("Canceled")) == 2; }));
  // At many moments of small ones.
  const Request small = IdRequest(OfTokens(2, 40, layer_, 5), id);
  for (int i = 0; i < 100; ++i) {
    MultiHeadCalls calls(server_.channel());
    auto& call = calls.Start(small);
    std::this_thread::sleep_for(std::chrono::microseconds(i * 20));
    call.context.TryCancel();
    calls.AwaitAll();
    EXPECT_TRUE(call.status.ok() || call.status.error_code() == grpc::StatusCode::CANCELLED);
  }
  ExpectIdle();
}

TEST_F(MultiHeadRpcTest, DeadlinesEndRequestsAndFreeEverything) {
  const std::string id = Register(layer_);
  for (const Request& request : {InlineRequest(LongCase(layer_)), IdRequest(LongCase(layer_), id)}) {
    MultiHeadCalls calls(server_.channel());
    const auto& call = calls.Start(request, [](auto& context) {
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
    });
    calls.AwaitAll();
    EXPECT_EQ(call.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    ExpectIdle();
  }
}

// Requests of one row wait together for a worker, so their products are shared.
TEST_F(MultiHeadRpcTest, ManyRequestsOfOneRowAtOnceSomeOfThemCancelled) {
  const std::string id = Register(layer_);
  for (int round = 0; round < (kSanitized ? 1 : 5); ++round) {
    MultiHeadCalls calls(server_.channel());
    std::vector<MultiHeadCalls::Call*> blocking;
    for (int i = 0; i < 2; ++i) {
      blocking.push_back(&calls.Start(InlineRequest(LongCase(layer_)),
                                      [](auto& context) { context.AddMetadata("attnd-priority", "1"); }));
    }
    ASSERT_TRUE(Working());
    std::vector<MultiHeadCase> cases;
    std::vector<MultiHeadCalls::Call*> started;
    for (uint64_t i = 0; i < 64; ++i) {
      MultiHeadCase c = OfTokens(1, 1, layer_, 100 + i);
      if (i % 8 == 1) c.request.outputs = {.dtype = DataType::kBfloat16};
      if (i % 8 == 2) c.request.options.scale = 3;
      if (i % 8 == 3) c.request.add_zero_attn = true;
      if (i % 8 == 5) c.request.position_encoding = PositionEncoding::kSinusoidal;
      if (i % 8 == 4) c = OfTokens(2, 2, layer_, i);
      cases.push_back(c);
      started.push_back(&calls.Start(IdRequest(c, id)));
    }
    ASSERT_TRUE(Eventually([&] { return Metric("attnd_queue_jobs") == 66; }));
    for (size_t i = 0; i < started.size(); i += 5) started[i]->context.TryCancel();
    if (round % 2 == 0) {
      ASSERT_TRUE(Eventually([&] { return Metric("attnd_queue_jobs") == 66 - 13; }));
    }
    for (auto* call : blocking) call->context.TryCancel();
    calls.AwaitAll();
    for (size_t i = 0; i < started.size(); ++i) {
      SCOPED_TRACE(i);
      if (i % 5 == 0 && started[i]->status.error_code() == grpc::StatusCode::CANCELLED) continue;
      ASSERT_TRUE(started[i]->status.ok()) << started[i]->status.error_message();
      const auto alone = RunMultiHead(cases[i]);
      ASSERT_THAT(alone, IsOk());
      ExpectSameAnswer(started[i]->response, *alone);
    }
    ExpectIdle();
  }
}

}  // namespace
}  // namespace attnd
