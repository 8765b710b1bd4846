#include "client/load/report_html.h"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "client/fill_page.h"
#include "client/load/report_page.h"
#include "client/load/result_json.h"
#include "client/load/units.h"

namespace attnd::load {
namespace {

// JSON that ends neither its element nor, in a reader that takes it for JavaScript, a line:
// these characters stand in strings only, where an escape means the same.
std::string EscapeForScript(const std::string& json) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kEscapes = {
      {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}, {"\xE2\x80\xA8", "\\u2028"}, {"\xE2\x80\xA9", "\\u2029"}}};
  std::string escaped;
  escaped.reserve(json.size() + json.size() / 16);
  for (size_t at = 0; at < json.size();) {
    size_t length = 1;
    std::string_view text(&json[at], 1);
    for (const auto& [from, to] : kEscapes) {
      if (json.compare(at, from.size(), from) != 0) continue;
      length = from.size();
      text = to;
    }
    escaped += text;
    at += length;
  }
  return escaped;
}

std::string EscapeForHtml(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// What shows where no script runs.
std::string PlainTable(const ReadReport& report) {
  constexpr std::array<std::pair<const char*, const char*>, 7> kColumns = {{
      {"throughput_per_second", "answered/s"},
      {"response_p50_seconds", "p50"},
      {"response_p90_seconds", "p90"},
      {"response_p99_seconds", "p99"},
      {"response_p99_9_seconds", "p99.9"},
      {"response_max_seconds", "max"},
      {"service_p99_seconds", "service p99"},
  }};
  std::vector<std::vector<std::string>> rows = {{"response time"}};
  for (const auto& [key, title] : kColumns) rows.front().emplace_back(title);
  for (const ReadRun& run : report.runs) {
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(run.point);
    for (const auto& [key, title] : kColumns) {
      std::string& cell = row.emplace_back("-");
      for (const Measure& measure : run.measures) {
        if (measure.key != key || !measure.value.has_value()) continue;
        cell = absl::EndsWith(key, "per_second") ? FormatNumber(*measure.value) : FormatSeconds(*measure.value);
      }
    }
  }
  return EscapeForHtml(FormatColumns(rows));
}

}  // namespace

absl::StatusOr<std::string> RenderHtml(const std::string& name, const std::string& json) {
  const auto report = ReadJson(name, json);
  if (!report.ok()) return report.status();
  const std::array<std::pair<std::string_view, std::string>, 5> parts = {{{"{{style}}", kPageStyle},
                                                                          {"{{plain}}", PlainTable(*report)},
                                                                          {"{{report}}", EscapeForScript(json)},
                                                                          {"{{charts}}", kPageCharts},
                                                                          {"{{script}}", kPageScript}}};
  return FillPage(kPageHtml, parts);
}

}  // namespace attnd::load
