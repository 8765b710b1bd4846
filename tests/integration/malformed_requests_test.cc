// Requests that are wrong, one by one and by the thousand: each is answered with the name of
// what is wrong, none costs memory, and good requests in between are not disturbed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/server_fixture.h"

namespace attnd {
namespace {

constexpr char kAttend[] = "/attnd.v1.AttentionService/Attend";

struct BadRequest {
  std::string name;
  std::function<void(v1::AttendRequest&)> spoil;
  std::string field;
  grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT;
};

void SetShape(v1::Tensor* tensor, const std::vector<int64_t>& shape) {
  tensor->clear_shape();
  for (const int64_t extent : shape) tensor->add_shape(extent);
}

// Spoils SmallRequest: query [1, 2, 5, 8], key and value [1, 1, 7, 8].
std::vector<BadRequest> BadRequests() {
  using Request = v1::AttendRequest;
  constexpr auto kUnimplemented = grpc::StatusCode::UNIMPLEMENTED;
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  return {
      {"no query", [](Request& r) { r.clear_query(); }, "query"},
      {"no key", [](Request& r) { r.clear_key(); }, "key"},
      {"no value", [](Request& r) { r.clear_value(); }, "value"},
      {"short data", [](Request& r) { r.mutable_query()->mutable_data()->pop_back(); }, "query.data"},
      {"long data", [](Request& r) { r.mutable_value()->mutable_data()->append("x"); }, "value.data"},
      {"no data", [](Request& r) { r.mutable_key()->clear_data(); }, "key.data"},
      {"both forms", [](Request& r) { r.mutable_key()->add_values(1); }, "key"},
      {"negative extent", [](Request& r) { r.mutable_query()->set_shape(2, -5); }, "query.shape"},
      {"huge extent", [](Request& r) { r.mutable_key()->set_shape(2, kMost); }, "key.shape"},
      {"overflowing product",
       [](Request& r) {
         SetShape(r.mutable_value(), {1, 1 << 30, 1 << 30, 1 << 30});
       },
       "value.shape"},
      {"wrong rank", [](Request& r) { SetShape(r.mutable_query(), {80}); }, "query.shape"},
      {"other batch",
       [](Request& r) {
         SetShape(r.mutable_key(), {7, 1, 1, 8});
       },
       "key.shape"},
      {"other head_dim",
       [](Request& r) {
         SetShape(r.mutable_key(), {1, 1, 14, 4});
       },
       "key.shape"},
      {"other kv_len",
       [](Request& r) {
         SetShape(r.mutable_value(), {1, 1, 14, 4});
       },
       "value.shape"},
      {"unknown dtype", [](Request& r) { r.mutable_query()->set_dtype(static_cast<v1::DataType>(99)); }, "query.dtype"},
      {"unknown layout", [](Request& r) { r.set_layout(static_cast<v1::Layout>(77)); }, "layout"},
      {"heads that disagree", [](Request& r) { r.set_heads(3); }, "heads"},
      {"mask of numbers",
       [](Request& r) {
         v1::Mask& mask = *r.mutable_options()->add_masks();
         mask.set_polarity(v1::Mask::POLARITY_KEEP);
         *mask.mutable_tensor() = r.key();
       },
       "options.masks[0].tensor.dtype"},
      {"unserved value", [](Request& r) { r.mutable_options()->set_precision(v1::PRECISION_BFLOAT16_PRODUCTS); },
       "options.precision", kUnimplemented},
      {"no k", [](Request& r) { r.mutable_outputs()->mutable_top_k(); }, "outputs.top_k.k"},
      {"too many cells", [](Request& r) { r.mutable_outputs()->mutable_heatmap()->set_cells(513); },
       "outputs.heatmap.cells"},
      {"causal without alignment", [](Request& r) { r.mutable_options()->set_causal(true); }, "options.alignment"},
  };
}

TEST(MalformedRequestsTest, AreAnsweredWithTheFieldThatIsWrong) {
  const RunningServer server;
  for (const BadRequest& bad : BadRequests()) {
    SCOPED_TRACE(bad.name);
    v1::AttendRequest request = SmallRequest();
    bad.spoil(request);
    grpc::ClientContext context;
    v1::AttendResponse response;
    const grpc::Status status = server.attention().Attend(&context, request, &response);
    EXPECT_EQ(status.error_code(), bad.code) << status.error_message();
    EXPECT_EQ(BadFieldOf(status), bad.field) << status.error_message();
    EXPECT_EQ(status.error_message().rfind(bad.field, 0), 0U) << status.error_message();
    EXPECT_EQ(DetailsOf(status).code(), static_cast<int>(bad.code));
  }
}

TEST(MalformedRequestsTest, PriorityMustBeANumber) {
  const RunningServer server;
  grpc::ClientContext context;
  context.AddMetadata("attnd-priority", "urgent");
  v1::AttendResponse response;
  const grpc::Status status = server.attention().Attend(&context, SmallRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(BadFieldOf(status), "attnd-priority");
  EXPECT_THAT(status.error_message(), testing::HasSubstr("\"urgent\""));
}

// A megabyte of zeros, compressed, is a kilobyte: a limit on what is sent would be none.
TEST(MalformedRequestsTest, CompressedOnesAreRefusedBeforeTheyAreInflated) {
  const RunningServer server;
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::AttendResponse response;
  const grpc::Status status = server.attention().Attend(&context, SmallRequest(), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("gzip"));
}

// Bytes of a request that is wrong in one of many ways.
std::string Malformed(Random& random) {
  const auto pick = [&random](std::initializer_list<int64_t> values) {
    return values.begin()[random.Below(static_cast<int64_t>(values.size()))];
  };
  v1::AttendRequest request = SmallRequest();
  const std::vector<v1::Tensor*> tensors = {request.mutable_query(), request.mutable_key(), request.mutable_value()};
  v1::Tensor* tensor = tensors[static_cast<size_t>(random.Below(3))];
  switch (random.Below(10)) {
    case 0:  // sizes that do not fit
      tensor->mutable_data()->resize(static_cast<size_t>(1 + random.Below(159)));
      break;
    case 1:
      tensor->set_shape(static_cast<int>(random.Below(4)), -1 - random.Below(int64_t{1} << 62));
      break;
    case 2:  // products that pass 2^63, or 2^64, or wrap around to something plausible
      SetShape(tensor, {pick({1, 1LL << 32, 1LL << 62}), pick({1LL << 32, 1LL << 31}), pick({1LL << 32, 3, 1LL << 33}),
                        pick({8, 1LL << 32})});
      break;
    case 3:
      tensor->set_dtype(static_cast<v1::DataType>(6 + random.Below(1 << 20)));
      break;
    case 4:
      request.set_layout(static_cast<v1::Layout>(pick({-1, 4, 77, 1 << 30})));
      break;
    case 5:
      request.mutable_options()->set_alignment(static_cast<v1::Alignment>(pick({-7, 4, 1 << 20})));
      break;
    case 6: {  // truncated within the tensors
      const std::string bytes = request.SerializeAsString();
      return bytes.substr(0, static_cast<size_t>(random.Below(static_cast<int64_t>(bytes.size()) - 1)));
    }
    case 7:  // 1 GiB that does not come
      SetShape(tensor, {1, 1, int64_t{1} << 22, 64});
      break;
    case 8: {  // a byte that starts no field, or one of a type that does not exist
      std::string bytes = request.SerializeAsString();
      const char wrong[] = {'\x00', '\x07', '\x0e', '\x0f', '\x0c'};
      return wrong[random.Below(sizeof(wrong))] + bytes;
    }
    default:
      tensor->add_shape(1);
      tensor->add_shape(1);
  }
  return request.SerializeAsString();
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  file >> pages >> pages;
  return pages * 4096;
}

TEST(MalformedRequestsTest, AThousandDoNotHurt) {
  const RunningServer server;
  const v1::AttendRequest good = SmallRequest();
  const auto attend = [&] {
    grpc::ClientContext context;
    v1::AttendResponse response;
    EXPECT_TRUE(server.attention().Attend(&context, good, &response).ok());
    return response.output().data();
  };
  const std::string expected = attend();
  Random random(20'251);
  int64_t resident = 0;
  for (int i = 0; i < 1000; ++i) {
    SCOPED_TRACE(i);
    const grpc::Status status = CallRaw(server.channel(), kAttend, Malformed(random));
    ASSERT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_NE(BadFieldOf(status), "") << status.error_message();
    if (i % 50 == 0) {
      EXPECT_EQ(attend(), expected);
    }
    if (i == 100) resident = ResidentBytes();
  }
  // Client and server share this process; sanitizers keep freed memory for a while.
  const int64_t allowed = kSanitized ? int64_t{512} << 20 : int64_t{16} << 20;
  EXPECT_LT(ResidentBytes() - resident, allowed);
  EXPECT_EQ(attend(), expected);
}

}  // namespace
}  // namespace attnd
