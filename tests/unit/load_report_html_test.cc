#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "client/load/report_html.h"
#include "client/load/result_json.h"
#include "client/load/units.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/simulated_load.h"

namespace attnd::load {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBegin[] = R"(<script type="application/json" id="report">)";
constexpr char kEnd[] = "</script>";

std::string JsonOf(const std::string& message) {
  LoadReport report;
  report.runs.push_back(Simulate({}));
  report.runs[0].statuses["INTERNAL"] = {1, message};
  return ToJson(report);
}

// What the page's script reads.
std::string JsonIn(const std::string& page) {
  const size_t begin = page.find(kBegin) + sizeof(kBegin) - 1;
  return page.substr(begin, page.find(kEnd, begin) - begin);
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(RenderHtmlTest, ContainsTheReportAsItIs) {
  const std::string text = JsonOf("plain");
  const auto page = RenderHtml("run.json", text);
  ASSERT_THAT(page, IsOk());
  EXPECT_EQ(json::parse(JsonIn(*page)), json::parse(text));
}

TEST(RenderHtmlTest, IsNotBrokenByWhatServersSay) {
  const std::string message =
      "</script><script>alert('&amp;')</script><!-- {{script}} \xE2\x80\xA8 \xE2\x80\xA9 \xC3\xA4";
  const auto page = RenderHtml("run.json", JsonOf(message));
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(*page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(*page, Not(HasSubstr("\xE2\x80\xA8")));
  EXPECT_THAT(*page, Not(HasSubstr("\xE2\x80\xA9")));
  EXPECT_EQ(json::parse(JsonIn(*page))["runs"][0]["statuses"]["INTERNAL"]["first_message"], message);
  EXPECT_EQ(Count(*page, kEnd), Count(*RenderHtml("run.json", JsonOf("plain")), kEnd));
}

TEST(RenderHtmlTest, FillsEveryPlaceOfTheTemplate) {
  const auto page = RenderHtml("run.json", JsonOf("plain"));
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(*page, Not(HasSubstr("{{")));
  EXPECT_THAT(*page, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(*page, HasSubstr("const Charts ="));
  EXPECT_THAT(*page, HasSubstr("Runs.start();"));
}

TEST(RenderHtmlTest, HasATableForWhereNoScriptRuns) {
  LoadReport report;
  report.runs.push_back(Simulate({}));
  const auto page = RenderHtml("run.json", ToJson(report));
  ASSERT_THAT(page, IsOk());
  const size_t begin = page->find("<pre>");
  const std::string table = page->substr(begin, page->find("</pre>", begin) - begin);
  EXPECT_THAT(table, HasSubstr("\n100/s poisson "));
  EXPECT_THAT(table, HasSubstr("  " + FormatSeconds(report.runs[0].response.Percentile(0.99)) + "  "));
}

TEST(RenderHtmlTest, NeedsNothingFromANetwork) {
  const auto page = RenderHtml("run.json", JsonOf("plain"));
  ASSERT_THAT(page, IsOk());
  EXPECT_THAT(*page, HasSubstr("default-src 'none'"));
  for (const char* reference : {"src=", "@import", "url(", "fetch(", "https:"}) {
    EXPECT_THAT(*page, Not(HasSubstr(reference)));
  }
  // A name of XML's, which nobody looks up.
  EXPECT_EQ(Count(*page, "http:"), Count(*page, "http://www.w3.org/2000/svg"));
}

TEST(RenderHtmlTest, RefusesWhatIsNoReport) {
  EXPECT_THAT(RenderHtml("run.json", "{}"),
              IsError(absl::StatusCode::kInvalidArgument, "run.json is not a report of attnctl load"));
}

}  // namespace
}  // namespace attnd::load
