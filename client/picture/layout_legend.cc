#include "client/picture/layout_legend.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "client/picture/layout_axis.h"
#include "client/picture/layout_sizes.h"
#include "client/picture/words.h"

namespace attnd::picture {
namespace {

constexpr int kBarWidth = 240;
constexpr int kBarHeight = 12;
constexpr double kTickText = 10;
constexpr int kTick = 4;
constexpr int kTickCount = 4;
// From the bar to the notes beside it.
constexpr int kBeside = 56;

Label NoteAt(std::string text, double x, double middle) {
  return {std::move(text), {x, Baseline(middle, kNoteText), kNoteText}, Anchor::kStart, Tone::kQuiet};
}

// Returns the height.
int PlaceBar(const WeightScale& scale, bool pooled, int x, int y, Layout& layout) {
  layout.labels.push_back(NoteAt(pooled ? "mean weight" : "weight", x, y + kNoteLine / 2.0));
  layout.scale_bar = {x, y + kNoteLine + 2, kBarWidth, kBarHeight};
  const int below = layout.scale_bar.y + kBarHeight;
  // Where all weights are 0, they are at the scale's beginning.
  const int ticks = scale.largest > 0 ? kTickCount : 0;
  for (int i = 0; i <= ticks; ++i) {
    const double position = static_cast<double>(i) / kTickCount;
    const int at = x + static_cast<int>(position * (kBarWidth - 1));
    layout.ticks.push_back({at, below, 1, kTick});
    Anchor anchor = Anchor::kMiddle;
    if (i == 0) anchor = Anchor::kStart;
    if (i == kTickCount) anchor = Anchor::kEnd;
    const double edge = anchor == Anchor::kEnd ? at + 1 : at;
    const double baseline = Baseline(below + kTick + 8, kTickText);
    layout.labels.push_back({absl::StrFormat("%.2g", scale.WeightAt(position)), {edge, baseline, kTickText}, anchor});
  }
  return below + kTick + 16 - y;
}

std::vector<std::string> Notes(const AttentionMap& map, const WeightScale& scale, bool axis_names) {
  std::vector<std::string> notes;
  if (!scale.any_visible) notes.emplace_back(map.heads.empty() ? "no heads to show" : "no weights to show");
  if (scale.largest > 0) notes.push_back(scale.Description());
  if (auto pooling = DescribePooling(map); !pooling.empty()) notes.push_back(std::move(pooling));
  if (!axis_names && scale.any_visible) notes.emplace_back("rows: queries, columns: keys");
  return notes;
}

}  // namespace

int PlaceLegend(const AttentionMap& map, const WeightScale& scale, int x, int y, int width, bool axis_names,
                Layout& layout) {
  int bar_height = 0;
  if (scale.any_visible) bar_height = PlaceBar(scale, !DescribePooling(map).empty(), x, y, layout);
  const bool beside = scale.any_visible && width >= kBarWidth + kBeside + kLegendWidth;
  const int left = beside ? x + kBarWidth + kBeside : x;
  int at = beside ? y : y + bar_height + 4;
  if (scale.any_hidden) {
    layout.hidden_sample = {left, at + 2, 2 * kBarHeight, kBarHeight};
    layout.labels.push_back(NoteAt("not visible", left + 2 * kBarHeight + 8, at + kNoteLine / 2.0));
    at += kNoteLine + 2;
  }
  for (std::string& note : Notes(map, scale, axis_names)) {
    layout.labels.push_back(NoteAt(std::move(note), left, at + kNoteLine / 2.0));
    at += kNoteLine;
  }
  return std::max(bar_height, at - y);
}

}  // namespace attnd::picture
