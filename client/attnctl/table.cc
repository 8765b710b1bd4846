#include "client/attnctl/table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace attnd::attnctl {
namespace {

constexpr size_t kFirstValues = 6;

enum class Notation { kFixed, kScientific };

std::string Format(float value, Notation notation) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return notation == Notation::kFixed ? absl::StrFormat("%.6f", value) : absl::StrFormat("%.6e", value);
}

// Six decimals, unless the largest number would lose its digits in them.
Notation NotationFor(const MatrixView& matrix) {
  float largest = 0;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t column = 0; column < matrix.columns; ++column) {
      const float magnitude = std::fabs(matrix.values[row * matrix.row_stride + column]);
      if (std::isfinite(magnitude)) largest = std::max(largest, magnitude);
    }
  }
  return largest == 0 || (largest >= 1e-3F && largest < 1e6F) ? Notation::kFixed : Notation::kScientific;
}

size_t Widest(const std::vector<std::string>& texts) {
  size_t width = 0;
  for (const std::string& text : texts) width = std::max(width, text.size());
  return width;
}

std::string PadLeft(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string PadRight(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, text.size()), ' ');
}

}  // namespace

std::string FormatMatrix(const MatrixView& matrix, const std::vector<std::string>& row_labels,
                         const std::vector<std::string>& column_labels) {
  const Notation notation = NotationFor(matrix);
  std::vector<std::string> cells;
  for (int64_t row = 0; row < matrix.rows; ++row) {
    for (int64_t column = 0; column < matrix.columns; ++column) {
      cells.push_back(Format(matrix.values[row * matrix.row_stride + column], notation));
    }
  }
  const size_t width = std::max(Widest(cells), Widest(column_labels)) + 2;
  const size_t label_width = Widest(row_labels);
  const auto line_start = [&](const std::string& label) {
    return row_labels.empty() ? std::string() : "  " + PadRight(label, label_width);
  };

  std::string text;
  if (!column_labels.empty()) {
    text += line_start("");
    for (const std::string& label : column_labels) text += PadLeft(label, width);
    text += '\n';
  }
  const auto columns = static_cast<size_t>(matrix.columns);
  for (size_t row = 0; row < static_cast<size_t>(matrix.rows); ++row) {
    text += line_start(row_labels.empty() ? "" : row_labels.at(row));
    for (size_t column = 0; column < columns; ++column) text += PadLeft(cells.at(row * columns + column), width);
    text += '\n';
  }
  return text;
}

std::string Summarize(std::span<const float> values) {
  float smallest = std::numeric_limits<float>::infinity();
  float largest = -smallest;
  double sum = 0;
  size_t finite = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
    sum += static_cast<double>(value);
    ++finite;
  }
  std::string text;
  if (finite > 0) {
    text = absl::StrFormat("min %.6g, mean %.6g, max %.6g over %d values", smallest, sum / static_cast<double>(finite),
                           largest, finite);
  }
  if (finite < values.size()) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", values.size() - finite, " not finite");
  }
  if (values.empty()) return "no values";
  absl::StrAppend(&text, "; first");
  for (const float value : values.first(std::min(kFirstValues, values.size()))) {
    absl::StrAppend(&text, " ", absl::StrFormat("%.6g", value));
  }
  return values.size() > kFirstValues ? text + " ..." : text;
}

std::string FormatPairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  size_t width = 0;
  for (const auto& [name, value] : pairs) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : pairs) absl::StrAppend(&text, PadRight(name, width + 2), value, "\n");
  return text;
}

std::string FormatColumns(const std::vector<std::vector<std::string>>& lines, const std::set<size_t>& left) {
  std::vector<size_t> widths(lines.empty() ? 0 : lines.front().size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    for (size_t i = 0; i < widths.size(); ++i) {
      text += "  " + (left.contains(i) ? PadRight(line[i], widths[i]) : PadLeft(line[i], widths[i]));
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace attnd::attnctl
