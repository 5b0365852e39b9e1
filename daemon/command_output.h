// What the commands that do one thing and end print: text, or one JSON document. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "daemon/exit_code.h"

namespace prefixd {

// Writes to stdout.
void Print(const std::string& text);

// Prints why a command has failed, and returns `code`. With `json`: a document on stdout with "ok" false, the
// code, the message, and its lines as "faults": of wrong usage there are several. Otherwise the message on
// stderr, with `lead` before it.
ExitCode PrintFailure(bool json, ExitCode code, const std::string& message, std::string_view lead = "");

}  // namespace prefixd
