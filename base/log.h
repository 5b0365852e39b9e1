// Log lines: a level, a message and key=value fields. base depends on no logging library: the daemon installs
// a sink that writes through spdlog, and tests may install their own. Any thread may log. SetLogSink is
// called before other threads start.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace prefixd {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogField {
  std::string_view key;
  std::string value;
  bool is_number = false;  // a JSON sink prints it without quotes

  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>
  LogField(std::string_view k, T v) : key(k), value(std::to_string(v)), is_number(true) {}
};

using LogSink =
    std::function<void(LogLevel, std::string_view message, std::initializer_list<LogField> fields)>;

void SetLogSink(LogSink sink);      // not empty; the default sink writes to stderr
void SetLogLevel(LogLevel lowest);  // lines below `lowest` are dropped; the default is kWarning
bool LogEnabled(LogLevel level);
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace prefixd
