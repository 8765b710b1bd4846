// Text from servers and files, made fit for a terminal.
#ifndef ATTND_CLIENT_PRINTABLE_H_
#define ATTND_CLIENT_PRINTABLE_H_

#include <string>
#include <string_view>

namespace attnd {

// `text` with control characters other than newline, and bytes that are not UTF-8, as \xNN, so
// that it cannot steer a terminal. Thread-safe.
std::string Printable(std::string_view text);

}  // namespace attnd

#endif  // ATTND_CLIENT_PRINTABLE_H_
