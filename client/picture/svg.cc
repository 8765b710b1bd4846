#include "client/picture/svg.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/picture/color.h"
#include "client/picture/font.h"
#include "client/picture/layout.h"
#include "client/picture/markup.h"
#include "client/picture/png_encoder.h"
#include "client/picture/text.h"
#include "client/picture/theme.h"
#include "client/picture/weight_scale.h"
#include "client/picture/words.h"

namespace attnd::picture {
namespace {

// With more, viewers become slow.
constexpr size_t kMostRectangles = 20'000;

// No custom properties: not every viewer of SVG knows them.
std::string StyleOf(Theme theme) {
  const Palette palette = PaletteOf(theme);
  return absl::StrFormat(
      ".page{fill:%s}.ink{fill:%s}.quiet{fill:%s}.tick{fill:%s}.frame{fill:none;stroke:%s}.hatch{stroke:%s}",
      Hex(palette.page), Hex(palette.ink), Hex(palette.quiet), Hex(palette.line), Hex(palette.line),
      Hex(palette.hatch));
}

// Of [rows, columns]; hidden cells are transparent.
absl::StatusOr<std::string> CellsAsPng(const HeadMap& head, const WeightScale& scale) {
  std::vector<uint8_t> pixels;
  pixels.reserve(head.mean.size() * 4);
  for (const float weight : head.mean) {
    const bool hidden = std::isnan(weight);
    const Color color = hidden ? Color() : ScaleColor(scale.Position(weight));
    const uint8_t opacity = hidden ? 0 : 255;
    pixels.insert(pixels.end(), {color.red, color.green, color.blue, opacity});
  }
  return EncodePng(static_cast<int>(head.columns), static_cast<int>(head.rows), PixelFormat::kRgba, pixels);
}

// Writes one layout.
class Writer {
 public:
  Writer(const AttentionMap& map, const Layout& layout, const WeightScale& scale)
      : map_(map), layout_(layout), scale_(scale) {}

  absl::StatusOr<std::string> Write() && {
    size_t cells = 0;
    for (const HeadMap& head : map_.heads) cells += head.mean.size();
    Begin();
    for (const Panel& panel : layout_.panels) {
      if (cells <= kMostRectangles) {
        WriteCells(panel);
      } else if (auto status = WriteImage(panel); !status.ok()) {
        return status;
      }
      WriteFrame(panel.box);
    }
    for (const Label& label : layout_.labels) WriteLabel(label, label.tone == Tone::kInk ? "ink" : "quiet", "");
    for (const Box& tick : layout_.ticks) WriteBox(tick, R"(class="tick")");
    if (layout_.scale_bar.width > 0) WriteBox(layout_.scale_bar, R"svg(fill="url(#scale)")svg");
    if (layout_.hidden_sample.width > 0) {
      WriteBox(layout_.hidden_sample, R"svg(fill="url(#hatch)")svg");
      WriteFrame(layout_.hidden_sample);
    }
    svg_ += "</svg>\n";
    return std::move(svg_);
  }

 private:
  void Begin() {
    absl::StrAppendFormat(&svg_,
                          R"(<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" )"
                          R"(role="img" aria-label="%s" font-family="DejaVu Sans, Verdana, Geneva, sans-serif">)"
                          "\n",
                          layout_.width, layout_.height, layout_.width, layout_.height,
                          EscapeMarkup(map_.title.empty() ? "attention weights" : Displayable(map_.title)));
    absl::StrAppend(&svg_, "<style>", StyleOf(Theme::kLight), "@media (prefers-color-scheme:dark){",
                    StyleOf(Theme::kDark),
                    "}rect{shape-rendering:crispEdges}image{image-rendering:pixelated}</style>\n",
                    R"(<defs><linearGradient id="scale">)");
    const auto anchors = ScaleAnchors();
    for (size_t i = 0; i < anchors.size(); ++i) {
      absl::StrAppendFormat(&svg_, R"(<stop offset="%g" stop-color="%s"/>)",
                            static_cast<double>(i) / static_cast<double>(anchors.size() - 1), Hex(anchors[i]));
    }
    svg_ += R"(</linearGradient><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">)"
            R"(<path class="hatch" d="M-1,1l2,-2M0,6l6,-6M5,7l2,-2"/></pattern></defs>)"
            "\n"
            R"(<rect class="page" width="100%" height="100%"/>)"
            "\n";
  }

  void WriteCells(const Panel& panel) {
    const HeadMap& head = map_.heads[panel.head];
    for (int row = 0; row < head.rows; ++row) {
      for (int column = 0; column < head.columns; ++column) {
        const float weight = head.mean[static_cast<size_t>(row * head.columns + column)];
        Box box = CellBox(layout_, panel, row, column);
        const bool hidden = std::isnan(weight);
        const Color color = hidden ? Color() : ScaleColor(scale_.Position(weight));
        // Side by side, so that the lines across them go on.
        if (hidden) box = {box.x, box.y, panel.cell_width, panel.cell_height};
        WriteBox(box, absl::StrFormat(R"(fill="%s")", hidden ? "url(#hatch)" : Hex(color)),
                 EscapeMarkup(DescribeCell(map_, head, row, column)));
        if (hidden || layout_.value_size <= 0) continue;
        WriteLabel(ValueLabel(layout_, panel, row, column, weight), "",
                   absl::StrFormat(R"( fill="%s" pointer-events="none")", Hex(InkOn(color))));
      }
    }
  }

  absl::Status WriteImage(const Panel& panel) {
    const auto png = CellsAsPng(map_.heads[panel.head], scale_);
    if (!png.ok()) return png.status();
    WriteBox(panel.box, R"svg(fill="url(#hatch)")svg");
    absl::StrAppendFormat(&svg_,
                          R"(<image x="%d" y="%d" width="%d" height="%d" preserveAspectRatio="none" )"
                          R"(href="data:image/png;base64,%s"/>)"
                          "\n",
                          panel.box.x, panel.box.y, panel.box.width, panel.box.height, absl::Base64Escape(*png));
    return absl::OkStatus();
  }

  // `title`, if any, has been escaped.
  void WriteBox(const Box& box, std::string_view look, std::string_view title = "") {
    absl::StrAppendFormat(&svg_, R"(<rect x="%d" y="%d" width="%d" height="%d" %s)", box.x, box.y, box.width,
                          box.height, std::string(look));
    if (title.empty()) {
      svg_ += "/>\n";
    } else {
      absl::StrAppendFormat(&svg_, "><title>%s</title></rect>\n", std::string(title));
    }
  }

  void WriteFrame(const Box& box) {
    absl::StrAppendFormat(&svg_,
                          R"(<path class="frame" d="M%.1f,%.1fh%dv%dh-%dz"/>)"
                          "\n",
                          box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1, box.width + 1);
  }

  void WriteLabel(const Label& label, std::string_view style, std::string_view look) {
    const TextPlace& place = label.place;
    absl::StrAppendFormat(&svg_, R"(<text x="%.1f" y="%.1f" font-size="%.1f")", place.x, place.y, place.size);
    if (!style.empty()) absl::StrAppendFormat(&svg_, R"( class="%s")", std::string(style));
    if (label.anchor == Anchor::kMiddle) svg_ += R"( text-anchor="middle")";
    if (label.anchor == Anchor::kEnd) svg_ += R"( text-anchor="end")";
    if (place.upward) absl::StrAppendFormat(&svg_, R"svg( transform="rotate(-90 %.1f %.1f)")svg", place.x, place.y);
    svg_ += look;
    svg_ += '>';
    svg_ += EscapeMarkup(label.text);
    svg_ += "</text>\n";
  }

  const AttentionMap& map_;
  const Layout& layout_;
  const WeightScale& scale_;
  std::string svg_;
};

}  // namespace

absl::StatusOr<std::string> DrawSvg(const AttentionMap& map) {
  if (auto status = CheckMap(map); !status.ok()) return status;
  const auto font = Font::Load();
  if (!font.ok()) return font.status();
  const WeightScale scale = MakeWeightScale(map, &HeadMap::mean);
  const auto layout = MakeLayout(map, scale, *font);
  if (!layout.ok()) return layout.status();
  return Writer(map, *layout, scale).Write();
}

}  // namespace attnd::picture
