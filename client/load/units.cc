#include "client/load/units.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace attnd::load {
namespace {

struct Unit {
  double size;
  const char* name;
};

constexpr std::array kTimes = {Unit{1e-9, "ns"}, Unit{1e-6, "us"}, Unit{1e-3, "ms"}, Unit{1, "s"}};
constexpr std::array kSizes = {Unit{1, "B"}, Unit{1e3, "kB"}, Unit{1e6, "MB"}, Unit{1e9, "GB"}, Unit{1e12, "TB"}};
constexpr std::array kCounts = {Unit{1, ""}, Unit{1e3, "k"}, Unit{1e6, "M"}, Unit{1e9, "G"}, Unit{1e12, "T"}};

// Three significant digits, all digits before the point.
std::string ThreeDigits(double value) {
  const double size = std::fabs(value);
  if (size >= 99.95) return absl::StrFormat("%.0f", value);
  if (size >= 9.995) return absl::StrFormat("%.1f", value);
  if (size >= 0.9995 || size == 0) return absl::StrFormat("%.2f", value);
  if (size < 1e-6) return absl::StrFormat("%.2e", value);
  return absl::StrFormat("%.*f", 2 - static_cast<int>(std::floor(std::log10(size * 1.0005))), value);
}

// In the largest unit in which it is at least 1 once rounded.
std::string InUnits(double value, std::span<const Unit> units, const char* space) {
  const Unit* chosen = &units.front();
  for (const Unit& unit : units) {
    if (std::fabs(value) >= 0.9995 * unit.size) chosen = &unit;
  }
  return absl::StrCat(ThreeDigits(value / chosen->size), space, chosen->name);
}

bool ContinuesCharacter(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// In characters, of text in UTF-8.
size_t WidthOf(const std::string& text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), ContinuesCharacter));
}

}  // namespace

std::string FormatSeconds(double seconds) { return seconds == 0 ? "0 s" : InUnits(seconds, kTimes, " "); }

std::string FormatNumber(double number) {
  if (number == 0) return "0";
  // Four digits are as short as a unit.
  return std::fabs(number) < 9999.5 ? ThreeDigits(number) : InUnits(number, kCounts, "");
}

std::string FormatBytes(double bytes) {
  return std::fabs(bytes) < 999.5 ? absl::StrFormat("%.0f B", bytes) : InUnits(bytes, kSizes, " ");
}

std::string FormatPercent(double share) {
  if (share == 0) return "0 %";
  // Enough digits that the distance to 0 and to 1 shows.
  const double distance = 100 * std::min(std::fabs(share), share < 1 ? 1 - share : 1);
  const int decimals =
      distance >= 10 || distance == 0 ? 0 : std::clamp(1 - static_cast<int>(std::floor(std::log10(distance))), 1, 9);
  std::string digits = absl::StrFormat("%.*f", decimals, 100 * share);
  if (digits.find('.') != std::string::npos) {
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.pop_back();
  }
  return digits + " %";
}

std::string FormatCount(int64_t count) {
  const std::string digits = absl::StrCat(count);
  const size_t first = count < 0 ? 1 : 0;
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string FormatColumns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], WidthOf(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - WidthOf(row[i]), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", i == 0 ? row[i] + padding : padding + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string Wrap(const std::string& text, int width, int indent) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ');
  std::string wrapped = words.front();
  size_t column = WidthOf(wrapped);
  for (size_t i = 1; i < words.size(); ++i) {
    // A percent sign stays with its number.
    const bool percent = i + 1 < words.size() && !words[i + 1].empty() && words[i + 1].front() == '%';
    const size_t needed = WidthOf(words[i]) + (percent ? 1 + WidthOf(words[i + 1]) : 0);
    if (column + 1 + needed > static_cast<size_t>(width)) {
      absl::StrAppend(&wrapped, "\n", std::string(static_cast<size_t>(indent), ' '));
      column = static_cast<size_t>(indent);
    } else {
      wrapped += ' ';
      ++column;
    }
    wrapped += words[i];
    column += WidthOf(words[i]);
  }
  return wrapped;
}

}  // namespace attnd::load
