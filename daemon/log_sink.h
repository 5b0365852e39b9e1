// The sink of base/log.h: writes to stderr through spdlog, as text or as one JSON object per line.
//
// Threads: the main thread installs the sink before others start. The formatting functions are pure.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "base/log.h"

namespace prefixd {

enum class LogFormat { kText, kJson };

// Installs the sink of base/log.h. `level` is debug, info, warning or error. A text line begins with its
// time, or with the priority prefix of the systemd journal when stderr is the journal. On a terminal it takes
// the place of what the cursor stands at, such as a progress bar.
void InstallLogSink(std::string_view level, LogFormat format);

// Changes the level of the installed sink; one of those names. Any thread.
void ChangeLogLevel(std::string_view level);

// One line as the sink writes it, without time and line end. Public for tests.
std::string FormatLogText(std::string_view message, std::initializer_list<LogField> fields);
std::string FormatLogJson(std::string_view time, LogLevel level, std::string_view message,
                          std::initializer_list<LogField> fields);

}  // namespace prefixd
