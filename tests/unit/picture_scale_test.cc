#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "client/picture/color.h"
#include "client/picture/theme.h"
#include "client/picture/weight_scale.h"
#include "tests/unit/picture_maps.h"

namespace attnd::picture {
namespace {

constexpr int kSteps = 4096;

double Contrast(Color a, Color b) {
  const double brighter = std::max(Luminance(a), Luminance(b));
  return (brighter + 0.05) / (std::min(Luminance(a), Luminance(b)) + 0.05);
}

AttentionMap MapWithWeights(std::vector<float> weights) {
  HeadMap head;
  head.rows = 1;
  head.columns = static_cast<int64_t>(weights.size());
  head.mean = std::move(weights);
  return MapOf({head});
}

TEST(ColorScaleTest, GetsBrighterAllTheWay) {
  for (int i = 1; i <= kSteps; ++i) {
    const double before = Luminance(ScaleColor((i - 1.0) / kSteps));
    // Channels are rounded one by one, so that a red may fall before its green rises.
    EXPECT_GE(Luminance(ScaleColor(i * 1.0 / kSteps)), before - 1e-3) << i;
  }
  for (int i = 1; i <= 64; ++i) {
    EXPECT_GT(Luminance(ScaleColor(i / 64.0)), Luminance(ScaleColor((i - 1) / 64.0))) << i;
  }
}

TEST(ColorScaleTest, EndsWhereItsAnchorsDo) {
  EXPECT_EQ(ScaleColor(-1), ScaleAnchors().front());
  EXPECT_EQ(ScaleColor(0), ScaleAnchors().front());
  EXPECT_EQ(ScaleColor(1), ScaleAnchors().back());
  EXPECT_EQ(ScaleColor(std::numeric_limits<double>::infinity()), ScaleAnchors().back());
}

TEST(ColorScaleTest, HasNoColorOfAPage) {
  for (const Theme theme : {Theme::kLight, Theme::kDark}) {
    const Palette palette = PaletteOf(theme);
    for (int i = 0; i <= kSteps; ++i) {
      EXPECT_NE(ScaleColor(i * 1.0 / kSteps), palette.page);
      EXPECT_NE(ScaleColor(i * 1.0 / kSteps), palette.hatch);
    }
  }
}

TEST(ColorScaleTest, CanBeWrittenOn) {
  for (int i = 0; i <= kSteps; ++i) {
    const Color color = ScaleColor(i * 1.0 / kSteps);
    EXPECT_GE(Contrast(InkOn(color), color), 4.5) << i;
  }
}

TEST(ColorScaleTest, ThemesAreLegible) {
  for (const Theme theme : {Theme::kLight, Theme::kDark}) {
    const Palette palette = PaletteOf(theme);
    EXPECT_GE(Contrast(palette.ink, palette.page), 7);
    EXPECT_GE(Contrast(palette.quiet, palette.page), 4.5);
  }
}

TEST(WeightScaleTest, IsLinearWhereWeightsAreAlike) {
  const WeightScale scale = MakeWeightScale(ThreeTokens(), &HeadMap::mean);
  EXPECT_EQ(scale.root, 1);
  EXPECT_DOUBLE_EQ(scale.largest, 1);
  EXPECT_TRUE(scale.any_visible);
  EXPECT_TRUE(scale.any_hidden);
  EXPECT_DOUBLE_EQ(scale.Position(0.75F), 0.75);
}

TEST(WeightScaleTest, ShowsSmallWeightsBesideLargeOnes) {
  const WeightScale scale = MakeWeightScale(PooledMap(), &HeadMap::max);
  EXPECT_GT(scale.root, 1);
  EXPECT_GT(scale.Position(1.0F / 512), 0.15);
}

TEST(WeightScaleTest, UniformRowsAreBrightHoweverLong) {
  const WeightScale scale = MakeWeightScale(MapWithWeights(std::vector<float>(32768, 1.0F / 32768)), &HeadMap::mean);
  EXPECT_EQ(scale.root, 1);
  EXPECT_DOUBLE_EQ(scale.Position(1.0F / 32768), 1);
}

TEST(WeightScaleTest, PositionsAreInvertible) {
  WeightScale scale;
  scale.largest = 0.8;
  for (scale.root = 1; scale.root <= 4; ++scale.root) {
    for (const double position : {0.0, 0.3, 1.0}) {
      EXPECT_NEAR(scale.Position(static_cast<float>(scale.WeightAt(position))), position, 1e-6) << scale.root;
    }
  }
}

TEST(WeightScaleTest, TakesWhatIsNoWeight) {
  const float infinity = std::numeric_limits<float>::infinity();
  const WeightScale scale = MakeWeightScale(MapWithWeights({-1, infinity, -infinity, 0.5F}), &HeadMap::mean);
  EXPECT_DOUBLE_EQ(scale.largest, 0.5);
  EXPECT_FALSE(scale.any_hidden);
  EXPECT_EQ(scale.Position(-1), 0);
  EXPECT_EQ(scale.Position(infinity), 1);
  EXPECT_EQ(scale.Position(-infinity), 0);
}

TEST(WeightScaleTest, ZerosAreVisible) {
  const WeightScale scale = MakeWeightScale(MapWithWeights({0, 0}), &HeadMap::mean);
  EXPECT_TRUE(scale.any_visible);
  EXPECT_EQ(scale.largest, 0);
  EXPECT_EQ(scale.Position(0), 0);
}

}  // namespace
}  // namespace attnd::picture
