// Server-sent events in the form of the OpenAI API: one `data:` line and a blank line, without ids and names.
// Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSsePing = ": ping\n\n";

// Requires that `json` has no line breaks.
inline std::string SseEvent(std::string_view json) {
  return std::string("data: ").append(json).append("\n\n");
}

}  // namespace prefixd
