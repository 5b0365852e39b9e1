#include "daemon/http/request_head.h"

#include <algorithm>

#include "daemon/limit_table.h"

namespace prefixd {

namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = Lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::optional<std::string> DecodePercent(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || HexDigit(text[i + 1]) < 0 || HexDigit(text[i + 2]) < 0) return std::nullopt;
      c = static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    decoded.push_back(c);
  }
  return decoded;
}

ApiError BadRequest(std::string message) { return {.status = 400, .message = std::move(message)}; }

}  // namespace

bool IsRequestId(std::string_view text) {
  return !text.empty() && text.size() <= Limit<size_t>("request-id-bytes") &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

std::optional<std::pair<std::string, std::string>> SplitTarget(std::string_view target) {
  if (const size_t scheme = target.find("://");
      scheme != std::string_view::npos && !target.starts_with('/')) {
    const size_t path = target.find('/', scheme + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  target = target.substr(0, target.find('#'));
  const size_t question = target.find('?');
  std::optional<std::string> path = DecodePercent(target.substr(0, question));
  if (!path) return std::nullopt;
  std::string query(question == std::string_view::npos ? "" : target.substr(question + 1));
  return std::pair(*std::move(path), std::move(query));
}

std::optional<ApiError> CheckFraming(const Framing& framing) {
  if (framing.version != 10 && framing.version != 11) {
    return ApiError{.status = 505, .message = "The server supports HTTP/1.1 and HTTP/1.0."};
  }
  if (framing.hosts == 0 && framing.version == 11) return BadRequest("The request has no Host header.");
  if (framing.hosts > 1) return BadRequest("The request has more than one Host header.");
  if (framing.content_lengths > 1) return BadRequest("The request has more than one Content-Length header.");
  if (framing.content_length.find_first_not_of("0123456789") != std::string_view::npos) {
    return BadRequest("The Content-Length of the request is not a single number.");
  }
  if (framing.transfer_encodings > 0) {
    if (framing.content_lengths > 0)
      return BadRequest("The request has both Content-Length and Transfer-Encoding.");
    if (framing.version == 10) return BadRequest("HTTP/1.0 has no Transfer-Encoding.");
    if (framing.transfer_encodings > 1 || !EqualsIgnoringCase(framing.transfer_encoding, "chunked")) {
      return BadRequest("The only Transfer-Encoding that the server supports is chunked.");
    }
  }
  if (!framing.expect.empty() && !EqualsIgnoringCase(framing.expect, "100-continue")) {
    return ApiError{.status = 417,
                    .message = "The only expectation that the server supports is 100-continue."};
  }
  return std::nullopt;
}

}  // namespace prefixd
