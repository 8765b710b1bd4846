#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "client/picture/html.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/picture_maps.h"

namespace attnd::picture {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBegin[] = R"(<script type="application/json" id="data">)";
constexpr char kEnd[] = "</script>";

std::string Drawn(const AttentionMap& map) {
  const auto page = DrawHtml(map);
  EXPECT_THAT(page, IsOk());
  return page.ok() ? *page : "";
}

// What the page's script reads.
std::string DataIn(const std::string& page) {
  const size_t begin = page.find(kBegin) + sizeof(kBegin) - 1;
  return page.substr(begin, page.find(kEnd, begin) - begin);
}

json Parsed(const AttentionMap& map) { return json::parse(DataIn(Drawn(map))); }

// The page's script does the same.
std::vector<float> WeightsIn(const json& data, const json& encoded) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(encoded.get<std::string>(), &bytes));
  const size_t width = data["encoding"] == "float32" ? 4 : 2;
  std::vector<float> weights(bytes.size() / width);
  for (size_t i = 0; i < weights.size(); ++i) {
    uint32_t bits = 0;
    for (size_t j = 0; j < width; ++j) {
      bits |= uint32_t{static_cast<unsigned char>(bytes[i * width + j])} << (8 * (4 - width + j));
    }
    weights[i] = std::bit_cast<float>(bits);
  }
  return weights;
}

// `page` without what the map put into it.
std::string WithoutData(const std::string& page) {
  const size_t begin = page.find(kBegin);
  return page.substr(0, begin) + page.substr(page.find(kEnd, begin));
}

TEST(DrawHtmlTest, ContainsTheMap) {
  const AttentionMap map = ThreeTokens();
  const json data = Parsed(map);
  EXPECT_EQ(data["queryTokens"], json({"The", "cat", "sat"}));
  EXPECT_EQ(data["heads"].size(), 1);
  const json& head = data["heads"][0];
  EXPECT_EQ(head["rows"], 3);
  EXPECT_EQ(head["caption"], json({"previous token 0.61", "entropy 0.52 nats"}));
  EXPECT_FALSE(head["pooled"]);
  EXPECT_FALSE(head.contains("max"));
  const std::vector<float> weights = WeightsIn(data, head["mean"]);
  ASSERT_EQ(weights.size(), 9);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_TRUE(std::isnan(weights[i]) ? std::isnan(map.heads[0].mean[i]) : weights[i] == map.heads[0].mean[i]) << i;
  }
}

TEST(DrawHtmlTest, PooledMapsHaveMeansAndMaxima) {
  AttentionMap map = PooledMap();
  for (float& weight : map.heads[0].max) weight *= 2;
  const json data = Parsed(map);
  EXPECT_TRUE(data["heads"][0]["pooled"]);
  EXPECT_EQ(WeightsIn(data, data["heads"][0]["max"])[512], 1);
  EXPECT_EQ(data["scales"]["mean"]["largest"], 1);
  EXPECT_EQ(data["scales"]["max"]["largest"], 2);
  EXPECT_EQ(data["keys"], 32768);
}

TEST(DrawHtmlTest, ManyWeightsAreShorter) {
  const AttentionMap map = MapOf({CausalHead(1100)});
  const json data = Parsed(map);
  EXPECT_EQ(data["encoding"], "bfloat16");
  const std::vector<float> weights = WeightsIn(data, data["heads"][0]["mean"]);
  ASSERT_EQ(weights.size(), map.heads[0].mean.size());
  for (size_t i = 0; i < weights.size(); i += 997) {
    const float weight = map.heads[0].mean[i];
    if (std::isnan(weight)) {
      EXPECT_TRUE(std::isnan(weights[i])) << i;
    } else {
      EXPECT_NEAR(weights[i], weight, std::ldexp(weight, -8)) << i;
    }
  }
}

TEST(DrawHtmlTest, TextsRemainText) {
  const AttentionMap map = HostileMap();
  const std::string page = Drawn(map);
  const std::string data = DataIn(page);
  EXPECT_EQ(data.find_first_of("<>&"), std::string::npos);
  for (const char character : data) ASSERT_TRUE(character >= ' ' && character <= '~');
  EXPECT_EQ(WithoutData(page), WithoutData(Drawn(ThreeTokens())));
  const json parsed = json::parse(data);
  EXPECT_EQ(parsed["queryTokens"][0], map.query_tokens[0]);
  EXPECT_EQ(parsed["queryTokens"][1], map.query_tokens[1]);
  EXPECT_EQ(parsed["keyTokens"][0], "\ufffd\ufffd\ufffd");
  EXPECT_EQ(parsed["title"], "</script><script>alert('title')</script> \ufffd {{data}}");
}

TEST(DrawHtmlTest, SetsTextsOnlyAsText) {
  const std::string page = Drawn(ThreeTokens());
  for (const char* way : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("}) {
    EXPECT_THAT(page, Not(HasSubstr(way)));
  }
}

TEST(DrawHtmlTest, NeedsNoNetwork) {
  const std::string page = Drawn(ThreeTokens());
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, Not(HasSubstr("://")));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
}

TEST(DrawHtmlTest, SaysWhatIsEmpty) {
  EXPECT_EQ(Parsed(AttentionMap())["heads"], json::array());
  AttentionMap map = ThreeTokens();
  map.heads[0].mean.assign(9, NAN);
  const json data = Parsed(map);
  EXPECT_EQ(data["heads"][0]["caption"][0], "nothing is visible");
  EXPECT_FALSE(data["scales"]["mean"]["anyVisible"]);
  EXPECT_EQ(Parsed(MapOf({HeadMap()}))["heads"][0]["caption"], json({"no queries"}));
}

TEST(DrawHtmlTest, RefusesWhatBrowsersCannotTake) {
  AttentionMap map = MapOf({HeadMap()});
  map.heads[0].rows = 40000;
  map.heads[0].columns = 1;
  map.heads[0].mean.assign(40000, 0);
  EXPECT_THAT(DrawHtml(map), IsError(absl::StatusCode::kInvalidArgument, "[40000, 1] cells is too large"));
  map.heads[0].mean.pop_back();
  EXPECT_THAT(DrawHtml(map), IsError(absl::StatusCode::kInvalidArgument, "39999 means"));
}

}  // namespace
}  // namespace attnd::picture
