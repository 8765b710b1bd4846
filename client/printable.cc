#include "client/printable.h"

#include <algorithm>
#include <cstddef>

namespace attnd {
namespace {

unsigned char ByteAt(std::string_view text, size_t at) { return static_cast<unsigned char>(text[at]); }

// Bytes of the character in UTF-8 that begins there; 0 if none does.
size_t LengthAt(std::string_view text, size_t at) {
  const unsigned char first = ByteAt(text, at);
  size_t length = 0;
  if (first < 0x80) length = 1;
  if (first >= 0xC2 && first < 0xE0) length = 2;
  if (first >= 0xE0 && first < 0xF0) length = 3;
  if (first >= 0xF0 && first < 0xF5) length = 4;
  if (at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((ByteAt(text, at + i) & 0xC0U) != 0x80U) return 0;
  }
  return length;
}

bool IsControl(std::string_view character) {
  const unsigned char first = ByteAt(character, 0);
  if (character.size() == 1) return (first < ' ' && first != '\n') || first == 0x7F;
  // U+0080 to U+009F.
  return first == 0xC2 && ByteAt(character, 1) < 0xA0;
}

}  // namespace

std::string Printable(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t length = LengthAt(text, at);
    const std::string_view character = text.substr(at, std::max<size_t>(length, 1));
    at += character.size();
    if (length > 0 && !IsControl(character)) {
      result += character;
      continue;
    }
    for (size_t i = 0; i < character.size(); ++i) {
      result += "\\x";
      result += kHex[ByteAt(character, i) >> 4U];
      result += kHex[ByteAt(character, i) & 15U];
    }
  }
  return result;
}

}  // namespace attnd
