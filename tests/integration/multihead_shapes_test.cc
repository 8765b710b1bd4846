// Multi-head attention through a real server: shapes of nothing, what is wrong, and what comes back
// beside the output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/multihead_rpc.h"

namespace attnd {
namespace {

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
      {"outputs.top_k.k", [](Request& r) { r.mutable_outputs()->mutable_top_k(); }},
      {"options.precision", [](Request& r) { r.mutable_options()->set_precision(v1::PRECISION_BFLOAT16_PRODUCTS); },
       grpc::StatusCode::UNIMPLEMENTED},
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
