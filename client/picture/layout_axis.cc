#include "client/picture/layout_axis.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/picture/text.h"

namespace attnd::picture {
namespace {

constexpr double kLeastText = 10;
constexpr double kMostText = 13;
constexpr double kLongestToken = 110;
constexpr int kTick = 4;
constexpr int kSpace = 6;

double WidestMark(const Axis& axis, const Font& font) {
  double widest = 0;
  for (const Axis::Mark& mark : axis.marks) widest = std::max(widest, font.Width(mark.text, axis.text_size));
  return widest;
}

// Spaces around a word only move it.
std::string Trimmed(const std::string& token) {
  const size_t first = token.find_first_not_of(' ');
  if (first == std::string::npos) return token;
  return token.substr(first, token.find_last_not_of(' ') - first + 1);
}

void AddTokens(const AxisInput& input, const Font& font, Axis& axis) {
  // Lines of text need a little more than their size.
  const auto step = static_cast<int64_t>(std::ceil((axis.text_size + 1) / input.cell_size));
  const int64_t count = std::min(input.cells, static_cast<int64_t>(input.tokens->size()));
  for (int64_t i = 0; i < count; i += step) {
    const std::string token = Displayable(Trimmed((*input.tokens)[static_cast<size_t>(i)]), 40);
    axis.marks.push_back({font.Elide(token, axis.text_size, kLongestToken),
                          (static_cast<double>(i) + 0.5) * static_cast<double>(input.cell_size)});
  }
  axis.ticks = step > 1;
  axis.upward = input.across && (step > 1 || WidestMark(axis, font) > input.cell_size - kSpace);
}

// The least of 1, 2, 5, 10, 20, ... that is at least `step`.
int64_t RoundStep(double step) {
  int64_t power = 1;
  while (static_cast<double>(power) * 10 < step) power *= 10;
  for (const int64_t factor : {1, 2, 5}) {
    if (static_cast<double>(factor * power) >= step) return factor * power;
  }
  return 10 * power;
}

void AddIndices(const AxisInput& input, const Font& font, Axis& axis) {
  const double size_of_one = static_cast<double>(input.cells) * input.cell_size / static_cast<double>(input.length);
  const double text = input.across ? font.Width(absl::StrCat(input.length), axis.text_size) : axis.text_size;
  // Where cells are too small to be counted, few indices are enough.
  const double least = input.cell_size >= kLeastText ? text + kSpace : std::max(text + 3 * kSpace, 48.0);
  const int64_t step = RoundStep(std::max(least / size_of_one, 1.0));
  for (int64_t i = 0; i < input.length; i += step) {
    axis.marks.push_back({absl::StrCat(i), (static_cast<double>(i) + 0.5) * size_of_one});
  }
  axis.ticks = size_of_one < kLeastText;
}

}  // namespace

double Baseline(double middle, double text_size) { return middle + 0.365 * text_size; }

Axis MakeAxis(const AxisInput& input, const Font& font) {
  Axis axis;
  axis.across = input.across;
  axis.text_size = std::clamp(0.8 * input.cell_size, kLeastText, kMostText);
  if (input.cells == 0) return axis;
  if (input.length == input.cells && !input.tokens->empty()) {
    AddTokens(input, font, axis);
  } else if (input.length > 0) {
    AddIndices(input, font, axis);
  }
  if (axis.marks.empty()) return axis;
  const double text = input.across && !axis.upward ? axis.text_size : WidestMark(axis, font);
  axis.extent = static_cast<int>(std::ceil(text)) + kSpace + (axis.ticks ? kTick : 0);
  return axis;
}

void PlaceAxis(const Axis& axis, const Box& box, Layout& layout) {
  const int away = kSpace + (axis.ticks ? kTick : 0);
  for (const Axis::Mark& mark : axis.marks) {
    const int at = static_cast<int>(mark.at);
    Label label{mark.text, {0, 0, axis.text_size, axis.upward}, Anchor::kStart, Tone::kQuiet};
    if (!axis.across) {
      label.place.x = box.x - away;
      label.place.y = Baseline(box.y + mark.at, axis.text_size);
      label.anchor = Anchor::kEnd;
      if (axis.ticks) layout.ticks.push_back({box.x - 1 - kTick, box.y + at, kTick, 1});
    } else {
      label.place.x = axis.upward ? Baseline(box.x + mark.at, axis.text_size) : box.x + mark.at;
      label.place.y = box.y - away;
      label.anchor = axis.upward ? Anchor::kStart : Anchor::kMiddle;
      if (axis.ticks) layout.ticks.push_back({box.x + at, box.y - 1 - kTick, 1, kTick});
    }
    layout.labels.push_back(std::move(label));
  }
}

}  // namespace attnd::picture
