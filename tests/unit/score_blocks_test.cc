// Where rows are found, and how keys are cut into blocks of scores.
#include "core/attention/score_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tests/support/guarded.h"
#include "tests/support/simd_targets.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tile_problem.h"

namespace attnd {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

using Steps = std::vector<std::pair<int64_t, int64_t>>;

// The numbers of a row [b, head, token] of a heads-first tensor.
std::span<const float> RowOf(const CaseTensor& tensor, int64_t b, int64_t head, int64_t token) {
  const int64_t dim = tensor.shape[3];
  const int64_t row = (b * tensor.shape[1] + head) * tensor.shape[2] + token;
  return std::span(tensor.numbers).subspan(static_cast<size_t>(row * dim), static_cast<size_t>(dim));
}

class CutTest : public testing::Test {
 public:
  Steps StepsOf(int64_t key_block, KeyRange keys) {
    PlainProducts products(key_block);
    ScoreBlocks blocks(&products);
    EXPECT_THAT(blocks.Begin(problem_.plan(), problem_.data(), {0, 0, 0, 1}), IsOk());
    Steps steps;
    EXPECT_THAT(blocks.ForEach(keys,
                               [&steps](int64_t begin, int64_t end) {
                                 steps.emplace_back(begin, end);
                                 return absl::OkStatus();
                               }),
                IsOk());
    EXPECT_EQ(products.products, 0);
    return steps;
  }

 private:
  const TileProblem problem_{NormalCase({1, 1, 1, 1, 200, 3, 3})};
};

TEST_F(CutTest, BlocksEndAtMultiplesOfTheKeyBlock) {
  EXPECT_THAT(StepsOf(64, {0, 200}),
              ElementsAre(std::pair(0, 64), std::pair(64, 128), std::pair(128, 192), std::pair(192, 200)));
  EXPECT_THAT(StepsOf(64, {0, 64}), ElementsAre(std::pair(0, 64)));
  EXPECT_THAT(StepsOf(64, {0, 65}), ElementsAre(std::pair(0, 64), std::pair(64, 65)));
  EXPECT_THAT(StepsOf(512, {0, 200}), ElementsAre(std::pair(0, 200)));
}

TEST_F(CutTest, TheFirstBlockBeginsAtWholeVectors) {
  EXPECT_THAT(StepsOf(64, {15, 16}), ElementsAre(std::pair(0, 16)));
  EXPECT_THAT(StepsOf(64, {16, 17}), ElementsAre(std::pair(16, 17)));
  EXPECT_THAT(StepsOf(64, {63, 65}), ElementsAre(std::pair(48, 64), std::pair(64, 65)));
  EXPECT_THAT(StepsOf(64, {70, 100}), ElementsAre(std::pair(64, 100)));
  EXPECT_THAT(StepsOf(48, {100, 150}), ElementsAre(std::pair(96, 144), std::pair(144, 150)));
}

TEST_F(CutTest, NoKeysAreNoBlocks) {
  for (const int64_t at : {0, 1, 64, 100}) EXPECT_THAT(StepsOf(64, {at, at}), IsEmpty());
  EXPECT_THAT(StepsOf(64, {100, 50}), IsEmpty());
}

TEST(ScoreBlocksTest, TheFirstFailureEndsTheSteps) {
  const TileProblem problem(NormalCase({1, 1, 1, 1, 200, 3, 3}));
  PlainProducts products(64);
  ScoreBlocks blocks(&products);
  ASSERT_THAT(blocks.Begin(problem.plan(), problem.data(), {0, 0, 0, 1}), IsOk());
  int steps = 0;
  EXPECT_THAT(blocks.ForEach({0, 200},
                             [&steps](int64_t begin, int64_t /*end*/) {
                               ++steps;
                               return begin == 64 ? absl::InternalError("enough") : absl::OkStatus();
                             }),
              IsError(absl::StatusCode::kInternal, "enough"));
  EXPECT_EQ(steps, 2);
}

TEST(ScoreBlocksTest, QueryRowsAreStackedAndWiden) {
  for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    for (const int64_t dim : {1, 7, 16, 17}) {
      RequestCase c = NormalCase({2, 6, 2, 5, 3, dim, 2});
      Convert(c.query, dtype);
      const TileProblem problem(c);
      const int64_t stride = dim + 4;
      ForEachTarget([&] {
        // Of heads 3 to 5: the last of query 1, all of query 2 and the first of query 3.
        GuardedFloats rows(4 * stride + dim, -1);
        LoadQueryRows(problem.plan(), problem.data(), {1, 1, 5, 10}, rows, stride);
        EXPECT_TRUE(rows.intact());
        for (int64_t r = 0; r < 5; ++r) {
          const auto row = rows.all().subspan(static_cast<size_t>(r * stride));
          EXPECT_THAT(row.first(static_cast<size_t>(dim)),
                      ElementsAreArray(RowOf(c.query, 1, 3 + (r + 5) % 3, (r + 5) / 3)));
          for (int64_t i = dim; i < stride && r < 4; ++i) EXPECT_EQ(row[static_cast<size_t>(i)], -1);
        }
        GuardedFloats one(dim, -1);
        LoadQueryRows(problem.plan(), problem.data(), {0, 1, 4, 5, /*only_head=*/4}, one, dim);
        EXPECT_TRUE(one.intact());
        EXPECT_THAT(one.all(), ElementsAreArray(RowOf(c.query, 0, 4, 4)));
      });
    }
  }
}

TEST(ScoreBlocksTest, KeysAndValuesAreThoseOfTheEntryAndHead) {
  for (const Layout layout : {Layout::kHeadsFirst, Layout::kTokensFirst}) {
    RequestCase c = NormalCase({2, 4, 2, 3, 9, 5, 7});
    c.layout = layout;
    Convert(c.key, DataType::kBfloat16);
    Convert(c.value, DataType::kBfloat16);
    const TileProblem problem(c);
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t head = 0; head < 2; ++head) {
        const Tile tile{b, head, 0, 1};
        for (const auto& [tensor, rows] : {std::pair(&c.key, KeysOf(problem.plan(), problem.data(), tile)),
                                           std::pair(&c.value, ValuesOf(problem.plan(), problem.data(), tile))}) {
          EXPECT_EQ(rows.dtype, DataType::kBfloat16);
          EXPECT_EQ(rows.dim, tensor->shape[3]);
          EXPECT_EQ(rows.count, 9);
          FloatRowsLoader loader;
          const auto floats = loader.Load(rows, 0, 9, 1, /*finite=*/false);
          ASSERT_THAT(floats, IsOk());
          for (int64_t k = 0; k < 9; ++k) {
            EXPECT_THAT(std::span(floats->row(k), static_cast<size_t>(rows.dim)),
                        ElementsAreArray(RowOf(*tensor, b, head, k)));
          }
        }
      }
    }
  }
}

TEST(ScoreBlocksTest, ScoresAreUnscaledProductsInAlignedRows) {
  for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    for (const int64_t kv_len : {1, 33, 70}) {
      RequestCase c = NormalCase({2, 2, 1, 3, kv_len, 9, 2});
      c.options.scale = 100;
      Convert(c.key, dtype);
      Convert(c.value, dtype);
      const TileProblem problem(c);
      PlainProducts products(32, /*more_rows=*/2);
      ScoreBlocks blocks(&products);
      ASSERT_THAT(blocks.Begin(problem.plan(), problem.data(), {1, 0, 1, 6}), IsOk());
      EXPECT_EQ(blocks.rows(), 5);
      EXPECT_EQ(blocks.key().count, kv_len);
      EXPECT_GE(blocks.stride(), 32);
      EXPECT_EQ(blocks.stride() % simd::kRowMultiple, 0);
      EXPECT_EQ(blocks.row(1) - blocks.row(0), blocks.stride());
      int64_t covered = 0;
      const auto check = [&](int64_t begin, int64_t end) {
        EXPECT_EQ(begin, covered);
        covered = end;
        if (absl::Status status = blocks.Compute(begin, end); !status.ok()) return status;
        for (int64_t r = 0; r < 5; ++r) {
          const auto query = RowOf(c.query, 1, (r + 1) % 2, (r + 1) / 2);
          for (int64_t k = begin; k < end; ++k) {
            const auto key = RowOf(c.key, 1, 0, k);
            double sum = 0;
            double magnitude = 0;
            for (size_t i = 0; i < 9; ++i) {
              sum += double{query[i]} * double{key[i]};
              magnitude += std::abs(double{query[i]} * double{key[i]});
            }
            EXPECT_NEAR(blocks.row(r)[k - begin], sum, 0x1p-24 * magnitude) << r << ", " << k;
          }
        }
        return absl::OkStatus();
      };
      EXPECT_THAT(blocks.ForEach({0, kv_len}, check), IsOk());
      EXPECT_EQ(covered, kv_len);
    }
  }
}

// A tile after another one, of another shape.
TEST(ScoreBlocksTest, TurnsToAnyTile) {
  PlainProducts products(32);
  ScoreBlocks blocks(&products);
  for (const int64_t rows : {2, 40, 1}) {
    const RequestCase c = NormalCase({1, 1, 1, rows, 20 + rows, 4, 2});
    const TileProblem problem(c);
    ASSERT_THAT(blocks.Begin(problem.plan(), problem.data(), {0, 0, 0, rows}), IsOk());
    EXPECT_EQ(blocks.rows(), rows);
    EXPECT_EQ(blocks.key().count, 20 + rows);
    EXPECT_EQ(blocks.visibility().any().end, 20 + rows);
    EXPECT_THAT(blocks.Compute(0, 20), IsOk());
  }
}

TEST(ScoreBlocksTest, FailuresOfProductsArePassedOn) {
  const TileProblem problem(NormalCase({1, 1, 1, 2, 20, 4, 2}));
  PlainProducts products(32);
  ScoreBlocks blocks(&products);
  products.begin_status = absl::ResourceExhaustedError("no room");
  EXPECT_THAT(blocks.Begin(problem.plan(), problem.data(), {0, 0, 0, 2}),
              IsError(absl::StatusCode::kResourceExhausted, "no room"));
  products.begin_status = absl::OkStatus();
  products.scores_status = absl::InternalError("broken");
  ASSERT_THAT(blocks.Begin(problem.plan(), problem.data(), {0, 0, 0, 2}), IsOk());
  EXPECT_THAT(blocks.Compute(0, 20), IsError(absl::StatusCode::kInternal, "broken"));
}

}  // namespace
}  // namespace attnd
