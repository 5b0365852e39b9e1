// Where log lines go: stderr, through spdlog, as text or as one JSON object per line. Main thread, before others start.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/log.h"

namespace prefixd {

enum class LogFormat { kText, kJson };

// Installs the sink of base/log.h. `level` is debug, info, warning or error. In text form a line carries its time, or, where
// stderr is the systemd journal, the journal's priority prefix instead.
void InstallLogSink(std::string_view level, LogFormat format);

// One line without its end and without time: what the sink writes, for tests too.
std::string FormatLogText(std::string_view message, std::initializer_list<LogField> fields);
std::string FormatLogJson(std::string_view time, LogLevel level, std::string_view message,
                          std::initializer_list<LogField> fields);

}  // namespace prefixd
