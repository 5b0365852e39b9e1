#include "daemon/log_sink.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <utility>

#include "base/utf8.h"

namespace prefixd {
namespace {

struct LevelName {
  std::string_view name;
  LogLevel level;
  spdlog::level::level_enum spdlog_level;
  const char* journal_prefix;
};
constexpr LevelName kLevels[] = {
    {"debug", LogLevel::kDebug, spdlog::level::debug, "<7>"},
    {"info", LogLevel::kInfo, spdlog::level::info, "<6>"},
    {"warning", LogLevel::kWarning, spdlog::level::warn, "<4>"},
    {"error", LogLevel::kError, spdlog::level::err, "<3>"},
};

const LevelName& Describe(LogLevel level) { return kLevels[static_cast<size_t>(level)]; }

// systemd sets JOURNAL_STREAM to the device and inode of its socket.
bool StderrIsJournal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status;
  unsigned long device = 0, inode = 0;
  return stream != nullptr && std::sscanf(stream, "%lu:%lu", &device, &inode) == 2 &&
         fstat(2, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

void AppendJsonString(std::string_view any_bytes, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  *out += '"';
  for (const char c : RepairUtf8(any_bytes)) {
    if (c == '"' || c == '\\') {
      *out += '\\';
      *out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      *out += "\\u00";
      *out += kHex[c >> 4];
      *out += kHex[c & 15];
    } else {
      *out += c;
    }
  }
  *out += '"';
}

std::string TimeNow() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = millis / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof(text) - length, ".%03dZ", static_cast<int>(millis % 1000));
  return text;
}

}  // namespace

std::string FormatLogText(std::string_view message, std::initializer_list<LogField> fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    const bool bare = !field.value.empty() && std::ranges::all_of(field.value, [](unsigned char c) {
      return c > ' ' && c != '"' && c != '=' && c != '\\';
    });
    if (bare) {
      line += field.value;
    } else {
      AppendJsonString(field.value, &line);
    }
  }
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // one line per event
  }
  return line;
}

std::string FormatLogJson(std::string_view time, LogLevel level, std::string_view message,
                          std::initializer_list<LogField> fields) {
  std::string line = "{\"time\":\"" + std::string(time) + "\",\"level\":\"" +
                     std::string(Describe(level).name) + "\",\"message\":";
  AppendJsonString(message, &line);
  for (const LogField& field : fields) {
    line += ',';
    AppendJsonString(field.key, &line);
    line += ':';
    if (field.is_number && field.value.find_first_not_of("0123456789+-.e") == std::string::npos) {
      line += field.value;
    } else {
      AppendJsonString(field.value, &line);  // also nan and inf, which are not JSON numbers
    }
  }
  return line + "}";
}

void ChangeLogLevel(std::string_view level) {
  for (const LevelName& entry : kLevels) {
    if (entry.name == level) SetLogLevel(entry.level);
  }
}

void InstallLogSink(std::string_view level, LogFormat format) {
  const bool journal = StderrIsJournal();
  auto logger =
      std::make_shared<spdlog::logger>("prefixd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::trace);  // base/log.h filters
  const std::string clear = isatty(STDERR_FILENO) == 1 ? "\x1b[K" : "";
  logger->set_pattern(format == LogFormat::kJson || journal ? "%v"
                                                            : clear + "%Y-%m-%dT%H:%M:%S.%e%z %-7l %v");
  logger->flush_on(spdlog::level::trace);
  ChangeLogLevel(level);
  SetLogSink([logger = std::move(logger), format, journal](LogLevel line_level, std::string_view message,
                                                           std::initializer_list<LogField> fields) {
    std::string line = format == LogFormat::kJson ? FormatLogJson(TimeNow(), line_level, message, fields)
                                                  : FormatLogText(message, fields);
    if (journal && format == LogFormat::kText) line.insert(0, Describe(line_level).journal_prefix);
    logger->log(Describe(line_level).spdlog_level, spdlog::string_view_t(line.data(), line.size()));
  });
}

}  // namespace prefixd
