#include "client/picture/font_data.h"

// The assembler takes the file as it is; as an array it would take the compiler minutes.
__asm__(
    ".pushsection .rodata\n"
    ".balign 16\n"
    "attnd_font_begin:\n"
    ".incbin \"" ATTND_FONT_FILE
    "\"\n"
    "attnd_font_end:\n"
    ".popsection\n");

// The labels above.
extern "C" {
extern const unsigned char attnd_font_begin[];
extern const unsigned char attnd_font_end[];
}

namespace attnd::picture {

std::span<const unsigned char> FontData() { return {attnd_font_begin, attnd_font_end}; }

}  // namespace attnd::picture
