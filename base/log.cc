#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <utility>

#include "base/check.h"
#include "base/utf8.h"

namespace prefixd {
namespace {

void WriteToStderr(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  std::string line = std::string(kNames[static_cast<int>(level)]) + ": " + std::string(message);
  const char* separator = " (";
  for (const LogField& field : fields) {
    line += separator + std::string(field.key) + "=" + PrintableLine(field.value);
    separator = ", ";
  }
  line += fields.size() == 0 ? "\n" : ")\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

LogSink& Sink() {
  static LogSink sink = WriteToStderr;
  return sink;
}
std::atomic<LogLevel> lowest_level{LogLevel::kWarning};

}  // namespace

void SetLogSink(LogSink sink) {
  PREFIXD_CHECK(sink != nullptr);
  Sink() = std::move(sink);
}
void SetLogLevel(LogLevel lowest) { lowest_level.store(lowest, std::memory_order_relaxed); }
bool LogEnabled(LogLevel level) { return level >= lowest_level.load(std::memory_order_relaxed); }

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  if (LogEnabled(level)) Sink()(level, message, fields);
}

}  // namespace prefixd
