#include "client/printable.h"

#include <gtest/gtest.h>

#include <string>

namespace attnd {
namespace {

TEST(PrintableTest, LeavesTextAlone) {
  for (const char* text : {"", "p99 of 3 \\x is 20 ms\nand more", "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(PrintableTest, EscapesWhatSteersATerminal) {
  EXPECT_EQ(Printable("\x1B[2Jclear\r\t\x7F\a"), "\\x1b[2Jclear\\x0d\\x09\\x7f\\x07");
  EXPECT_EQ(Printable(std::string("a\0b", 3)), "a\\x00b");
  // U+009B, as good as ESC [.
  EXPECT_EQ(Printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m");
  EXPECT_EQ(Printable("\xC2\xA0"), "\xC2\xA0");
}

TEST(PrintableTest, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(Printable("\x9B"
                      "31m"),
            "\\x9b31m");
  EXPECT_EQ(Printable("\xE2\x82"), "\\xe2\\x82");
  EXPECT_EQ(Printable("\xC3\x1B"), "\\xc3\\x1b");
  EXPECT_EQ(Printable("\xC0\x9B"), "\\xc0\\x9b");
}

}  // namespace
}  // namespace attnd
