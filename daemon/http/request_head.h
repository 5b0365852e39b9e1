// Parsing of request heads: targets and framing. Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "daemon/http/error_response.h"

namespace prefixd {

// Splits a request target ("/a%20b?x", or with scheme and authority) into the decoded path and the raw query.
// Returns nothing when a percent escape is malformed or the path contains a NUL.
std::optional<std::pair<std::string, std::string>> SplitTarget(std::string_view target);

// The headers that determine where a request ends.
struct Framing {
  int version = 11;  // 10, 11
  int content_lengths = 0;
  std::string_view content_length;
  int transfer_encodings = 0;
  std::string_view transfer_encoding;
  std::string_view expect;
  int hosts = 0;
};

// The error for ambiguous framing or an unsupported expectation; nothing when the head is valid.
std::optional<ApiError> CheckFraming(const Framing& framing);

// Whether a client may give its request this id: printable ASCII without blanks, at most the limit
// "request-id-bytes". It appears in headers, logs and bodies.
bool IsRequestId(std::string_view text);

bool EqualsIgnoringCase(std::string_view a, std::string_view b);

}  // namespace prefixd
