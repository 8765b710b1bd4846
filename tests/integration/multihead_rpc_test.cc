// Multi-head attention through a real server: weights from anywhere, clients that go away, requests
// that share their products, shapes of nothing, and what comes back beside the output.
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
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Response = v1::MultiHeadAttendResponse;
using Request = v1::MultiHeadAttendRequest;

constexpr char kUsedMemory[] = R"(attnd_pool_bytes{state="used"})";

std::string Handled(const std::string& code) {
  return "grpc_server_handled_total{grpc_code=\"" + code +
         R"(",grpc_method="MultiHeadAttend",grpc_service="attnd.v1.AttentionService",grpc_type="unary"})";
}

// The output alone is asked for.
MultiHeadCase OutputAlone(MultiHeadCase c) {
  c.request.outputs = {};
  return c;
}

// Takes seconds on two workers; nobody waits for it.
MultiHeadCase LongCase(const MultiHeadCase& layer) {
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

// --- shapes -----------------------------------------------------------------------------

TEST_F(MultiHeadRpcTest, NoEntriesAndNoTokens) {
  const std::string id = Register(layer_);
  for (const auto& [batch, len] : {std::pair{0, 5}, std::pair{2, 0}, std::pair{0, 0}}) {
    MultiHeadCase c = OfTokens(batch, len, layer_, 1);
    c.request.explain = true;
    for (const Request& request : {InlineRequest(c), IdRequest(c, id)}) {
      const Response response = Call(request);
      EXPECT_THAT(response.output().shape(), ElementsAre(batch, len, kLayerWidth));
      EXPECT_THAT(response.output().data(), IsEmpty());
      EXPECT_THAT(response.lse().shape(), ElementsAre(batch, 4, len));
      EXPECT_THAT(response.weights().shape(), ElementsAre(batch, 4, len, len));
      ASSERT_EQ(response.explain_size(), 6);
      EXPECT_THAT(response.explain(0).tensor().shape(), ElementsAre(batch, 4, len, 16));
    }
  }
  // Queries without keys: what the layer makes of an attention of 0.
  MultiHeadCase c = OfTokens(1, 3, layer_, 1);
  c.request.options.kv_lengths = {0};
  const auto here = RunMultiHead(c);
  ASSERT_THAT(here, IsOk());
  const Response response = Call(IdRequest(c, id));
  ExpectSameAnswer(response, *here);
  EXPECT_EQ(response.counts().empty_rows(), 12);
}

TEST_F(MultiHeadRpcTest, PackedSequencesAreWhatPaddedOnesAre) {
  const std::vector<int64_t> lengths = {3, 1, 0, 7, 5};
  MultiHeadCase padded = OutputAlone(OfTokens(5, 7, layer_, 1));
  padded.request.options.q_lengths = lengths;
  padded.request.options.kv_lengths = lengths;
  for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    padded.request.outputs.dtype = dtype;
    const auto row = static_cast<size_t>(kLayerWidth * ElementBytes(dtype));
    std::string tokens;
    const std::string all = codec::ToString(padded.request.query.bytes);
    for (size_t b = 0; b < lengths.size(); ++b) {
      tokens += all.substr(b * 7 * kLayerWidth * 4, static_cast<size_t>(lengths[b]) * kLayerWidth * 4);
    }
    MultiHeadCase packed = padded;
    packed.request.layout = Layout::kPacked;
    packed.request.query = {DataType::kFloat32, {16, kLayerWidth}, Fragments(std::as_bytes(std::span(tokens)))};
    const std::string padded_output = Call(InlineRequest(padded)).output().data();
    const std::string packed_output = Call(InlineRequest(packed)).output().data();
    ASSERT_EQ(packed_output.size(), 16 * row);
    size_t at = 0;
    for (size_t b = 0; b < lengths.size(); ++b) {
      const size_t used = static_cast<size_t>(lengths[b]) * row;
      EXPECT_EQ(packed_output.substr(at, used), padded_output.substr(b * 7 * row, used)) << "entry " << b;
      EXPECT_EQ(padded_output.substr(b * 7 * row + used, 7 * row - used), std::string(7 * row - used, '\0'));
      at += used;
    }
  }
}

TEST_F(MultiHeadRpcTest, WhatIsWrongIsNamed) {
  const Request good = InlineRequest(OfTokens(2, 3, layer_, 1));
  const auto shape = [](v1::Tensor* tensor, std::vector<int64_t> extents) {
    tensor->mutable_shape()->Assign(extents.begin(), extents.end());
  };
  const struct {
    std::string field;
    std::function<void(Request&)> spoil;
    grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT;
  } cases[] = {
      {"query", [](Request& r) { r.clear_query(); }},
      {"query.shape",
       [&](Request& r) {
         shape(r.mutable_query(), {6, 1, 1, 64});
       }},
      {"query.shape",
       [&](Request& r) {
         shape(r.mutable_query(), {12, 32});
       }},
      {"query.shape",
       [&](Request& r) {
         shape(r.mutable_query(), {2, std::numeric_limits<int64_t>::max(), 64});
       }},
      {"query.data",
       [&](Request& r) {
         shape(r.mutable_query(), {2, int64_t{1} << 40, 64});
       }},
      {"key.shape",
       [](Request& r) {
         *r.mutable_key() = r.query();
         r.mutable_key()->set_shape(0, 3);
         r.mutable_key()->set_shape(1, 2);
       }},
      {"heads", [](Request& r) { r.set_heads(0); }},
      {"heads", [](Request& r) { r.set_heads(7); }},
      {"kv_heads", [](Request& r) { r.set_kv_heads(3); }},
      {"layout", [](Request& r) { r.set_layout(v1::LAYOUT_HEADS_FIRST); }},
      {"options.kv_lengths", [](Request& r) { r.mutable_options()->add_kv_lengths(4); }},
      {"weights", [](Request& r) { r.clear_weights(); }},
      {"weights_id", [](Request& r) { r.set_weights_id(""); }},
      {"inline.orientation", [](Request& r) { r.mutable_inline_()->clear_orientation(); }},
      {"inline.b_qkv.shape",
       [&](Request& r) {
         shape(r.mutable_inline_()->mutable_b_qkv(), {1, 192});
       }},
      {"inline.w_query", [](Request& r) { r.mutable_inline_()->clear_w_qkv(); }},
      {"inline.block.w_down.data",
       [](Request& r) { r.mutable_inline_()->mutable_block()->mutable_w_down()->mutable_data()->pop_back(); }},
      {"block.norm", [](Request& r) { r.mutable_block()->clear_norm(); }},
      {"block.norm_epsilon", [](Request& r) { r.mutable_block()->set_norm_epsilon(-1); }},
      {"position_encoding", [](Request& r) { r.set_position_encoding(v1::POSITION_ENCODING_LEARNED); }},
      {"outputs.top_k", [](Request& r) { r.mutable_outputs()->mutable_top_k(); }, grpc::StatusCode::UNIMPLEMENTED},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.field);
    Request request = good;
    bad.spoil(request);
    const grpc::Status status = ErrorOf(request);
    EXPECT_EQ(status.error_code(), bad.code) << status.error_message();
    EXPECT_EQ(BadFieldOf(status), bad.field) << status.error_message();
    EXPECT_EQ(status.error_message().rfind(bad.field, 0), 0U) << status.error_message();
    EXPECT_EQ(DetailsOf(status).code(), static_cast<int>(bad.code));
  }
  ExpectIdle();
}

// Whatever is done for every token, nobody counts entries that have none.
TEST_F(MultiHeadRpcTest, EntriesOfNothingCostNothing) {
  MultiHeadCase c = OfTokens(1, 0, layer_, 1);
  Random random(1);
  for (const WeightRole role : {WeightRole::kQueryNorm, WeightRole::kKeyNorm}) {
    c.weights.tensors[role] = RandomTensor(random, DataType::kFloat32, {16}, 1, c.owners);
  }
  c.request.query.shape[0] = int64_t{1} << 62;
  c.request.position_encoding = PositionEncoding::kSinusoidal;
  c.request.options.rope.emplace().style = RopeStyle::kHalf;
  c.request.explain = true;
  const Response response = Call(InlineRequest(c));
  EXPECT_THAT(response.output().shape(), ElementsAre(int64_t{1} << 62, 0, kLayerWidth));
}

class SmallResponsesTest : public MultiHeadRpcTest {
 protected:
  static ServerOptions Small() {
    ServerOptions options = TestOptions();
    options.max_response_bytes = 1 << 20;
    options.max_head_dim = 16;
    return options;
  }
  SmallResponsesTest() : MultiHeadRpcTest(Small()) {}
};

TEST_F(SmallResponsesTest, LimitsAreKeptBeforeComputing) {
  const std::string id = Register(layer_);
  // 4080 rows of 256 bytes are 1 MiB but for the 4 KiB that are left for what is not a tensor.
  const MultiHeadCase most = OutputAlone(OfTokens(1, 4080, layer_, 1));
  Call(IdRequest(most, id));
  const grpc::Status output = ErrorOf(IdRequest(OutputAlone(OfTokens(1, 4081, layer_, 1)), id));
  EXPECT_EQ(output.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(BadFieldOf(output), "query.shape");
  EXPECT_THAT(output.error_message(), HasSubstr("limit of 1044480 bytes"));
  MultiHeadCase explained = most;
  explained.request.explain = true;
  EXPECT_EQ(BadFieldOf(ErrorOf(IdRequest(explained, id))), "outputs.explain");
  MultiHeadCase weighed = most;
  weighed.request.outputs.weights = WeightsOutput();
  EXPECT_EQ(BadFieldOf(ErrorOf(IdRequest(weighed, id))), "outputs.weights");
  MultiHeadCase wide = most;
  wide.request.heads = 2;
  const grpc::Status heads = ErrorOf(IdRequest(wide, id));
  EXPECT_EQ(BadFieldOf(heads), "heads");
  EXPECT_EQ(heads.error_message(), "heads: is 2, which makes head_dim 32; the limit is 16");
  ExpectIdle();
}

// --- what comes back --------------------------------------------------------------------

TEST_F(MultiHeadRpcTest, ExplainsWhatLiesBetweenTheStages) {
  MultiHeadCase c = OfTokens(2, 5, layer_, 1);
  const auto names = [](const Response& response) {
    std::vector<std::string> all;
    for (const v1::NamedTensor& named : response.explain()) all.push_back(named.name());
    return all;
  };
  const Response unexplained = Call(InlineRequest(c));
  EXPECT_THAT(names(unexplained), IsEmpty());
  c.request.explain = true;
  for (const NormPlacement placement : {NormPlacement::kPost, NormPlacement::kPre}) {
    c.request.block->placement = placement;
    const Response response = Call(InlineRequest(c));
    const auto here = RunMultiHead(c);
    ASSERT_THAT(here, IsOk());
    ExpectSameAnswer(response, *here);
    EXPECT_THAT(names(response), ElementsAre("query", "key", "value", "context", "attention",
                                             placement == NormPlacement::kPre ? "residual" : "attention_norm"));
    if (placement == NormPlacement::kPost) {
      EXPECT_EQ(response.output().data(), unexplained.output().data());
    }
  }
}

TEST_F(MultiHeadRpcTest, EveryTypeOfOutput) {
  MultiHeadCase c = OfTokens(1, 9, layer_, 1);
  Random random(3);
  for (const DataType in : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    c.request.query = RandomTensor(random, in, {1, 9, kLayerWidth}, 1, c.owners);
    for (const auto& [dtype, wire] : {std::pair{std::optional(DataType::kFloat32), v1::DATA_TYPE_FLOAT32},
                                      std::pair{std::optional(DataType::kFloat16), v1::DATA_TYPE_FLOAT16},
                                      std::pair{std::optional(DataType::kBfloat16), v1::DATA_TYPE_BFLOAT16}}) {
      c.request.outputs.dtype = dtype;
      const Response response = Call(InlineRequest(c));
      const auto here = RunMultiHead(c);
      ASSERT_THAT(here, IsOk());
      ExpectSameAnswer(response, *here);
      EXPECT_EQ(response.output().dtype(), wire);
      EXPECT_EQ(response.weights().dtype(), wire);
      EXPECT_EQ(response.lse().dtype(), v1::DATA_TYPE_FLOAT32);
    }
  }
}

TEST_F(MultiHeadRpcTest, RepliesInTheQuerysForm) {
  const MultiHeadCase c = OfTokens(1, 2, layer_, 1);
  Request request = InlineRequest(c);
  const Response as_data = Call(request);
  const std::vector<float> values = FloatsOf(request.query());
  request.mutable_query()->clear_data();
  request.mutable_query()->mutable_values()->Assign(values.begin(), values.end());
  const Response as_values = Call(request);
  EXPECT_THAT(as_values.output().data(), IsEmpty());
  EXPECT_EQ(FloatsOf(as_values.output()), FloatsOf(as_data.output()));
  EXPECT_EQ(FloatsOf(as_values.weights()), FloatsOf(as_data.weights()));
}

TEST_F(MultiHeadRpcTest, IsCounted) {
  MultiHeadCase c = OfTokens(1, 4, layer_, 1);
  c.request.options.kv_lengths = {2};
  c.request.options.kv_starts = {2};
  Call(InlineRequest(c));
  EXPECT_EQ(Metric("attnd_empty_rows_total"), 16);
  std::string bytes = codec::ToString(c.request.query.bytes);
  // A NaN.
  bytes.replace(0, 4, "\xff\xff\xff\x7f");
  c.request.query.bytes = Fragments(std::as_bytes(std::span(bytes)));
  c.request.options.kv_starts.clear();
  c.request.options.kv_lengths.clear();
  EXPECT_GT(Call(InlineRequest(c)).counts().non_finite_rows(), 0);
  EXPECT_GT(Metric("attnd_non_finite_rows_total"), 0);
  Request wrong = InlineRequest(c);
  wrong.clear_weights();
  ErrorOf(wrong);
  ErrorOf(IdRequest(c, "unknown"));
  EXPECT_TRUE(Eventually([&] { return Metric(Handled("NotFound")) == 1; }));
  EXPECT_EQ(Metric(Handled("OK")), 2);
  EXPECT_EQ(Metric(Handled("InvalidArgument")), 1);
  EXPECT_GT(Metric("attnd_flops_total"), 0);
}

TEST_F(MultiHeadRpcTest, StreamsAreNotServed) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const auto stream = server_.attention().MultiHeadAttendStream(&context);
  v1::MultiHeadAttendStreamRequest request;
  *request.mutable_request() = InlineRequest(OfTokens(1, 1, layer_, 1));
  stream->Write(request);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("MultiHeadAttendStream is not served"));
  grpc::ClientContext other;
  EXPECT_EQ(server_.attention().AttendStream(&other)->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(MultiHeadRpcTest, ADrainingServerAnswersWhatItAdmitted) {
  const std::string id = Register(layer_);
  const MultiHeadCase c = OutputAlone(OfTokens(1, 4096, layer_, 1));
  MultiHeadCalls calls(server_.channel());
  const auto& call = calls.Start(IdRequest(c, id));
  ASSERT_TRUE(Working());
  EXPECT_TRUE(server_.server().Drain());
  calls.AwaitAll();
  EXPECT_TRUE(call.status.ok()) << call.status.error_message();
}

}  // namespace
}  // namespace attnd
