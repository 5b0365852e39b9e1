// Server-sent events as clients of this API read them: one `data:` line and a blank one, no ids, no names.
// Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSsePing = ": ping\n\n";

// `json` has no line breaks outside of strings, as serialisers write it.
inline std::string SseEvent(std::string_view json) {
  return std::string("data: ").append(json).append("\n\n");
}

}  // namespace prefixd
