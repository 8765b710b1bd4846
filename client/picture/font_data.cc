#include "client/picture/font_data.h"

// NOLINTBEGIN(portability-no-assembler): it only takes the file as it is; an array of it would be slow to compile.
__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    "attnd_font_begin:\n"
    ".incbin \"" ATTND_FONT_FILE
    "\"\n"
    "attnd_font_end:\n"
    ".popsection\n");

namespace attnd::picture {

extern const unsigned char kFontBegin[] __asm__("attnd_font_begin");
extern const unsigned char kFontEnd[] __asm__("attnd_font_end");
// NOLINTEND(portability-no-assembler)

std::span<const unsigned char> FontData() { return {kFontBegin, kFontEnd}; }

}  // namespace attnd::picture
