// DejaVu Sans, which is part of the program, so that pictures are the same everywhere.
#ifndef ATTND_CLIENT_PICTURE_FONT_H_
#define ATTND_CLIENT_PICTURE_FONT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace attnd::picture {

// Where text begins and which way it goes.
struct TextPlace {
  // Of the baseline, in pixels to the right and down.
  double x = 0;
  double y = 0;
  // Pixels per em.
  double size = 0;
  // Goes up instead of to the right.
  bool upward = false;
};

// Draws and measures without hinting, characters one after the other: no ligatures, no
// right-to-left order. Not thread-safe: calls of one Font must not overlap.
class Font {
 public:
  // Gets a pixel and how much of it is covered, from 1 to 255.
  using Plot = absl::FunctionRef<void(int x, int y, uint8_t coverage)>;

  static absl::StatusOr<Font> Load();

  Font(Font&&) noexcept;
  Font& operator=(Font&&) noexcept;
  Font(const Font&) = delete;
  Font& operator=(const Font&) = delete;
  ~Font();

  // In pixels; `text` is UTF-8.
  [[nodiscard]] double Width(std::string_view text, double size) const;

  // `text`, or as much of its beginning as an ellipsis leaves room for in `width`.
  [[nodiscard]] std::string Elide(std::string_view text, double size, double width) const;

  void Draw(std::string_view text, const TextPlace& place, Plot plot) const;

 private:
  struct State;
  explicit Font(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace attnd::picture

#endif  // ATTND_CLIENT_PICTURE_FONT_H_
