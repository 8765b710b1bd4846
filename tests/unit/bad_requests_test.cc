// Every way a request can be wrong, and the field that is named.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/attention/plan.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxOffset = int64_t{1} << 60;

Fragments BytesOf(size_t n) {
  static const std::vector<std::byte> bytes(size_t{1} << 16);
  EXPECT_LE(n, bytes.size());
  return Fragments(std::span(bytes).first(n));
}

// Changes the shape and, where it makes sense, the bytes with it.
void Reshape(TensorView& tensor, std::vector<int64_t> shape) {
  size_t elements = 1;
  for (const int64_t extent : shape) elements *= static_cast<size_t>(extent);
  tensor.shape = std::move(shape);
  tensor.bytes = BytesOf(elements * sizeof(float));
}

AttentionRequest Base(Layout layout, std::vector<int64_t> query, std::vector<int64_t> key, std::vector<int64_t> value) {
  AttentionRequest request;
  request.layout = layout;
  Reshape(request.query, std::move(query));
  Reshape(request.key, std::move(key));
  Reshape(request.value, std::move(value));
  return request;
}

struct BadRequest {
  std::string name;
  std::string field;
  std::function<void(AttentionRequest&)> spoil;
};

void ExpectRefused(const AttentionRequest& good, const std::vector<BadRequest>& table) {
  ASSERT_THAT(PlanAttention(good, {}), IsOk());
  for (const BadRequest& row : table) {
    SCOPED_TRACE(row.name);
    AttentionRequest request = good;
    row.spoil(request);
    const auto plan = PlanAttention(request, {});
    EXPECT_THAT(plan, NamesField(absl::StatusCode::kInvalidArgument, row.field));
    const std::string message(plan.status().message());
    EXPECT_EQ(message.find(row.field + ": "), 0U) << message;
    EXPECT_GT(message.size(), row.field.size() + 10) << "says too little: " << message;
  }
}

TEST(BadRequestsTest, HeadsFirstShapes) {
  const AttentionRequest good = Base(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6});
  ExpectRefused(good, {
                          {"query without dimensions", "query.shape", [](auto& r) { Reshape(r.query, {}); }},
                          {"query 1-D", "query.shape", [](auto& r) { Reshape(r.query, {192}); }},
                          {"query 3-D", "query.shape",
                           [](auto& r) {
                             Reshape(r.query, {8, 3, 8});
                           }},
                          {"query 5-D", "query.shape",
                           [](auto& r) {
                             Reshape(r.query, {1, 2, 4, 3, 8});
                           }},
                          {"key 3-D", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {4, 5, 8});
                           }},
                          {"value 1-D", "value.shape", [](auto& r) { Reshape(r.value, {120}); }},
                          {"key 2-D beside a 4-D query", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {5, 8});
                           }},
                          {"value 2-D beside a 4-D query", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {5, 6});
                           }},
                          {"batch of key", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {1, 2, 5, 8});
                           }},
                          {"batch of value", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {3, 2, 5, 6});
                           }},
                          {"head_dim of key", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {2, 2, 5, 7});
                           }},
                          {"kv_heads of value", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {2, 4, 5, 6});
                           }},
                          {"kv_len of value", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {2, 2, 4, 6});
                           }},
                          {"kv_len of value is 0", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {2, 2, 0, 6});
                           }},
                          {"heads 0", "query.shape",
                           [](auto& r) {
                             Reshape(r.query, {2, 0, 3, 8});
                           }},
                          {"head_dim 0", "query.shape",
                           [](auto& r) {
                             Reshape(r.query, {2, 4, 3, 0});
                           }},
                          {"kv_heads 0", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {2, 0, 5, 8});
                           }},
                          {"value_dim 0", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {2, 2, 5, 0});
                           }},
                          {"negative batch", "query.shape",
                           [](auto& r) {
                             r.query.shape = {-2, 4, 3, 8};
                           }},
                          {"two negatives", "query.shape",
                           [](auto& r) {
                             r.query.shape = {-2, -4, 3, 8};
                           }},
                          {"most negative length", "key.shape",
                           [](auto& r) {
                             r.key.shape = {2, 2, kMin, 8};
                           }},
                          {"negative beside 0", "value.shape",
                           [](auto& r) {
                             r.value.shape = {2, 2, 0, -1};
                             r.value.bytes = {};
                           }},
                          {"heads given and wrong", "heads", [](auto& r) { r.heads = 2; }},
                          {"kv_heads given and wrong", "kv_heads", [](auto& r) { r.kv_heads = 4; }},
                      });
}

TEST(BadRequestsTest, HeadsThatAreNoMultipleOfKeyHeads) {
  for (const int64_t heads : {1, 3, 5}) {
    AttentionRequest request = Base(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6});
    Reshape(request.query, {2, heads, 3, 8});
    const auto plan = PlanAttention(request, {});
    ASSERT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string field = FieldOf(plan.status()).value_or("");
    EXPECT_TRUE(field == "query.shape" || field == "key.shape") << plan.status();
  }
}

TEST(BadRequestsTest, TwoDimensions) {
  ExpectRefused(Base(Layout::kHeadsFirst, {3, 8}, {5, 8}, {5, 6}),
                {
                    {"4-D key", "key.shape",
                     [](auto& r) {
                       Reshape(r.key, {1, 1, 5, 8});
                     }},
                    {"4-D value", "value.shape",
                     [](auto& r) {
                       Reshape(r.value, {1, 1, 5, 6});
                     }},
                    {"more than one head", "heads", [](auto& r) { r.heads = 2; }},
                    {"more than one key head", "kv_heads", [](auto& r) { r.kv_heads = 2; }},
                    {"head_dim of key", "key.shape",
                     [](auto& r) {
                       Reshape(r.key, {5, 9});
                     }},
                    {"TOKENS_FIRST", "query.shape", [](auto& r) { r.layout = Layout::kTokensFirst; }},
                });
}

TEST(BadRequestsTest, TokensFirstShapes) {
  ExpectRefused(Base(Layout::kTokensFirst, {2, 3, 4, 8}, {2, 5, 2, 8}, {2, 5, 2, 6}),
                {
                    {"query 2-D", "query.shape",
                     [](auto& r) {
                       Reshape(r.query, {6, 32});
                     }},
                    {"key 5-D", "key.shape",
                     [](auto& r) {
                       Reshape(r.key, {1, 2, 5, 2, 8});
                     }},
                    {"heads 0", "query.shape",
                     [](auto& r) {
                       Reshape(r.query, {2, 3, 0, 8});
                     }},
                    {"kv_len of value", "value.shape",
                     [](auto& r) {
                       Reshape(r.value, {2, 6, 2, 6});
                     }},
                    {"kv_heads of value", "value.shape",
                     [](auto& r) {
                       Reshape(r.value, {2, 5, 1, 6});
                     }},
                    {"heads given and wrong", "heads", [](auto& r) { r.heads = 3; }},
                    {"kv_heads given and wrong", "kv_heads", [](auto& r) { r.kv_heads = 5; }},
                });
}

TEST(BadRequestsTest, ThreeDimensions) {
  AttentionRequest good = Base(Layout::kTokensFirst, {2, 3, 32}, {2, 5, 16}, {2, 5, 12});
  good.heads = 4;
  good.kv_heads = 2;
  ExpectRefused(good, {
                          {"no heads", "heads", [](auto& r) { r.heads.reset(); }},
                          {"no kv_heads", "kv_heads", [](auto& r) { r.kv_heads.reset(); }},
                          {"heads 0", "heads", [](auto& r) { r.heads = 0; }},
                          {"kv_heads 0", "kv_heads", [](auto& r) { r.kv_heads = 0; }},
                          {"heads negative", "heads", [](auto& r) { r.heads = -4; }},
                          {"kv_heads most negative", "kv_heads", [](auto& r) { r.kv_heads = kMin; }},
                          {"heads do not divide", "query.shape", [](auto& r) { r.heads = 5; }},
                          {"heads more than the width", "query.shape", [](auto& r) { r.heads = kMax; }},
                          {"kv_heads do not divide", "key.shape", [](auto& r) { r.kv_heads = 3; }},
                          {"value's width", "value.shape",
                           [](auto& r) {
                             Reshape(r.value, {2, 5, 13});
                           }},
                          {"width 0", "query.shape",
                           [](auto& r) {
                             Reshape(r.query, {2, 3, 0});
                           }},
                          {"head_dim of key", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {2, 5, 18});
                           }},
                          {"4-D key", "key.shape",
                           [](auto& r) {
                             Reshape(r.key, {2, 5, 2, 8});
                           }},
                          {"HEADS_FIRST", "query.shape", [](auto& r) { r.layout = Layout::kHeadsFirst; }},
                      });
}

TEST(BadRequestsTest, BytesThatDoNotFitTheShape) {
  ExpectRefused(Base(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}),
                {
                    {"query empty", "query.data", [](auto& r) { r.query.bytes = {}; }},
                    {"query one byte short", "query.data", [](auto& r) { r.query.bytes = BytesOf(767); }},
                    {"query one byte long", "query.data", [](auto& r) { r.query.bytes = BytesOf(769); }},
                    {"query half", "query.data", [](auto& r) { r.query.bytes = BytesOf(384); }},
                    {"key one element short", "key.data", [](auto& r) { r.key.bytes = BytesOf(636); }},
                    {"value twice", "value.data", [](auto& r) { r.value.bytes = BytesOf(960); }},
                    {"bytes beside a 0", "query.data",
                     [](auto& r) {
                       r.query.shape = {2, 4, 0, 8};
                     }},
                    {"claims 1 GiB", "query.data",
                     [](auto& r) {
                       r.query.shape = {2, 4, 1 << 22, 8};
                     }},
                    {"key claims 1 GiB", "key.data",
                     [](auto& r) {
                       r.key.shape = {2, 2, 1 << 23, 8};
                     }},
                    {"value claims 1 EiB", "value.data",
                     [](auto& r) {
                       r.value.shape = {2, 2, int64_t{1} << 55, 2};
                     }},
                });
}

TEST(BadRequestsTest, ProductsThatOverflow) {
  ExpectRefused(Base(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}),
                {
                    {"elements past 2^63", "query.shape",
                     [](auto& r) {
                       r.query.shape = {2, 4, kMax, 8};
                     }},
                    {"elements wrap to 0", "query.shape",
                     [](auto& r) {
                       r.query.shape = {int64_t{1} << 32, 1, int64_t{1} << 32, 8};
                     }},
                    {"elements wrap to the right number", "query.shape",
                     [](auto& r) {
                       r.query.shape = {(int64_t{1} << 62) + 2, 4, 3, 8};
                     }},
                    {"bytes past 2^63", "key.shape",
                     [](auto& r) {
                       r.key.shape = {1, 1, int64_t{1} << 61, 1};
                     }},
                    {"bytes wrap to 0", "value.shape",
                     [](auto& r) {
                       r.value.shape = {1, 1, int64_t{1} << 62, 1};
                       r.value.bytes = {};
                     }},
                    {"all extents the largest", "query.shape",
                     [](auto& r) {
                       r.query.shape = {kMax, kMax, kMax, kMax};
                     }},
                });
}

TEST(BadRequestsTest, DataTypes) {
  ExpectRefused(Base(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}),
                {
                    {"bool", "query.dtype", [](auto& r) { r.query.dtype = DataType::kBool; }},
                    {"bit", "value.dtype", [](auto& r) { r.value.dtype = DataType::kBit; }},
                    {"bool key", "key.dtype", [](auto& r) { r.key.dtype = DataType::kBool; }},
                    {"bytes of another type", "query.data", [](auto& r) { r.query.dtype = DataType::kFloat16; }},
                    {"half as many bytes", "key.data", [](auto& r) { r.key.bytes = BytesOf(320); }},
                    {"key and value differ", "value.dtype",
                     [](auto& r) {
                       r.value.dtype = DataType::kBfloat16;
                       r.value.bytes = BytesOf(240);
                     }},
                });
}

TEST(BadRequestsTest, Options) {
  ExpectRefused(Base(Layout::kHeadsFirst, {2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}),
                {
                    {"scale NaN", "options.scale", [](auto& r) { r.options.scale = std::nanf(""); }},
                    {"scale inf", "options.scale", [](auto& r) { r.options.scale = HUGE_VALF; }},
                    {"scale -inf", "options.scale", [](auto& r) { r.options.scale = -HUGE_VALF; }},
                    {"causal without alignment", "options.alignment", [](auto& r) { r.options.causal = true; }},
                    {"q_offset without OFFSET", "options.q_offset", [](auto& r) { r.options.q_offset = {0}; }},
                    {"k_offset with TOP_LEFT", "options.k_offset",
                     [](auto& r) {
                       r.options.k_offset = {1};
                       r.options.alignment = Alignment::kTopLeft;
                     }},
                    {"q_offset with BOTTOM_RIGHT", "options.q_offset",
                     [](auto& r) {
                       r.options.q_offset = {1, 2};
                       r.options.alignment = Alignment::kBottomRight;
                     }},
                });
}

TEST(BadRequestsTest, Offsets) {
  AttentionRequest good = Base(Layout::kHeadsFirst, {3, 2, 3, 8}, {3, 2, 5, 8}, {3, 2, 5, 6});
  good.options.causal = true;
  good.options.alignment = Alignment::kOffset;
  good.options.q_offset = {1, 2, 3};
  ExpectRefused(good, {
                          {"too few", "options.q_offset",
                           [](auto& r) {
                             r.options.q_offset = {1, 2};
                           }},
                          {"too many", "options.q_offset",
                           [](auto& r) {
                             r.options.q_offset = {1, 2, 3, 4};
                           }},
                          {"k too few", "options.k_offset",
                           [](auto& r) {
                             r.options.k_offset = {1, 2};
                           }},
                          {"too large", "options.q_offset", [](auto& r) { r.options.q_offset = {kMaxOffset + 1}; }},
                          {"too small", "options.q_offset", [](auto& r) { r.options.q_offset = {-kMaxOffset - 1}; }},
                          {"the last too large", "options.q_offset",
                           [](auto& r) {
                             r.options.q_offset = {0, 0, kMax};
                           }},
                          {"most negative", "options.k_offset", [](auto& r) { r.options.k_offset = {kMin}; }},
                      });
}

TEST(BadRequestsTest, WeightsThatOverflow) {
  // The elements of the weights pass 2^63 although every tensor is small: keys and
  // queries share a few bytes through a batch of 1 and many rows.
  static const std::vector<std::byte> bytes(size_t{1} << 20);
  Fragments many;
  for (int i = 0; i < 1 << 14; ++i) many.Append(bytes);  // 16 GiB in name
  AttentionRequest request;
  constexpr int64_t kLen = int64_t{1} << 32;
  request.query = {DataType::kFloat32, {kLen, 1}, many};
  request.key = {DataType::kFloat32, {kLen, 1}, many};
  request.value = {DataType::kFloat32, {kLen, 1}, many};
  request.outputs.weights.emplace();
  AttentionLimits limits;
  limits.max_output_bytes = kMax;
  EXPECT_THAT(PlanAttention(request, limits), NamesField(absl::StatusCode::kInvalidArgument, "outputs.weights"));
  EXPECT_THAT(PlanAttention(request, {}), NamesField(absl::StatusCode::kInvalidArgument, "outputs.weights"));
  request.outputs = {.scores = ScoreStage::kBiased};
  EXPECT_THAT(PlanAttention(request, limits), NamesField(absl::StatusCode::kInvalidArgument, "outputs.scores"));
  request.outputs = {};
  EXPECT_THAT(PlanAttention(request, {}), NamesField(absl::StatusCode::kInvalidArgument, "query.shape"));
  EXPECT_THAT(PlanAttention(request, limits), IsOk());
}

}  // namespace
}  // namespace attnd
