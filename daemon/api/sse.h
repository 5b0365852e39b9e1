// Server-sent events: a `data:` line and a blank line, and in some APIs a line with the name of the event
// before. There are no ids. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kSseData = "data: ";
inline constexpr std::string_view kSseEnd = "\n\n";
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";  // ends a stream of the OpenAI API
inline constexpr std::string_view kSsePing = ": ping\n\n";        // a comment, which clients ignore

// Returns the event with the data `json`. Requires that `json` has no line breaks.
inline std::string SseEvent(std::string_view json) {
  return std::string(kSseData).append(json).append(kSseEnd);
}
inline std::string SseEvent(std::string_view name, std::string_view json) {
  return std::string("event: ").append(name).append("\n").append(SseEvent(json));
}

}  // namespace prefixd
