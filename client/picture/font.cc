#include "client/picture/font.h"

#include <ft2build.h>
#include FT_FREETYPE_H

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "client/picture/font_data.h"
#include "client/picture/text.h"

namespace attnd::picture {
namespace {

struct LibraryDeleter {
  void operator()(FT_Library library) const { FT_Done_FreeType(library); }
};
struct FaceDeleter {
  void operator()(FT_Face face) const { FT_Done_Face(face); }
};

// FreeType counts in 1/64 and 1/65536.
constexpr double kPixel = 64;
constexpr double kOne = 65536;
// Bitmaps and hints would make glyphs differ with size.
constexpr FT_Int32 kLoadFlags = FT_LOAD_NO_HINTING | FT_LOAD_NO_BITMAP;

double Advance(FT_Face face) { return static_cast<double>(face->glyph->linearHoriAdvance) / kOne; }

void PlotBitmap(const FT_GlyphSlotRec& glyph, Font::Plot plot) {
  const FT_Bitmap& bitmap = glyph.bitmap;
  for (unsigned row = 0; row < bitmap.rows; ++row) {
    const unsigned char* line = bitmap.buffer + static_cast<std::ptrdiff_t>(row) * bitmap.pitch;
    for (unsigned column = 0; column < bitmap.width; ++column) {
      if (line[column] == 0) continue;
      plot(glyph.bitmap_left + static_cast<int>(column), static_cast<int>(row) - glyph.bitmap_top, line[column]);
    }
  }
}

}  // namespace

struct Font::State {
  // In this order: a face ends before its library.
  std::unique_ptr<std::remove_pointer_t<FT_Library>, LibraryDeleter> library;
  std::unique_ptr<std::remove_pointer_t<FT_Face>, FaceDeleter> face;

  void SetSize(double size) const {
    // At 72 dots per inch a point is a pixel.
    FT_Set_Char_Size(face.get(), 0, std::lround(size * kPixel), 72, 72);
  }
};

Font::Font(std::unique_ptr<State> state) : state_(std::move(state)) {}
Font::Font(Font&&) noexcept = default;
Font& Font::operator=(Font&&) noexcept = default;
Font::~Font() = default;

absl::StatusOr<Font> Font::Load() {
  auto state = std::make_unique<State>();
  FT_Library library = nullptr;
  if (FT_Init_FreeType(&library) != 0) return absl::InternalError("FreeType does not start");
  state->library.reset(library);
  const auto data = FontData();
  FT_Face face = nullptr;
  if (FT_New_Memory_Face(library, data.data(), static_cast<FT_Long>(data.size()), 0, &face) != 0) {
    return absl::InternalError("FreeType cannot read the font");
  }
  state->face.reset(face);
  return Font(std::move(state));
}

double Font::Width(std::string_view text, double size) const {
  state_->SetSize(size);
  FT_Face face = state_->face.get();
  FT_Set_Transform(face, nullptr, nullptr);
  double width = 0;
  for (const char32_t character : DecodeUtf8(text)) {
    if (FT_Load_Char(face, character, kLoadFlags) == 0) width += Advance(face);
  }
  return width;
}

std::string Font::Elide(std::string_view text, double size, double width) const {
  if (Width(text, size) <= width) return std::string(text);
  constexpr std::string_view kEllipsis = "\u2026";
  const std::u32string characters = DecodeUtf8(text);
  double room = width - Width(kEllipsis, size);
  std::u32string kept;
  for (const char32_t character : characters) {
    if (FT_Load_Char(state_->face.get(), character, kLoadFlags) == 0) room -= Advance(state_->face.get());
    if (room < 0) break;
    kept += character;
  }
  return EncodeUtf8(kept).append(kEllipsis);
}

void Font::Draw(std::string_view text, const TextPlace& place, Plot plot) const {
  state_->SetSize(place.size);
  FT_Face face = state_->face.get();
  const auto one = static_cast<FT_Fixed>(kOne);
  FT_Matrix turn = place.upward ? FT_Matrix{0, -one, one, 0} : FT_Matrix{one, 0, 0, one};
  double along = 0;
  for (const char32_t character : DecodeUtf8(text)) {
    const double x = place.upward ? place.x : place.x + along;
    const double y = place.upward ? place.y - along : place.y;
    // FreeType's y goes up.
    FT_Vector shift = {std::lround(x * kPixel), std::lround(-y * kPixel)};
    FT_Set_Transform(face, &turn, &shift);
    if (FT_Load_Char(face, character, kLoadFlags | FT_LOAD_RENDER) != 0) continue;
    PlotBitmap(*face->glyph, plot);
    along += Advance(face);
  }
}

}  // namespace attnd::picture
