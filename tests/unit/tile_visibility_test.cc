// What tiles see, pair by pair, against the oracle's scores: -inf where a key is hidden.
#include "core/attention/tile_visibility.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <list>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/attention/reference.h"
#include "core/attention/simd_rows.h"
#include "tests/support/attention_problem.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/support/status_matchers.h"

namespace attnd {
namespace {

constexpr double kNegInf = -std::numeric_limits<double>::infinity();

struct Shape {
  int64_t batch = 1;
  int64_t kv_heads = 1;
  int64_t group = 1;
  int64_t q_len = 1;
  int64_t kv_len = 1;
};

// A request over tensors of ones, with rules added one by one.
class Rules {
 public:
  Rules(const Shape& shape, bool packed, Random& random) : shape_(shape), packed_(packed), random_(random) {
    request.options.scale = 0;
    request.options.alignment = Alignment::kTopLeft;
    const int64_t heads = shape.kv_heads * shape.group;
    if (!packed) {
      request.query = Ones({shape.batch, heads, shape.q_len, 1});
      request.key = request.value = Ones({shape.batch, shape.kv_heads, shape.kv_len, 1});
      queries_.assign(static_cast<size_t>(shape.batch), shape.q_len);
      keys_.assign(static_cast<size_t>(shape.batch), shape.kv_len);
      return;
    }
    request.layout = Layout::kPacked;
    int64_t total_q = 0;
    int64_t total_kv = 0;
    for (int64_t b = 0; b < shape.batch; ++b) {
      // The longest is the shape's.
      total_q += queries_.emplace_back(b == 0 ? shape.q_len : random.Below(shape.q_len + 1));
      total_kv += keys_.emplace_back(b == 0 ? shape.kv_len : random.Below(shape.kv_len + 1));
    }
    request.options.q_lengths = queries_;
    request.options.kv_lengths = keys_;
    request.query = Ones({total_q, heads, 1});
    request.key = request.value = Ones({total_kv, shape.kv_heads, 1});
  }

  void AddCausal() {
    request.options.causal = true;
    AddAlignment();
    if (random_.Below(3) == 0) request.options.prefix_lengths = {random_.Below(Shortest(keys_) + 1)};
  }
  void AddWindow() {
    Window& window = request.options.window.emplace();
    AddAlignment();
    if (random_.Below(3) > 0) window.left = random_.Below(shape_.kv_len + 2);
    if (random_.Below(3) > 0 || !window.left) window.right = random_.Below(shape_.kv_len + 2);
  }
  void AddLengths() {
    AttentionOptions& options = request.options;
    std::vector<int64_t> ends = keys_;
    if (!packed_) {
      for (size_t b = 0; b < keys_.size(); ++b) {
        options.q_lengths.push_back(random_.Below(shape_.q_len + 1));
        options.kv_lengths.push_back(ends[b] = random_.Below(shape_.kv_len + 1));
      }
    }
    for (const int64_t end : ends) options.kv_starts.push_back(random_.Below(end + 1));
  }
  void AddDocuments() {
    Documents& documents = request.options.documents.emplace();
    const int64_t count = 1 + random_.Below(4);
    const bool scattered = random_.Below(2) == 0;
    for (size_t b = 0; b < keys_.size(); ++b) {
      for (const auto& [len, ids] : {std::pair{queries_[b], &documents.query_ids}, {keys_[b], &documents.key_ids}}) {
        for (int64_t t = 0; t < len; ++t) {
          ids->push_back(static_cast<int32_t>(scattered ? random_.Below(count) : t * count / len));
        }
      }
    }
  }
  void AddMask() {
    const DataType dtype = random_.Below(2) == 0 ? DataType::kBool : DataType::kBit;
    const auto shape = BroadcastShape();
    std::vector<std::byte> bytes(static_cast<size_t>(TensorBytes(dtype, shape).value()));
    const auto sparse = random_.Below(3);
    for (std::byte& b : bytes) {
      const uint64_t bits = random_.Bits();
      const bool keep = sparse == 0 || bits % 4 != 0;
      b = dtype == DataType::kBit ? static_cast<std::byte>(bits | (keep ? random_.Bits() : 0)) : std::byte{keep};
    }
    const auto polarity = random_.Below(2) == 0 ? Polarity::kKeep : Polarity::kDrop;
    request.options.masks.push_back({{dtype, shape, Fragments(Keep(std::move(bytes)))}, polarity});
  }
  void AddBias() {
    constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16};
    const DataType dtype = kTypes[random_.Below(3)];
    const auto shape = BroadcastShape();
    std::vector<float> floats(static_cast<size_t>(Product(shape).value()));
    for (float& x : floats) x = random_.Below(4) == 0 ? static_cast<float>(kNegInf) : 1.0F;
    std::vector<std::byte> bytes(floats.size() * static_cast<size_t>(ElementBytes(dtype)));
    simd::StoreRow(floats.data(), static_cast<int64_t>(floats.size()), dtype, bytes.data());
    request.options.biases.push_back({dtype, shape, Fragments(Keep(std::move(bytes)))});
  }

  // Where masks and biases are; each came in one piece.
  [[nodiscard]] AttentionData Data() const {
    AttentionData data;
    const auto at = [](const TensorView& tensor) {
      return tensor.bytes.empty() ? nullptr : tensor.bytes.pieces()[0].data();
    };
    for (const Mask& mask : request.options.masks) data.masks.push_back(at(mask.tensor));
    for (const TensorView& bias : request.options.biases) data.biases.push_back(at(bias));
    return data;
  }

  AttentionRequest request;

 private:
  static int64_t Shortest(const std::vector<int64_t>& lengths) {
    return *std::min_element(lengths.begin(), lengths.end());
  }

  std::span<const std::byte> Keep(std::vector<std::byte> bytes) { return memory_.emplace_back(std::move(bytes)); }

  TensorView Ones(std::vector<int64_t> shape) {
    const std::vector<float> ones(static_cast<size_t>(Product(shape).value()), 1.0F);
    const auto bytes = std::as_bytes(std::span(ones));
    return {DataType::kFloat32, std::move(shape), Fragments(Keep({bytes.begin(), bytes.end()}))};
  }

  // Some of [batch, heads, q_len, kv_len] replaced by 1, leading ones dropped.
  std::vector<int64_t> BroadcastShape() {
    std::vector<int64_t> shape = {shape_.batch, shape_.kv_heads * shape_.group, shape_.q_len, shape_.kv_len};
    for (int64_t& extent : shape) {
      if (random_.Below(4) == 0) extent = 1;
    }
    while (!shape.empty() && shape[0] == 1 && random_.Below(2) == 0) shape.erase(shape.begin());
    return shape;
  }

  void AddAlignment() {
    AttentionOptions& options = request.options;
    options.alignment = random_.Below(2) == 0 ? Alignment::kBottomRight : Alignment::kOffset;
    if (options.alignment != Alignment::kOffset) {
      options.q_offset = options.k_offset = {};
      return;
    }
    options.q_offset = {random_.Below(2 * shape_.kv_len + 1) - shape_.kv_len / 2};
    options.k_offset.assign(static_cast<size_t>(shape_.batch), 0);
    for (int64_t& offset : options.k_offset) offset = random_.Below(7) - 3;
  }

  const Shape shape_;
  const bool packed_;
  Random& random_;
  std::vector<int64_t> queries_;
  std::vector<int64_t> keys_;
  std::list<std::vector<std::byte>> memory_;
};

// The oracle's score of a pair. Blocks [heads, q_len, kv_len], entry after entry.
class Scores {
 public:
  Scores(const AttentionRequest& request, const AttentionPlan& plan)
      : plan_(plan), scores_(ReferenceAttention<double>(request).scores) {
    size_t start = 0;
    for (int64_t b = 0; b < plan.dims.batch; ++b) {
      starts_.push_back(start);
      start += static_cast<size_t>(plan.dims.heads * plan.queries.count[b] * plan.keys.count[b]);
    }
    EXPECT_EQ(start, scores_.size());
  }
  [[nodiscard]] bool Visible(int64_t b, const RowPlace& place, int64_t k) const {
    const int64_t row = place.head * plan_.queries.count[b] + place.query;
    return scores_[starts_[static_cast<size_t>(b)] + static_cast<size_t>(row * plan_.keys.count[b] + k)] != kNegInf;
  }

 private:
  const AttentionPlan& plan_;
  std::vector<double> scores_;
  std::vector<size_t> starts_;
};

// Every answer about keys [begin, end) of a tile.
void ExpectBlockFollows(TileVisibility& visibility, const AttentionPlan& plan, const Tile& tile, const Scores& scores,
                        int64_t begin, int64_t end) {
  const int64_t rows = tile.row_end - tile.row_begin;
  // A hint, which changes no answer.
  visibility.BringNearer(0, rows, {begin, end});
  const BlockVisibility block = visibility.Block(begin, end);
  int64_t pairs = 0;
  for (int64_t k = begin; k < end; ++k) {
    int64_t seers = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const bool visible = scores.Visible(tile.batch, PlaceOf(plan.dims, tile, r), k);
      ASSERT_EQ(block.Sees(r, k - begin), visible) << "row " << r << " key " << k;
      seers += visible ? 1 : 0;
    }
    pairs += seers;
    if (seers > 0) {
      ASSERT_LE(visibility.any().begin, k);
      ASSERT_GT(visibility.any().end, k);
    }
    if (block.kind == BlockVisibility::Kind::kSome) {
      ASSERT_EQ(block.seen_by_all[(k - begin) / 8] >> ((k - begin) % 8) & 1, seers == rows) << "key " << k;
    }
  }
  ASSERT_EQ(block.pairs, pairs);
  using Kind = BlockVisibility::Kind;
  ASSERT_EQ(block.kind, pairs == 0 ? Kind::kNone : pairs == rows * (end - begin) ? Kind::kAll : Kind::kSome);
}

void ExpectFollows(const Rules& rules, int64_t rows_per_tile, int64_t key_block) {
  const auto plan = PlanAttention(rules.request, {});
  ASSERT_THAT(plan, IsOk());
  const Scores scores(rules.request, *plan);
  const AttentionData data = rules.Data();
  TileVisibility visibility;
  std::vector<Tile> tiles = TilesOf(*plan, rows_per_tile);
  for (int64_t b = 0; b < plan->dims.batch; ++b) {
    const int64_t last = plan->dims.heads - 1;
    if (plan->q_used[b] > 0) tiles.push_back({b, last / plan->dims.group(), 0, plan->q_used[b], last});
  }
  for (const Tile& tile : tiles) {
    SCOPED_TRACE(testing::Message() << "entry " << tile.batch << " key head " << tile.kv_head << " rows "
                                    << tile.row_begin << ".." << tile.row_end << " only " << tile.only_head);
    visibility.Begin(*plan, data, tile);
    const int64_t kv_len = plan->keys.count[tile.batch];
    for (int64_t begin = 0; begin < kv_len; begin += key_block) {
      const int64_t end = std::min(begin + key_block, kv_len);
      ExpectBlockFollows(visibility, *plan, tile, scores, begin, end);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

std::string Name(const AttentionOptions& options) {
  std::ostringstream name;
  name << "causal " << options.causal << " window " << options.window.has_value() << " starts "
       << options.kv_starts.size() << " documents " << options.documents.has_value();
  for (const Mask& mask : options.masks) {
    name << " mask " << DataTypeName(mask.tensor.dtype) << ShapeString(mask.tensor.shape);
  }
  for (const TensorView& bias : options.biases) name << " bias " << DataTypeName(bias.dtype) << ShapeString(bias.shape);
  return name.str();
}

TEST(TileVisibilityTest, EveryMixtureOfRulesFollowsTheOracle) {
  Random random(12);
  for (int round = 0; round < (kSanitized ? 300 : 5000); ++round) {
    const Shape shape = {1 + random.Below(3), 1 + random.Below(2), 1 + random.Below(3), 1 + random.Below(9),
                         1 + random.Below(round % 4 == 0 ? 150 : 30)};
    Rules rules(shape, round % 3 == 0, random);
    if (random.Below(2) == 0) rules.AddLengths();
    if (random.Below(2) == 0) rules.AddCausal();
    if (random.Below(3) == 0) rules.AddWindow();
    if (random.Below(3) == 0) rules.AddDocuments();
    for (int64_t n = random.Below(3); n > 0; --n) rules.AddMask();
    for (int64_t n = random.Below(5) - 2; n > 0; --n) rules.AddBias();
    SCOPED_TRACE(testing::Message() << "round " << round << ": " << Name(rules.request.options));
    ExpectFollows(rules, 1 + random.Below(20), 8 * (1 + random.Below(12)));
    if (HasFatalFailure()) return;
  }
}

TEST(TileVisibilityTest, WithoutRulesEveryBlockIsWhole) {
  Random random(1);
  const Rules rules({2, 2, 2, 5, 40}, false, random);
  const auto plan = PlanAttention(rules.request, {});
  ASSERT_THAT(plan, IsOk());
  const AttentionData data = rules.Data();
  TileVisibility visibility;
  const Tile tile{1, 1, 2, 9};
  visibility.Begin(*plan, data, tile);
  EXPECT_EQ(visibility.any().begin, 0);
  EXPECT_EQ(visibility.any().end, 40);
  const BlockVisibility block = visibility.Block(16, 40);
  EXPECT_EQ(block.kind, BlockVisibility::Kind::kAll);
  EXPECT_EQ(block.pairs, 7 * 24);
}

TEST(TileVisibilityTest, KeysThatNoRowSeesAreOutside) {
  Random random(1);
  Rules rules({1, 1, 2, 100, 100}, false, random);
  rules.request.options.window = Window{10, 0};
  const auto plan = PlanAttention(rules.request, {});
  ASSERT_THAT(plan, IsOk());
  const AttentionData data = rules.Data();
  TileVisibility visibility;
  const Tile tile{0, 0, 2 * 50, 2 * 60};
  visibility.Begin(*plan, data, tile);
  EXPECT_EQ(visibility.any().begin, 40);
  EXPECT_EQ(visibility.any().end, 60);
  EXPECT_EQ(visibility.Block(0, 40).kind, BlockVisibility::Kind::kNone);
  EXPECT_EQ(visibility.Block(40, 60).kind, BlockVisibility::Kind::kSome);
  // Keys 49 and 50 are in the window of every row.
  EXPECT_EQ(visibility.Block(48, 56).seen_by_all[0], 0b110);
}

// A mask that hides nothing costs nothing beyond being looked at.
TEST(TileVisibilityTest, ABlockThatAMaskLeavesWholeIsWhole) {
  Random random(1);
  Rules rules({1, 1, 1, 4, 64}, false, random);
  std::vector<std::byte> mask(64, std::byte{1});
  mask[40] = std::byte{0};
  rules.request.options.masks.push_back({{DataType::kBool, {64}, Fragments(mask)}, Polarity::kKeep});
  const auto plan = PlanAttention(rules.request, {});
  ASSERT_THAT(plan, IsOk());
  const AttentionData data = rules.Data();
  TileVisibility visibility;
  const Tile tile{0, 0, 0, 4};
  visibility.Begin(*plan, data, tile);
  EXPECT_EQ(visibility.Block(0, 32).kind, BlockVisibility::Kind::kAll);
  EXPECT_EQ(visibility.Block(32, 64).kind, BlockVisibility::Kind::kSome);
  EXPECT_EQ(visibility.Block(32, 64).pairs, 4 * 31);
}

}  // namespace
}  // namespace attnd
