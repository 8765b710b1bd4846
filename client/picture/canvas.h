// An image in memory to draw on.
#ifndef ATTND_CLIENT_PICTURE_CANVAS_H_
#define ATTND_CLIENT_PICTURE_CANVAS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "client/picture/color.h"
#include "client/picture/font.h"

namespace attnd::picture {

// Pixels from (x, y), which is the upper left.
struct Box {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;

  bool operator==(const Box&) const = default;
};

// 8-bit RGB. What is drawn beyond the edges is not drawn. Thread-compatible.
class Canvas {
 public:
  // Filled with `page`; neither side is negative.
  Canvas(int width, int height, Color page);

  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] int height() const { return height_; }
  // [height, width, 3].
  [[nodiscard]] std::span<const uint8_t> pixels() const { return pixels_; }

  void Fill(const Box& box, Color color);
  // Thin lines from lower left to upper right on what is there, in step for all boxes.
  void Hatch(const Box& box, Color color);
  void Text(const Font& font, std::string_view text, const TextPlace& place, Color color);

 private:
  [[nodiscard]] Box Inside(const Box& box) const;
  [[nodiscard]] size_t Offset(int x, int y) const;
  [[nodiscard]] Color At(int x, int y) const;
  void Set(int x, int y, Color color);

  int width_;
  int height_;
  std::vector<uint8_t> pixels_;
};

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_CANVAS_H_
