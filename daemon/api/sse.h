// Server-sent events in the form of the OpenAI API: each event is one `data:` line and a blank line, without
// an id or an event name. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSsePing = ": ping\n\n";  // a comment, which clients ignore

// Returns the event with the data `json`. Requires that `json` has no line breaks.
inline std::string SseEvent(std::string_view json) {
  return std::string("data: ").append(json).append("\n\n");
}

}  // namespace prefixd
