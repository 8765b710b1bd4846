// Log lines on stderr or in a file: text for people or one JSON object per line.
// Thread-safe, and never waits for whoever reads the log: when they fall behind, the
// oldest lines are lost. Silent until SetUpLogging.
#ifndef ATTND_SERVER_LOGGING_H_
#define ATTND_SERVER_LOGGING_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

namespace attnd {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

struct LogOptions {
  // Lines below are not written.
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  // Appended to; stderr if empty.
  std::string file;
};

// A fact beside the message. Values that come from clients are escaped and bounded.
struct LogField {
  std::string_view name;
  std::variant<int64_t, double, std::string> value;
};

// Call once, before threads are started. Also makes gRPC's own messages debug lines.
// Fails if the file cannot be opened.
absl::Status SetUpLogging(const LogOptions& options);

// Writes what is pending; later lines are dropped. Call at the end of main.
void StopLogging();

// Whether a line of that level would be written; for skipping the work of making one.
bool LogEnabled(LogLevel level);

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace attnd

#endif  // ATTND_SERVER_LOGGING_H_
