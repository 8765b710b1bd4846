#include "server/logging.h"

#include <grpc/support/log.h>
#include <spdlog/async.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace attnd {
namespace {

constexpr size_t kLinesWaiting = 8192;
constexpr size_t kLongestText = 512;

struct Logging {
  LogFormat format = LogFormat::kText;
  std::shared_ptr<spdlog::details::thread_pool> writer;
  std::shared_ptr<spdlog::async_logger> logger;
};

// Never destroyed: gRPC's threads may log until the process is gone.
Logging*& Instance() {
  static Logging* instance = nullptr;
  return instance;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// gRPC reports as errors what are everyday events for a server (a peer that went away) and
// what we report ourselves, better (a port that is taken).
void LogGrpc(gpr_log_func_args* args) {
  // gRPC calls much an error that is none of ours; this one leaves the server deaf.
  const bool deaf = std::string_view(args->message).find("Failed accept") != std::string_view::npos;
  if (deaf) Log(LogLevel::kError, "cannot accept connections: restart me", {{"text", std::string(args->message)}});
  if (LogEnabled(LogLevel::kDebug)) Log(LogLevel::kDebug, "grpc", {{"text", std::string(args->message)}});
}

// key=value, quoted where a space would make it ambiguous.
void AppendText(const LogField& field, std::string& line) {
  absl::StrAppend(&line, " ", std::string(field.name), "=");
  if (const auto* number = std::get_if<int64_t>(&field.value)) {
    absl::StrAppend(&line, *number);
  } else if (const auto* real = std::get_if<double>(&field.value)) {
    absl::StrAppend(&line, *real);
  } else {
    const std::string text = Printable(std::get<std::string>(field.value), kLongestText);
    const bool plain = !text.empty() && text.find_first_of(" \"=") == std::string::npos;
    line += plain ? text : nlohmann::json(text).dump();
  }
}

std::string TextLine(std::string_view message, std::initializer_list<LogField> fields) {
  std::string line = Printable(message, kLongestText);
  for (const LogField& field : fields) AppendText(field, line);
  return line;
}

// The members of an object whose braces, time and level the pattern adds.
std::string JsonLine(std::string_view message, std::initializer_list<LogField> fields) {
  nlohmann::ordered_json object;
  object["message"] = Printable(message, kLongestText);
  for (const LogField& field : fields) {
    nlohmann::ordered_json& member = object[std::string(field.name)];
    if (const auto* text = std::get_if<std::string>(&field.value)) {
      member = Printable(*text, kLongestText);
    } else {
      std::visit([&member](const auto& value) { member = value; }, field.value);
    }
  }
  const std::string dump = object.dump();
  return dump.substr(1, dump.size() - 2);
}

}  // namespace

absl::Status SetUpLogging(const LogOptions& options) {
  auto logging = std::make_unique<Logging>();
  logging->format = options.format;
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    try {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    } catch (const spdlog::spdlog_ex& error) {
      return absl::InvalidArgumentError(absl::StrCat("--log-file: ", error.what()));
    }
  }
  logging->writer = std::make_shared<spdlog::details::thread_pool>(kLinesWaiting, 1);
  logging->logger = std::make_shared<spdlog::async_logger>("attnd", std::move(sink), logging->writer,
                                                           spdlog::async_overflow_policy::overrun_oldest);
  logging->logger->set_pattern(options.format == LogFormat::kJson
                                   ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})"
                                   : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
                               spdlog::pattern_time_type::utc);
  logging->logger->set_level(ToSpdlog(options.level));
  logging->logger->flush_on(spdlog::level::trace);
  Instance() = logging.release();
  gpr_set_log_function(LogGrpc);
  return absl::OkStatus();
}

void StopLogging() {
  if (Instance() == nullptr) return;
  Instance()->logger->set_level(spdlog::level::off);
  Instance()->writer.reset();
}

bool LogEnabled(LogLevel level) {
  const Logging* logging = Instance();
  return logging != nullptr && logging->logger->should_log(ToSpdlog(level));
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const Logging* logging = Instance();
  const std::string line = logging->format == LogFormat::kJson ? JsonLine(message, fields) : TextLine(message, fields);
  logging->logger->log(ToSpdlog(level), spdlog::string_view_t(line));
}

}  // namespace attnd
