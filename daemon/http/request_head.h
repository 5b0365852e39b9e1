// The parts of reading a request that need no connection: paths, and which framings are certain. Pure
// functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/http/error_response.h"

namespace prefixd {

// A request target ("/a%20b?x", or with scheme and authority) as decoded path and raw query. Nothing when a
// percent escape is malformed or the path holds a NUL.
std::optional<std::pair<std::string, std::string>> SplitTarget(std::string_view target);

// What decides where a request ends.
struct Framing {
  int version = 11;  // 10, 11
  int content_lengths = 0;
  std::string_view content_length;
  int transfer_encodings = 0;
  std::string_view transfer_encoding;
  std::string_view expect;
  int hosts = 0;
};

// The error that answers a framing that is not certain, or an expectation that is not known.
std::optional<ApiError> CheckFraming(const Framing& framing);

bool EqualsIgnoringCase(std::string_view a, std::string_view b);

}  // namespace prefixd
