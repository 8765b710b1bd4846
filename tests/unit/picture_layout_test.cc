#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "client/picture/font.h"
#include "client/picture/layout.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/picture_maps.h"

namespace attnd::picture {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class LayoutTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(font_, IsOk()); }

  absl::StatusOr<Layout> Lay(const AttentionMap& map) {
    if (auto status = CheckMap(map); !status.ok()) return status;
    return MakeLayout(map, MakeWeightScale(map, &HeadMap::mean), *font_);
  }

  // Where the label's text begins and ends, in the direction it goes.
  [[nodiscard]] Box BoundsOf(const Label& label) const {
    const double width = font_->Width(label.text, label.place.size);
    double before = 0;
    if (label.anchor == Anchor::kMiddle) before = width / 2;
    if (label.anchor == Anchor::kEnd) before = width;
    const auto size = static_cast<int>(label.place.size);
    const auto length = static_cast<int>(width);
    const auto x = static_cast<int>(label.place.x);
    const auto y = static_cast<int>(label.place.y);
    const auto back = static_cast<int>(before);
    return label.place.upward ? Box{x - size, y + back - length, size, length} : Box{x - back, y - size, length, size};
  }

  void ExpectEverythingInside(const Layout& layout) {
    const auto inside = [&](const Box& box, const std::string& what) {
      EXPECT_GE(box.x, 0) << what;
      EXPECT_GE(box.y, 0) << what;
      EXPECT_LE(box.x + box.width, layout.width) << what;
      EXPECT_LE(box.y + box.height, layout.height) << what;
    };
    for (const Panel& panel : layout.panels) inside(panel.box, "head");
    for (const Label& label : layout.labels) inside(BoundsOf(label), label.text);
    for (const Box& tick : layout.ticks) inside(tick, "tick");
    inside(layout.scale_bar, "scale");
    inside(layout.hidden_sample, "sample");
  }

  static int Count(const Layout& layout, const std::string& text) {
    return static_cast<int>(std::count_if(layout.labels.begin(), layout.labels.end(),
                                          [&text](const Label& label) { return label.text == text; }));
  }

  absl::StatusOr<Font> font_ = Font::Load();
};

TEST_F(LayoutTest, FewCellsAreLarge) {
  const auto layout = Lay(ThreeTokens());
  ASSERT_THAT(layout, IsOk());
  ASSERT_EQ(layout->panels.size(), 1);
  EXPECT_EQ(layout->panels[0].cell_width, 56);
  EXPECT_EQ(layout->panels[0].box.width, 3 * 56);
  EXPECT_GT(layout->value_size, 0);
  for (const char* text : {"The", "cat", "sat"}) EXPECT_EQ(Count(*layout, text), 2) << text;
  for (const char* text : {"query", "key", "layer 2, head 7", "previous token 0.61", "entropy 0.52 nats"}) {
    EXPECT_EQ(Count(*layout, text), 1) << text;
  }
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, AGridOfHeadsFitsAScreen) {
  const auto layout = Lay(GridMap());
  ASSERT_THAT(layout, IsOk());
  ASSERT_EQ(layout->panels.size(), 72);
  EXPECT_THAT(layout->width, AllOf(Ge(1200), Le(2400)));
  EXPECT_GE(layout->panels[0].cell_width, 8);
  EXPECT_EQ(layout->value_size, 0);
  EXPECT_EQ(Count(*layout, "layer 5"), 1);
  EXPECT_EQ(Count(*layout, "head 11"), 1);
  // At the left of 6 rows and above 12 columns.
  EXPECT_EQ(Count(*layout, "token3"), 18);
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, ManyCellsHaveAPixelAndIndices) {
  const auto layout = Lay(PooledMap());
  ASSERT_THAT(layout, IsOk());
  EXPECT_GE(layout->panels[0].cell_width, 1);
  EXPECT_GT(Count(*layout, "10000"), 0);
  EXPECT_EQ(Count(*layout, "each cell: 64 \u00d7 64 pairs"), 1);
  EXPECT_FALSE(layout->ticks.empty());
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, HeadsDoNotOverlap) {
  AttentionMap map = MapOf({CausalHead(5), CausalHead(9), CausalHead(1), CausalHead(40)}, 3);
  map.heads[1].pattern = "a pattern with quite a long name that would reach beyond its head";
  const auto layout = Lay(map);
  ASSERT_THAT(layout, IsOk());
  ASSERT_EQ(layout->panels.size(), 4);
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_GT(layout->panels[i].box.x, layout->panels[i - 1].box.x + layout->panels[i - 1].box.width);
  }
  EXPECT_GT(layout->panels[3].box.y, layout->panels[1].box.y + layout->panels[1].box.height);
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, LongTokensAreElided) {
  AttentionMap map = ThreeTokens();
  map.query_tokens[1] = std::string(100000, 'w');
  map.key_tokens[1] = std::string(100000, 'w');
  map.title = std::string(100000, 't');
  const auto layout = Lay(map);
  ASSERT_THAT(layout, IsOk());
  EXPECT_LT(layout->width, 1200);
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, ManyTokensAreEveryNth) {
  AttentionMap map = MapOf({CausalHead(400)});
  for (int i = 0; i < 400; ++i) map.key_tokens.push_back("t" + std::to_string(i));
  const auto layout = Lay(map);
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(Count(*layout, "t0"), 1);
  EXPECT_EQ(Count(*layout, "t1"), 0);
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, OneQueryIsNoLine) {
  HeadMap head;
  head.rows = 1;
  head.columns = 2000;
  head.mean.assign(2000, 0.0005F);
  const auto layout = Lay(MapOf({head}));
  ASSERT_THAT(layout, IsOk());
  EXPECT_GE(layout->panels[0].box.height, 40);
  ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, SaysWhatIsEmpty) {
  const auto none = Lay(AttentionMap());
  ASSERT_THAT(none, IsOk());
  EXPECT_EQ(Count(*none, "no heads to show"), 1);
  const auto no_queries = Lay(MapOf({HeadMap()}));
  ASSERT_THAT(no_queries, IsOk());
  EXPECT_EQ(Count(*no_queries, "no queries"), 1);
  HeadMap head = CausalHead(2);
  head.mean.assign(4, NAN);
  const auto hidden = Lay(MapOf({head}));
  ASSERT_THAT(hidden, IsOk());
  EXPECT_EQ(Count(*hidden, "nothing is visible"), 1);
  EXPECT_EQ(hidden->scale_bar.width, 0);
  for (const auto& layout : {none, no_queries, hidden}) ExpectEverythingInside(*layout);
}

TEST_F(LayoutTest, RefusesWhatIsTooLarge) {
  const auto heads_of = [](int64_t rows, int64_t columns) {
    HeadMap head;
    head.rows = rows;
    head.columns = columns;
    head.mean.assign(static_cast<size_t>(rows * columns), 0);
    return head;
  };
  EXPECT_THAT(Lay(MapOf({heads_of(1, 25000)})), IsError(kInvalid, "25000 x 1 pixels"));
  EXPECT_THAT(Lay(MapOf({heads_of(25000, 1)})), IsError(kInvalid, "at most 20000 on a side"));
  EXPECT_THAT(Lay(MapOf(std::vector<HeadMap>(400, heads_of(2, 100)), 400)), IsError(kInvalid, "show fewer heads"));
  EXPECT_THAT(Lay(MapOf(std::vector<HeadMap>(5000, heads_of(1, 1)), 1)), IsError(kInvalid, "show fewer heads"));
}

TEST_F(LayoutTest, RefusesSizesThatContradict) {
  AttentionMap map = MapOf({CausalHead(3), CausalHead(3)});
  map.heads[1].mean.pop_back();
  EXPECT_THAT(Lay(map), IsError(kInvalid, "head 1 of the picture: [3, 3] cells have 8 means"));
  map.heads[1] = CausalHead(3);
  map.heads[1].max = {1};
  EXPECT_THAT(Lay(map), IsError(kInvalid, "1 maxima"));
  map.heads[1].max.clear();
  map.heads[1].rows = -3;
  EXPECT_THAT(Lay(map), IsError(kInvalid, "[-3, 3]"));
  map.heads[1].rows = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(Lay(map), IsError(kInvalid, "cannot be drawn"));
  map.heads.pop_back();
  map.grid_columns = 0;
  EXPECT_THAT(Lay(map), IsError(kInvalid, "no columns"));
}

}  // namespace
}  // namespace attnd::picture
