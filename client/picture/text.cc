#include "client/picture/text.h"

#include <algorithm>
#include <array>

namespace attnd::picture {
namespace {

constexpr char32_t kReplacement = 0xFFFD;
constexpr char32_t kEllipsis = 0x2026;
constexpr char32_t kReturnSymbol = 0x21B5;
constexpr char32_t kTabSymbol = 0x21E5;
constexpr char32_t kSpaceSymbol = 0x2423;

struct Range {
  char32_t first;
  char32_t last;
};

constexpr std::array<Range, 17> kNotShown = {{
    {0x00, 0x1F},
    {0x7F, 0x9F},
    {0x00AD, 0x00AD},
    {0x034F, 0x034F},
    {0x061C, 0x061C},
    {0x115F, 0x1160},
    {0x17B4, 0x17B5},
    {0x180E, 0x180E},
    // Marks, embeddings and isolates of direction; separators of lines.
    {0x200B, 0x200F},
    {0x2028, 0x202E},
    {0x2060, 0x206F},
    {0x3164, 0x3164},
    {0xFEFF, 0xFEFF},
    {0xFFA0, 0xFFA0},
    {0xFFF0, 0xFFFC},
    {0x1D173, 0x1D17A},
    // Tags.
    {0xE0000, 0xE007F},
}};

unsigned char ByteAt(std::string_view text, size_t at) { return static_cast<unsigned char>(text[at]); }

// Takes the character that begins at `at`, or a byte that begins none.
char32_t Next(std::string_view text, size_t& at) {
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char first = ByteAt(text, at++);
  if (first < 0x80) return first;
  size_t length = 0;
  if (first >= 0xC0 && first < 0xE0) length = 2;
  if (first >= 0xE0 && first < 0xF0) length = 3;
  if (first >= 0xF0 && first < 0xF8) length = 4;
  if (length == 0 || at + length - 1 > text.size()) return kReplacement;
  char32_t character = first & (0x7FU >> length);
  for (size_t i = 0; i + 1 < length; ++i) {
    const unsigned char byte = ByteAt(text, at + i);
    if ((byte & 0xC0U) != 0x80U) return kReplacement;
    character = character << 6U | (byte & 0x3FU);
  }
  const bool surrogate = character >= 0xD800 && character < 0xE000;
  if (character < kLeast[length] || character > 0x10FFFF || surrogate) return kReplacement;
  at += length - 1;
  return character;
}

char32_t Shown(char32_t character) {
  if (character == U'\n') return kReturnSymbol;
  if (character == U'\t') return kTabSymbol;
  for (const Range& range : kNotShown) {
    if (character >= range.first && character <= range.last) return kReplacement;
  }
  // The last two of every plane are no characters.
  return (character & 0xFFFEU) == 0xFFFE ? kReplacement : character;
}

}  // namespace

std::u32string DecodeUtf8(std::string_view text) {
  std::u32string characters;
  for (size_t at = 0; at < text.size();) characters += Next(text, at);
  return characters;
}

std::string EncodeUtf8(std::u32string_view characters) {
  std::string text;
  const auto append = [&text](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  for (const char32_t character : characters) {
    if (character < 0x80) {
      append(character);
      continue;
    }
    const unsigned tail = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    append((0xF00U >> (tail + 1) & 0xFFU) | character >> (6 * tail));
    for (unsigned i = tail; i-- > 0;) append(0x80U | (character >> (6 * i) & 0x3FU));
  }
  return text;
}

std::string Displayable(std::string_view text, size_t most) {
  // No character has more than 4 bytes: the rest would not be shown.
  std::u32string characters = DecodeUtf8(text.substr(0, 4 * (most + 1)));
  const bool blank = characters.find_first_not_of(U' ') == std::u32string::npos;
  std::transform(characters.begin(), characters.end(), characters.begin(),
                 [blank](char32_t character) { return blank ? kSpaceSymbol : Shown(character); });
  if (characters.size() > most) {
    characters.resize(most);
    if (most > 0) characters.back() = kEllipsis;
  }
  return EncodeUtf8(characters);
}

}  // namespace attnd::picture
