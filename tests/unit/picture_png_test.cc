#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>

#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "client/picture/color.h"
#include "client/picture/font.h"
#include "client/picture/layout.h"
#include "client/picture/png.h"
#include "client/picture/weight_scale.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/picture_maps.h"

namespace attnd::picture {
namespace {

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;

  [[nodiscard]] Color At(int x, int y) const {
    const size_t at = (static_cast<size_t>(y) * static_cast<size_t>(width) + static_cast<size_t>(x)) * 3;
    return {pixels[at], pixels[at + 1], pixels[at + 2]};
  }
};

Image Decode(const std::string& bytes) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0) << image.message;
  EXPECT_EQ(image.format, static_cast<png_uint_32>(PNG_FORMAT_RGB));
  Image decoded = {static_cast<int>(image.width), static_cast<int>(image.height), {}};
  decoded.pixels.resize(PNG_IMAGE_SIZE(image));
  EXPECT_NE(png_image_finish_read(&image, nullptr, decoded.pixels.data(), 0, nullptr), 0) << image.message;
  return decoded;
}

Image Drawn(const AttentionMap& map, Theme theme) {
  const auto bytes = DrawPng(map, theme);
  EXPECT_THAT(bytes, IsOk());
  return bytes.ok() ? Decode(*bytes) : Image();
}

Layout LayoutOf(const AttentionMap& map) {
  const auto font = Font::Load();
  const auto layout = MakeLayout(map, MakeWeightScale(map, &HeadMap::mean), *font);
  EXPECT_THAT(layout, IsOk());
  return *layout;
}

// Away from the value in the cell's middle.
Color CellColor(const Image& image, const Layout& layout, int row, int column) {
  const Box box = CellBox(layout, layout.panels[0], row, column);
  return image.At(box.x + box.width / 8, box.y + box.height / 8);
}

std::set<std::tuple<int, int, int>> ColorsIn(const Image& image, const Box& box) {
  std::set<std::tuple<int, int, int>> colors;
  for (int y = box.y; y < box.y + box.height; ++y) {
    for (int x = box.x; x < box.x + box.width; ++x) {
      const Color color = image.At(x, y);
      colors.insert({color.red, color.green, color.blue});
    }
  }
  return colors;
}

class DrawPngTest : public ::testing::TestWithParam<Theme> {};

INSTANTIATE_TEST_SUITE_P(Themes, DrawPngTest, ::testing::Values(Theme::kLight, Theme::kDark),
                         [](const auto& test) { return test.param == Theme::kLight ? "Light" : "Dark"; });

TEST_P(DrawPngTest, IsTheSameEveryTime) {
  for (const AttentionMap& map : {ThreeTokens(), GridMap(), PooledMap(), HostileMap()}) {
    const auto first = DrawPng(map, GetParam());
    const auto second = DrawPng(map, GetParam());
    ASSERT_THAT(first, IsOk());
    EXPECT_EQ(*first, *second);
    EXPECT_EQ(first->find("tIME"), std::string::npos);
  }
}

TEST_P(DrawPngTest, IsAsLargeAsItsLayout) {
  for (const AttentionMap& map : {ThreeTokens(), GridMap(), PooledMap()}) {
    const Image image = Drawn(map, GetParam());
    const Layout layout = LayoutOf(map);
    EXPECT_EQ(image.width, layout.width);
    EXPECT_EQ(image.height, layout.height);
  }
}

TEST_P(DrawPngTest, CellsHaveTheColorsOfTheirWeights) {
  const AttentionMap map = ThreeTokens();
  const Image image = Drawn(map, GetParam());
  const Layout layout = LayoutOf(map);
  EXPECT_EQ(CellColor(image, layout, 0, 0), ScaleColor(1));
  EXPECT_EQ(CellColor(image, layout, 1, 0), ScaleColor(0.75));
  EXPECT_EQ(CellColor(image, layout, 1, 1), ScaleColor(0.25));
  EXPECT_EQ(CellColor(image, layout, 2, 0), ScaleColor(0));
}

TEST_P(DrawPngTest, HiddenCellsAreNoWeights) {
  const AttentionMap map = ThreeTokens();
  const Image image = Drawn(map, GetParam());
  const Layout layout = LayoutOf(map);
  const auto hidden = ColorsIn(image, CellBox(layout, layout.panels[0], 0, 2));
  const Palette palette = PaletteOf(GetParam());
  const auto tuple_of = [](Color color) { return std::tuple<int, int, int>(color.red, color.green, color.blue); };
  EXPECT_THAT(hidden, ::testing::UnorderedElementsAre(tuple_of(palette.page), tuple_of(palette.hatch)));
  for (int i = 0; i <= 4096; ++i) EXPECT_FALSE(hidden.contains(tuple_of(ScaleColor(i / 4096.0)))) << i;
}

TEST_P(DrawPngTest, SmallCellsAreDrawnOneByOne) {
  const AttentionMap map = PooledMap();
  const Image image = Drawn(map, GetParam());
  const Layout layout = LayoutOf(map);
  const WeightScale scale = MakeWeightScale(map, &HeadMap::mean);
  for (const int row : {0, 1, 100, 511}) {
    for (const int column : {0, 1, 100, 511}) {
      const float weight = map.heads[0].mean[CellAt(map.heads[0], row, column)];
      const Color color = CellColor(image, layout, row, column);
      if (std::isnan(weight)) {
        EXPECT_TRUE(color == PaletteOf(GetParam()).page || color == PaletteOf(GetParam()).hatch);
      } else {
        EXPECT_EQ(color, ScaleColor(scale.Position(weight))) << row << " " << column;
      }
    }
  }
}

TEST_P(DrawPngTest, ValuesAreWrittenIntoLargeCells) {
  const AttentionMap map = ThreeTokens();
  const Image image = Drawn(map, GetParam());
  const Layout layout = LayoutOf(map);
  EXPECT_GT(ColorsIn(image, CellBox(layout, layout.panels[0], 1, 0)).size(), 2);
}

TEST_P(DrawPngTest, DrawsWhatIsEmpty) {
  HeadMap hidden = CausalHead(3);
  hidden.mean.assign(9, NAN);
  HeadMap no_keys;
  no_keys.rows = 5;
  for (const AttentionMap& map : {AttentionMap(), MapOf({HeadMap()}), MapOf({no_keys}), MapOf({hidden}),
                                  MapOf({HeadMap(), hidden, CausalHead(3)}, 2)}) {
    const Image image = Drawn(map, GetParam());
    EXPECT_GT(ColorsIn(image, {0, 0, image.width, image.height}).size(), 2);
  }
}

TEST_P(DrawPngTest, DrawsTokensOfAnyBytes) {
  AttentionMap map = HostileMap();
  EXPECT_THAT(DrawPng(map, GetParam()), IsOk());
  for (unsigned byte = 0; byte < 256; ++byte) {
    map.key_tokens[0] = std::string(3, static_cast<char>(byte));
    EXPECT_THAT(DrawPng(map, GetParam()), IsOk()) << byte;
  }
}

TEST_P(DrawPngTest, TakesFewerOrMoreNamesThanThereAreCells) {
  AttentionMap map = ThreeTokens();
  map.query_tokens.resize(1);
  map.key_tokens.resize(10, "more");
  map.row_titles = {"one", "two", "three"};
  map.column_titles = {""};
  EXPECT_THAT(DrawPng(map, GetParam()), IsOk());
}

TEST_P(DrawPngTest, RefusesWhatIsTooLarge) {
  AttentionMap map = MapOf({HeadMap()});
  map.heads[0].rows = 1;
  map.heads[0].columns = 30000;
  map.heads[0].mean.assign(30000, 0);
  EXPECT_THAT(DrawPng(map, GetParam()), IsError(absl::StatusCode::kInvalidArgument, "30000 x 1 pixels"));
}

}  // namespace
}  // namespace attnd::picture
