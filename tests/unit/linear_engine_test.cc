// The engine for products with weights changes no bit of them.
#include "core/linear/linear_engine.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "core/linear/packed_matrix.h"
#include "tests/support/isa.h"
#include "tests/support/status_matchers.h"
#include "tests/support/weights.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr Orientation kBoth[] = {Orientation::kInOut, Orientation::kOutIn};

// Restores the engine.
class OnednnTest : public testing::Test {
 protected:
  void SetUp() override { SetLinearEngine(LinearEngine::kOnednn); }
  void TearDown() override { SetLinearEngine(kAutoLinearEngine); }
};

// Whether or not oneDNN takes part, which depends on its version and the instruction set.
TEST_F(OnednnTest, EveryProductHasTheBitsOfTheChain) {
  for (const auto& [in, out] :
       {std::pair<int64_t, int64_t>{64, 64}, {3, 100}, {200, 83}, {512, 16}, {513, 33}, {900, 20}}) {
    SCOPED_TRACE(testing::Message() << in << " to " << out);
    for (const Orientation orientation : kBoth) {
      const Weights w(in, out, DataType::kFloat32, orientation);
      const PackedMatrix packed = w.Pack();
      EXPECT_EQ(packed.bytes(), PackedMatrix::BytesFor(in, out));
      const auto x = Normals(261 * in, 2);
      const auto bias = Normals(out, 3);
      const auto expected = Expected(w, x.data(), in, 261, bias.data());
      const auto unbiased = Expected(w, x.data(), in, 261, nullptr);
      for (const int64_t rows : {1, 127, 128, 129, 256, 261}) {
        for (const int64_t gap : {0, 1}) ExpectProduct(w, packed, x, in, rows, {0, out}, bias, expected, gap);
        ExpectProduct(w, packed, x, in, rows, {0, out}, {}, unbiased);
        ExpectProduct(w, packed, x, in, rows, {1, out}, bias, expected);
        if (testing::Test::HasFatalFailure()) return;
      }
      const auto spread = Expected(w, x.data(), in + 1, 128, nullptr);
      ExpectProduct(w, packed, x, in + 1, 128, {0, out}, {}, spread);
    }
  }
}

TEST_F(OnednnTest, ThreadsShareAMatrix) {
  const Weights w(64, 48, DataType::kFloat32, Orientation::kInOut);
  const PackedMatrix packed = w.Pack();
  constexpr int64_t kRows = 256;
  const auto x = Normals(kRows * 64, 2);
  const auto expected = Expected(w, x.data(), 64, kRows, nullptr);
  const auto multiply = [&] {
    for (int i = 0; i < 20; ++i) {
      std::vector<float> y(static_cast<size_t>(kRows * 48));
      EXPECT_THAT(packed.Multiply({x.data(), 64}, kRows, {0, 48}, nullptr, {y.data(), 48}), IsOk());
      EXPECT_EQ(y, expected);
    }
  };
  std::thread other(multiply);
  multiply();
  other.join();
}

TEST_F(OnednnTest, ShapesThatTakeLongToTryDoNotPass) { EXPECT_FALSE(OnednnHasOurBits(1 << 20, 1 << 20)); }

TEST(LinearEngineTest, NamesAreParsed) {
  EXPECT_EQ(ParseLinearEngine("auto").value(), kAutoLinearEngine);
  EXPECT_EQ(ParseLinearEngine("own").value(), LinearEngine::kOwn);
  EXPECT_EQ(ParseLinearEngine("onednn").value(), LinearEngine::kOnednn);
  EXPECT_THAT(ParseLinearEngine("mkl"), IsError(absl::StatusCode::kInvalidArgument, "auto, onednn, own"));
  EXPECT_EQ(CurrentLinearEngine(), kAutoLinearEngine);
}

}  // namespace
}  // namespace attnd
