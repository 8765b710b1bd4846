#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "client/picture/font.h"
#include "client/picture/text.h"
#include "tests/support/status_matchers.h"

namespace attnd::picture {
namespace {

using ::testing::EndsWith;

constexpr char32_t kReplacement = 0xFFFD;

TEST(DecodeUtf8Test, TakesEveryLength) {
  EXPECT_EQ(DecodeUtf8("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"), U"a\u00e4\u20ac\U0001f600");
  EXPECT_EQ(EncodeUtf8(U"a\u00e4\u20ac\U0001f600"), "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
}

TEST(DecodeUtf8Test, ReplacesWhatIsMalformed) {
  for (const std::string bytes : {"\xFF", "\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC0\xAF", "\xE0\x80\x80",
                                  "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC3("}) {
    const std::u32string characters = DecodeUtf8(bytes);
    EXPECT_EQ(characters[0], kReplacement) << testing::PrintToString(bytes);
  }
}

TEST(DecodeUtf8Test, TakesAnyBytes) {
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; ++second) {
      const std::string text = {static_cast<char>(first), static_cast<char>(second), '\x80'};
      const std::u32string characters = DecodeUtf8(text);
      EXPECT_EQ(DecodeUtf8(EncodeUtf8(characters)), characters);
    }
  }
}

TEST(DisplayableTest, ShowsWhatCannotBeSeen) {
  EXPECT_EQ(Displayable("\n"), "\u21b5");
  EXPECT_EQ(Displayable("a\tb"), "a\u21e5b");
  EXPECT_EQ(Displayable("  "), "\u2423\u2423");
  EXPECT_EQ(Displayable(" cat"), " cat");
  EXPECT_EQ(Displayable(""), "");
}

TEST(DisplayableTest, ReplacesWhatSteersOrEndsText) {
  EXPECT_EQ(Displayable("\x1b[2J"), "\ufffd[2J");
  EXPECT_EQ(Displayable(std::string("\0", 1)), "\ufffd");
  EXPECT_EQ(Displayable("\u202e\u2028\u200b\ufeff\uffff"), "\ufffd\ufffd\ufffd\ufffd\ufffd");
}

TEST(DisplayableTest, ReplacesWhatHasNoShape) {
  for (const char* text : {"\u00ad", "\u034f", "\u115f", "\u17b4", "\u180e", "\u3164", "\uffa0", "\U0001d173",
                           "\U000e0001", "\U000e007f"}) {
    EXPECT_EQ(Displayable(text), "\ufffd") << testing::PrintToString(text);
  }
  EXPECT_EQ(Displayable("\u00a0a\ufe0f\U000e0100"), "\u00a0a\ufe0f\U000e0100");
}

TEST(DisplayableTest, LeavesOutWhatIsTooMuch) {
  EXPECT_EQ(Displayable("abcd", 4), "abcd");
  EXPECT_EQ(Displayable("abcde", 4), "abc\u2026");
  EXPECT_EQ(DecodeUtf8(Displayable(std::string(1 << 20, 'x'))).size(), 200);
}

class FontTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(font_, IsOk()); }

  absl::StatusOr<Font> font_ = Font::Load();
};

TEST_F(FontTest, WidthsGrowWithTextAndSize) {
  EXPECT_EQ(font_->Width("", 12), 0);
  EXPECT_GT(font_->Width("ab", 12), font_->Width("a", 12));
  EXPECT_NEAR(font_->Width("ab", 24), 2 * font_->Width("ab", 12), 0.1);
}

TEST_F(FontTest, ElidedTextFits) {
  const std::string text = "a rather long token";
  EXPECT_EQ(font_->Elide(text, 12, 1000), text);
  const std::string elided = font_->Elide(text, 12, 60);
  EXPECT_THAT(elided, EndsWith("\u2026"));
  EXPECT_LE(font_->Width(elided, 12), 60);
  EXPECT_EQ(font_->Elide(text, 12, 0), "\u2026");
}

TEST_F(FontTest, DrawsWhereItIsToldTo) {
  for (const bool upward : {false, true}) {
    int left = 1000;
    int right = 0;
    int top = 1000;
    int bottom = 0;
    font_->Draw("HHHH", {100, 100, 20, upward}, [&](int x, int y, uint8_t) {
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = std::max(bottom, y);
    });
    EXPECT_NEAR(upward ? bottom : left, 100, 3);
    EXPECT_NEAR(upward ? right : bottom, 99, 1);
    EXPECT_NEAR(upward ? bottom - top : right - left, font_->Width("HHHH", 20), 5);
    EXPECT_NEAR(upward ? right - left : bottom - top, 0.73 * 20, 2);
  }
}

TEST_F(FontTest, DrawsWhatTheFontHasNot) {
  int pixels = 0;
  font_->Draw("\u65e5\U0001f9ff\xFF", {0, 50, 20}, [&pixels](int, int, uint8_t) { ++pixels; });
  EXPECT_GT(pixels, 0);
}

}  // namespace
}  // namespace attnd::picture
