// Numbers with units, as a load test's texts show them: three significant digits, so that
// they are read, not counted.
#ifndef ATTND_CLIENT_LOAD_UNITS_H_
#define ATTND_CLIENT_LOAD_UNITS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace attnd::load {

// "1.23 s", "23.4 ms", "567 us", "89 ns".
std::string FormatSeconds(double seconds);

// "0.123", "12.3", "1234", "12.3k", "1.23M".
std::string FormatNumber(double number);

// "12.3 MB"; powers of 1000.
std::string FormatBytes(double bytes);

// Of a share: "0.1 %". What is not 0 does not become "0 %", nor what is not 1 "100 %".
std::string FormatPercent(double share);

// "1,234,567".
std::string FormatCount(int64_t count);

// Rows of cells as aligned columns with two spaces between them, the first column to the
// left and the others to the right. Rows may be shorter than others.
std::string FormatColumns(const std::vector<std::vector<std::string>>& rows);

// `text` in lines of at most `width` characters where its words allow it; lines after the
// first start with `indent` spaces.
std::string Wrap(const std::string& text, int width, int indent);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_UNITS_H_
