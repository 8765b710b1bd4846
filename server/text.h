// Text from clients, made fit for a log line or an error message.
#ifndef ATTND_SERVER_TEXT_H_
#define ATTND_SERVER_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace attnd {

// `text` with everything but printable ASCII as \xNN, and at most about `limit`
// characters of it, "..." marking what was cut. Thread-safe.
std::string Printable(std::string_view text, size_t limit);

}  // namespace attnd

#endif  // ATTND_SERVER_TEXT_H_
