#include "daemon/http/cors.h"

#include <algorithm>
#include <utility>

namespace prefixd {

namespace {

constexpr std::string_view kMethods = "GET, POST, DELETE, OPTIONS";
constexpr std::string_view kUsualHeaders = "Authorization, Content-Type, X-Request-Id";
constexpr std::string_view kExposedHeaders =
    "x-request-id, request-id, x-prefixd-cached-tokens, x-prefixd-computed-tokens, x-prefixd-cache-source, "
    "retry-after, www-authenticate, allow";
constexpr std::string_view kMaxAgeSeconds = "86400";

constexpr std::string_view kAlphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789";

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return lower;
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool ConsistsOf(std::string_view text, std::string_view others) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return kAlphanumeric.find(c) != std::string_view::npos || others.find(c) != std::string_view::npos;
  });
}

bool IsPort(std::string_view text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  return digits && text.size() <= 5 && std::stoi(std::string(text)) <= 65535;
}

// An origin as browsers send it: in lower case, without the default port of its scheme. Nothing when the text
// is not an origin.
std::optional<std::string> Normalized(std::string_view text) {
  const std::string lower = Lower(text);
  const size_t colon = lower.find("://");
  if (colon == std::string::npos) return std::nullopt;
  const std::string_view scheme = std::string_view(lower).substr(0, colon);
  std::string_view host = std::string_view(lower).substr(colon + 3);
  if (!ConsistsOf(scheme, "+-.")) return std::nullopt;
  const size_t bracket = host.starts_with('[') ? host.find(']') : 0;  // [::1]:8080
  if (bracket == std::string_view::npos) return std::nullopt;
  std::string_view port;
  if (const size_t at = host.find(':', bracket); at != std::string_view::npos) {
    port = host.substr(at + 1);
    host = host.substr(0, at);
    if (!IsPort(port)) return std::nullopt;
  }
  const bool valid = bracket > 0 ? host.size() == bracket + 1 && ConsistsOf(host.substr(1, bracket - 1), ":.")
                                 : ConsistsOf(host, "-._");
  if (!valid) return std::nullopt;
  if ((scheme == "http" && port == "80") || (scheme == "https" && port == "443")) port = {};
  return std::string(scheme) + "://" + std::string(host) + (port.empty() ? "" : ":") + std::string(port);
}

// Whether the text can be repeated in a header: names of headers with commas between them.
bool IsListOfNames(std::string_view text) { return ConsistsOf(Lower(text), "!#$%&'*+-.^_`|~, "); }

}  // namespace

Result<CorsPolicy> CorsPolicy::Parse(std::string_view list) {
  CorsPolicy policy;
  list = Trimmed(list);
  if (list.empty()) return policy;
  policy.any_ = list == "*";
  if (policy.any_) return policy;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view part = Trimmed(list.substr(begin, end - begin));
    std::optional<std::string> origin = Normalized(part);
    if (!origin) {
      return InvalidArgument("'" + std::string(part) +
                             "' is not an origin; write SCHEME://HOST or SCHEME://HOST:PORT without a path, "
                             "such as https://chat.example.org, with commas between several, or * alone for "
                             "every page");
    }
    policy.origins_.push_back(*std::move(origin));
    begin = end + 1;
  }
  return policy;
}

bool CorsPolicy::Allows(std::string_view origin) const {
  if (origin.empty()) return false;
  return any_ || std::find(origins_.begin(), origins_.end(), Lower(origin)) != origins_.end();
}

HttpHeaders CorsPolicy::ResponseHeaders(std::string_view origin) const {
  HttpHeaders headers;
  if (!any_ && origins_.empty()) return headers;
  headers.emplace_back("Vary", "Origin");
  if (!Allows(origin)) return headers;
  headers.emplace_back("Access-Control-Allow-Origin", any_ ? "*" : std::string(origin));
  headers.emplace_back("Access-Control-Expose-Headers", kExposedHeaders);
  return headers;
}

std::optional<HttpResponse> CorsPolicy::PreflightResponse(const HttpRequest& request) const {
  if (request.method != "OPTIONS" || request.header("access-control-request-method").empty() ||
      !Allows(request.header("origin")))
    return std::nullopt;
  const std::string_view asked = request.header("access-control-request-headers");
  HttpResponse response{.status = 204};
  response.headers = {
      {"Access-Control-Allow-Methods", std::string(kMethods)},
      {"Access-Control-Allow-Headers", std::string(IsListOfNames(asked) ? asked : kUsualHeaders)},
      {"Access-Control-Max-Age", std::string(kMaxAgeSeconds)}};
  if (request.header("access-control-request-private-network") == "true")
    response.headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  return response;
}

}  // namespace prefixd
