#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/picture/markup.h"
#include "client/picture/svg.h"
#include "client/picture/text.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/picture_maps.h"

namespace attnd::picture {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// What is wrong with entities in text or an attribute's value; empty if nothing is.
std::string ComplaintAboutText(std::string_view text) {
  for (size_t at = text.find('&'); at != std::string_view::npos; at = text.find('&', at + 1)) {
    const std::string entity(text.substr(at, text.find(';', at) - at + 1));
    const std::set<std::string> known = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    if (!known.contains(entity)) return "no entity: " + entity;
  }
  return "";
}

// Of a start tag's insides, which are name="value" after the element's name.
std::string ComplaintAboutTag(std::string_view tag) {
  for (size_t at = tag.find(' '); at != std::string_view::npos;) {
    const size_t quote = tag.find("=\"", at);
    if (quote == std::string_view::npos) return absl::StrCat("no attribute: ", std::string(tag));
    const size_t end = tag.find('"', quote + 2);
    if (end == std::string_view::npos) return absl::StrCat("no end: ", std::string(tag));
    if (auto complaint = ComplaintAboutText(tag.substr(quote, end - quote)); !complaint.empty()) return complaint;
    at = tag.find(' ', end);
  }
  return "";
}

// As much of XML as DrawSvg uses; empty if `svg` is well-formed.
std::string ComplaintAbout(const std::string& svg) {
  if (EncodeUtf8(DecodeUtf8(svg)) != svg) return "not UTF-8";
  for (const char character : svg) {
    if (static_cast<unsigned char>(character) < ' ' && character != '\n') return "a control character";
  }
  std::vector<std::string> open;
  for (size_t at = svg.find('<'); at != std::string::npos; at = svg.find('<', at + 1)) {
    const size_t end = svg.find('>', at);
    if (end == std::string::npos) return "an open tag";
    const std::string tag = svg.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      if (open.empty() || "/" + open.back() != tag) return "closes what is not open: " + tag;
      open.pop_back();
    } else {
      if (auto complaint = ComplaintAboutTag(tag); !complaint.empty()) return complaint;
      if (tag.back() != '/') open.push_back(name);
    }
    if (auto complaint = ComplaintAboutText(svg.substr(end, svg.find('<', end) - end)); !complaint.empty()) {
      return complaint;
    }
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

std::string Drawn(const AttentionMap& map) {
  const auto svg = DrawSvg(map);
  EXPECT_THAT(svg, IsOk());
  return svg.ok() ? *svg : "";
}

TEST(EscapeMarkupTest, EscapesWhatEndsText) {
  EXPECT_EQ(EscapeMarkup("<a b='\"'>&"), "&lt;a b=&#39;&quot;&#39;&gt;&amp;");
}

TEST(DrawSvgTest, TheCheckFindsFaults) {
  EXPECT_EQ(ComplaintAbout("<svg a=\"1\"><g/>&lt;</svg>"), "");
  for (const char* svg :
       {"<svg>", "<svg></g>", "<svg a=1></svg>", "<svg>&nbsp;</svg>", "<svg>\x01</svg>", "<svg>\xFF</svg>"}) {
    EXPECT_NE(ComplaintAbout(svg), "") << svg;
  }
}

TEST(DrawSvgTest, IsWellFormed) {
  AttentionMap hidden = ThreeTokens();
  hidden.heads[0].mean.assign(9, NAN);
  for (const AttentionMap& map :
       {ThreeTokens(), GridMap(), PooledMap(), HostileMap(), AttentionMap(), MapOf({HeadMap()}), hidden}) {
    const std::string svg = Drawn(map);
    EXPECT_EQ(ComplaintAbout(svg), "");
    EXPECT_TRUE(absl::StartsWith(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" "));
  }
}

TEST(DrawSvgTest, NeedsNothingElse) {
  for (const AttentionMap& map : {ThreeTokens(), PooledMap(), HostileMap()}) {
    const std::string svg = Drawn(map);
    EXPECT_EQ(Count(svg, "://"), 1);
    EXPECT_THAT(svg, Not(HasSubstr("<script")));
    EXPECT_THAT(svg, Not(HasSubstr("<img")));
  }
}

TEST(DrawSvgTest, FewCellsHaveTitles) {
  const std::string svg = Drawn(ThreeTokens());
  EXPECT_EQ(Count(svg, "<title>"), 9);
  EXPECT_THAT(svg, HasSubstr("<title>query 1 \u201ccat\u201d, key 0 \u201cThe\u201d: 0.75</title>"));
  EXPECT_THAT(svg, HasSubstr("<title>query 0 \u201cThe\u201d, key 2 \u201csat\u201d: not visible</title>"));
}

TEST(DrawSvgTest, PooledCellsSayWhatTheyCover) {
  AttentionMap map = MapOf({CausalHead(2)});
  map.heads[0].max = {0.5F, NAN, 0.75F, 0.25F};
  map.q_len = 10;
  map.kv_len = 7;
  EXPECT_THAT(Drawn(map), HasSubstr("<title>queries 5 to 9, keys 0 to 2: mean 0.5, largest 0.75</title>"));
}

TEST(DrawSvgTest, ManyCellsAreAnImage) {
  const std::string svg = Drawn(PooledMap());
  EXPECT_EQ(Count(svg, "<image "), 1);
  EXPECT_EQ(Count(svg, "href=\"data:image/png;base64,"), 1);
  EXPECT_EQ(Count(svg, "<title>"), 0);
  EXPECT_LT(svg.size(), 1 << 20);
}

TEST(DrawSvgTest, IsLightAndDark) {
  const std::string svg = Drawn(ThreeTokens());
  EXPECT_THAT(svg, HasSubstr("@media (prefers-color-scheme:dark)"));
  EXPECT_EQ(Count(svg, ".page{fill:"), 2);
}

TEST(DrawSvgTest, IsTheSameEveryTime) {
  EXPECT_EQ(Drawn(GridMap()), Drawn(GridMap()));
  EXPECT_LT(Drawn(GridMap()).size(), 4 << 20);
}

TEST(DrawSvgTest, RefusesWhatIsTooLarge) {
  AttentionMap map = MapOf({HeadMap()});
  map.heads[0].rows = 30000;
  map.heads[0].columns = 1;
  map.heads[0].mean.assign(30000, 0);
  EXPECT_THAT(DrawSvg(map), IsError(absl::StatusCode::kInvalidArgument, "30000 pixels"));
  map.heads[0].mean.pop_back();
  EXPECT_THAT(DrawSvg(map), IsError(absl::StatusCode::kInvalidArgument, "29999 means"));
}

}  // namespace
}  // namespace attnd::picture
