#include "client/picture/png.h"

#include <cmath>
#include <cstddef>

#include "client/picture/canvas.h"
#include "client/picture/color.h"
#include "client/picture/font.h"
#include "client/picture/layout.h"
#include "client/picture/png_encoder.h"
#include "client/picture/weight_scale.h"

namespace attnd::picture {
namespace {

// Draws one layout, in one theme.
class Painter {
 public:
  Painter(const Layout& layout, const WeightScale& scale, const Font& font, Theme theme)
      : layout_(layout),
        scale_(scale),
        font_(font),
        palette_(PaletteOf(theme)),
        canvas_(layout.width, layout.height, palette_.page) {}

  void DrawHead(const Panel& panel, const HeadMap& head) {
    Frame(panel.box);
    canvas_.Hatch(panel.box, palette_.hatch);
    for (int row = 0; row < head.rows; ++row) {
      for (int column = 0; column < head.columns; ++column) {
        const float weight = head.mean[static_cast<size_t>(row * head.columns + column)];
        if (!std::isnan(weight)) DrawCell(panel, row, column, weight);
      }
    }
  }

  void DrawRest() {
    for (const Label& label : layout_.labels) {
      Draw(label, label.tone == Tone::kInk ? palette_.ink : palette_.quiet);
    }
    for (const Box& tick : layout_.ticks) canvas_.Fill(tick, palette_.line);
    const Box& bar = layout_.scale_bar;
    for (int i = 0; i < bar.width; ++i) {
      canvas_.Fill({bar.x + i, bar.y, 1, bar.height}, ScaleColor(i / (bar.width - 1.0)));
    }
    if (layout_.hidden_sample.width > 0) {
      Frame(layout_.hidden_sample);
      canvas_.Hatch(layout_.hidden_sample, palette_.hatch);
    }
  }

  [[nodiscard]] const Canvas& canvas() const { return canvas_; }

 private:
  void DrawCell(const Panel& panel, int row, int column, float weight) {
    const Box box = CellBox(layout_, panel, row, column);
    const Color color = ScaleColor(scale_.Position(weight));
    // Also the gap: no hatch between two visible cells.
    canvas_.Fill({box.x, box.y, panel.cell_width, panel.cell_height}, palette_.page);
    canvas_.Fill(box, color);
    if (layout_.value_size > 0) Draw(ValueLabel(layout_, panel, row, column, weight), InkOn(color));
  }

  void Draw(const Label& label, Color color) {
    TextPlace place = label.place;
    double before = 0;
    if (label.anchor != Anchor::kStart) before = font_.Width(label.text, place.size);
    if (label.anchor == Anchor::kMiddle) before /= 2;
    (place.upward ? place.y : place.x) += place.upward ? before : -before;
    canvas_.Text(font_, label.text, place, color);
  }

  // One pixel around the box, which becomes the page.
  void Frame(const Box& box) {
    canvas_.Fill({box.x - 1, box.y - 1, box.width + 2, box.height + 2}, palette_.line);
    canvas_.Fill(box, palette_.page);
  }

  const Layout& layout_;
  const WeightScale& scale_;
  const Font& font_;
  Palette palette_;
  Canvas canvas_;
};

}  // namespace

absl::StatusOr<std::string> DrawPng(const AttentionMap& map, Theme theme) {
  if (auto status = CheckMap(map); !status.ok()) return status;
  const auto font = Font::Load();
  if (!font.ok()) return font.status();
  const WeightScale scale = MakeWeightScale(map, &HeadMap::mean);
  const auto layout = MakeLayout(map, scale, *font);
  if (!layout.ok()) return layout.status();
  Painter painter(*layout, scale, *font, theme);
  for (const Panel& panel : layout->panels) painter.DrawHead(panel, map.heads[panel.head]);
  painter.DrawRest();
  return EncodePng(layout->width, layout->height, PixelFormat::kRgb, painter.canvas().pixels());
}

}  // namespace attnd::picture
