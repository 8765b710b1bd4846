// Row functions against long double, with the errors they are known to have.
#include "core/linear/row_functions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <vector>

#include "tests/support/guarded.h"
#include "tests/support/isa.h"
#include "tests/support/page_end.h"
#include "tests/support/random.h"
#include "tests/support/simd_targets.h"

namespace attnd {
namespace {

[[maybe_unused]] testing::Environment* const kIsa = testing::AddGlobalTestEnvironment(new IsaEnvironment);

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kUlp = 0x1p-23;
constexpr int64_t kLengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 129, 300};

using Function = void (*)(float* x, int64_t n);

void Silu(float* x, int64_t n) {
  std::vector<float> up(static_cast<size_t>(n), 1.0F);
  SwigluRow(x, n, up.data());
  std::copy(up.begin(), up.end(), x);
}

long double ExactGelu(long double x) { return x / 2 * std::erfc(-x / std::numbers::sqrt2_v<long double>); }
long double ExactSigmoid(long double x) { return 1 / (1 + std::exp(-x)); }
long double ExactGeluTanh(long double x) {
  return x * ExactSigmoid(std::sqrt(8 / std::numbers::pi_v<long double>) * (x + 0.044715L * x * x * x));
}
long double ExactSilu(long double x) { return x * ExactSigmoid(x); }

// Numbers of both signs and every size, dense where the functions bend.
std::vector<float> Sweep() {
  std::vector<float> x;
  for (int i = -200'000; i <= 200'000; ++i) x.push_back(static_cast<float>(i) * 1e-4F);
  for (int exponent = -124; exponent < 124; ++exponent) {
    for (const float mantissa : {1.0F, 1.1F, 1.234567F, 1.5F, 1.9999F}) {
      x.push_back(std::ldexp(mantissa, exponent));
      x.push_back(-x.back());
    }
  }
  return x;
}

// Errors are at most `ulps` units of the argument's last place, and for small results below 0
// `tail` of the result.
void ExpectAccurate(Function function, long double (*exact)(long double), double ulps, double tail) {
  const std::vector<float> x = Sweep();
  std::vector<float> y = x;
  function(y.data(), static_cast<int64_t>(y.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const long double expected = exact(x[i]);
    const auto error = static_cast<double>(std::abs(y[i] - expected));
    ASSERT_LE(error, ulps * kUlp * double{std::abs(x[i])}) << "of " << x[i];
    if (x[i] < -1 && x[i] > -9) {
      ASSERT_LE(error, tail * static_cast<double>(std::abs(expected))) << "of " << x[i];
    }
  }
}

// Every length gives what elements alone give, in place, and leaves its neighbours alone.
void ExpectElementwise(Function function) {
  Random random(1);
  for (const int64_t n : kLengths) {
    GuardedFloats y(n, 0, n % 16);
    for (int64_t i = 0; i < n; ++i) y[i] = 3 * random.Normal();
    std::vector<float> alone(y.all().begin(), y.all().end());
    for (float& x : alone) function(&x, 1);
    const PageEndFloats at_end(y.all());
    function(y.data(), n);
    function(at_end.data(), n);
    EXPECT_TRUE(y.intact()) << n;
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(y[i], alone[static_cast<size_t>(i)]) << n << " " << i;
      ASSERT_EQ(at_end.data()[i], y[i]) << n << " " << i;
    }
  }
}

float Of(Function function, float x) {
  function(&x, 1);
  return x;
}

TEST(RowFunctionsTest, NonlinearitiesAreAccurate) {
  ForEachTarget([] {
    ExpectAccurate(GeluRow, ExactGelu, 1.25, 4e-6);
    ExpectAccurate(GeluTanhRow, ExactGeluTanh, 1.25, 1.3e-5);
    ExpectAccurate(Silu, ExactSilu, 1.25, 3e-7);
  });
}

TEST(RowFunctionsTest, EveryLengthIsElementwise) {
  ForEachTarget([] {
    for (const Function function : {GeluRow, GeluTanhRow, ReluRow, Silu}) ExpectElementwise(function);
  });
}

TEST(RowFunctionsTest, LimitsAndNanAreKept) {
  ForEachTarget([] {
    for (const Function function : {GeluRow, GeluTanhRow, ReluRow, Silu}) {
      EXPECT_EQ(Of(function, kInf), kInf);
      EXPECT_EQ(Of(function, -kInf), 0.0F);
      EXPECT_EQ(Of(function, 0.0F), 0.0F);
      EXPECT_EQ(Of(function, 3e38F), 3e38F);
      EXPECT_EQ(Of(function, -3e38F), 0.0F);
      EXPECT_TRUE(std::isnan(Of(function, kNan)));
    }
    EXPECT_EQ(Of(ReluRow, -1e-45F), 0.0F);
    EXPECT_EQ(Of(ReluRow, 1e-45F), 1e-45F);
  });
}

TEST(RowFunctionsTest, SwigluMultipliesByTheGate) {
  ForEachTarget([] {
    Random random(2);
    for (const int64_t n : kLengths) {
      GuardedFloats up(n);
      std::vector<float> gate;
      std::vector<float> before;
      for (int64_t i = 0; i < n; ++i) {
        gate.push_back(4 * random.Normal());
        before.push_back(up[i] = random.Normal());
      }
      const PageEndFloats at_end(gate);
      SwigluRow(at_end.data(), n, up);
      EXPECT_TRUE(up.intact());
      for (size_t i = 0; i < gate.size(); ++i) {
        const double expected = static_cast<double>(ExactSilu(gate[i])) * double{before[i]};
        ASSERT_NEAR(up[static_cast<int64_t>(i)], expected, 4 * kUlp * std::abs(expected)) << n << " " << i;
      }
    }
  });
}

TEST(RowFunctionsTest, RowsAreAdded) {
  ForEachTarget([] {
    Random random(3);
    for (const int64_t n : kLengths) {
      GuardedFloats y(n, 0, 3);
      std::vector<float> x;
      std::vector<float> sum;
      for (int64_t i = 0; i < n; ++i) {
        x.push_back(random.Normal());
        y[i] = random.Normal();
        sum.push_back(x.back() + y[i]);
      }
      const PageEndFloats at_end(x);
      AddRow(at_end.data(), n, y);
      EXPECT_TRUE(y.intact());
      EXPECT_TRUE(std::equal(sum.begin(), sum.end(), y.data())) << n;
    }
  });
}

enum class Norm { kLayer, kLayerNoShift, kRms };

// Rows `offset` away from 0. An element's error is bounded by a few units in the last place
// of the normalized value and of the result, and what the offset costs in x itself.
void ExpectNorm(Norm norm, int64_t n, float offset, float size, float epsilon) {
  SCOPED_TRACE(testing::Message() << "norm " << static_cast<int>(norm) << " n " << n << " offset " << offset);
  Random random(static_cast<uint64_t>(n));
  std::vector<float> x;
  std::vector<float> scale;
  std::vector<float> shift;
  for (int64_t i = 0; i < n; ++i) {
    x.push_back(offset + size * random.Normal());
    scale.push_back(random.Normal());
    shift.push_back(random.Normal());
  }
  long double mean = 0;
  long double square = 0;
  for (const float v : x) mean += v;
  mean = norm == Norm::kRms ? 0 : mean / static_cast<long double>(n);
  for (const float v : x) square += (v - mean) * (v - mean);
  const long double divisor = std::sqrt(square / static_cast<long double>(n) + epsilon);

  const PageEndFloats guarded_x(x);
  const PageEndFloats guarded_scale(scale);
  const PageEndFloats guarded_shift(shift);
  GuardedFloats y(n, 0, 5);
  const auto run = [&](const float* from, float* to) {
    if (norm == Norm::kRms) return RmsNormRow(from, n, guarded_scale.data(), epsilon, to);
    LayerNormRow(from, n, guarded_scale.data(), norm == Norm::kLayer ? guarded_shift.data() : nullptr, epsilon, to);
  };
  run(guarded_x.data(), y);
  EXPECT_TRUE(y.intact());
  for (size_t i = 0; i < x.size(); ++i) {
    const long double normal = (x[i] - mean) / divisor;
    const long double expected = normal * scale[i] + (norm == Norm::kLayer ? shift[i] : 0);
    // The mean's own error: a place of the offset, less what the second pass takes back.
    const double lost = norm == Norm::kRms ? 0 : 2e-3 * kUlp * std::abs(double{offset}) / static_cast<double>(divisor);
    const double bound =
        kUlp * (8 * static_cast<double>(std::abs(normal * scale[i])) + static_cast<double>(std::abs(expected))) +
        (lost + 1e-7 / static_cast<double>(divisor) * double{size}) * double{std::abs(scale[i])};
    ASSERT_NEAR(y[static_cast<int64_t>(i)], static_cast<double>(expected), bound) << i;
  }
  run(guarded_x.data(), guarded_x.data());
  for (int64_t i = 0; i < n; ++i) ASSERT_EQ(guarded_x.data()[i], y[i]) << "in place " << i;
}

TEST(RowFunctionsTest, NormsAreAccurate) {
  ForEachTarget([] {
    for (const Norm norm : {Norm::kLayer, Norm::kLayerNoShift, Norm::kRms}) {
      for (const int64_t n : kLengths) ExpectNorm(norm, n, 0, 1, 1e-5F);
      for (const int64_t n : {768, 1024, 4099}) {
        ExpectNorm(norm, n, 0, 1, 1e-5F);
        ExpectNorm(norm, n, 0, 1e-3F, 1e-12F);
        ExpectNorm(norm, n, -30, 2, 1e-5F);
        ExpectNorm(norm, n, 1000, 1, 1e-6F);
      }
    }
  });
}

TEST(RowFunctionsTest, EqualElementsAreTheirMean) {
  ForEachTarget([] {
    for (const int64_t n : kLengths) {
      std::vector<float> x(static_cast<size_t>(n), 1234.567F);
      const std::vector<float> ones(x.size(), 1.0F);
      LayerNormRow(x.data(), n, ones.data(), ones.data(), 1e-5F, x.data());
      for (const float y : x) ASSERT_EQ(y, 1.0F) << n;
    }
  });
}

TEST(RowFunctionsTest, NanReachesTheWholeRowOfANorm) {
  std::vector<float> x(40, 1.0F);
  x[33] = kNan;
  const std::vector<float> ones(40, 1.0F);
  std::vector<float> y(40);
  LayerNormRow(x.data(), 40, ones.data(), nullptr, 1e-5F, y.data());
  EXPECT_TRUE(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
  RmsNormRow(x.data(), 40, ones.data(), 1e-5F, y.data());
  EXPECT_TRUE(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
}

}  // namespace
}  // namespace attnd
