// CorsPolicy: which pages of other origins may read the answers of this server in a browser, and the headers
// that say so (cross-origin resource sharing, as the Fetch standard defines it).
//
// Threads: any; a plain value after Parse.
//
// Invariants
//   1. A request without Origin, or with one that is not listed, gets no header that allows anything.
//   2. Answers never allow credentials. Keys are sent in a header, which pages set themselves.
//   3. Unless the policy is empty, every answer says that it depends on the origin, so that caches keep one
//      for each.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "daemon/http/exchange.h"

namespace prefixd {

class CorsPolicy {
 public:
  CorsPolicy() = default;  // no page of another origin

  // `list` is "" for none, "*" for every origin, or origins with commas between them: SCHEME://HOST[:PORT].
  // kInvalidArgument names the part that is none of these.
  static Result<CorsPolicy> Parse(std::string_view list);

  // The headers of an answer to a request with this Origin; "" when it has none.
  HttpHeaders ResponseHeaders(std::string_view origin) const;
  // The answer to a preflight request of a listed origin, without ResponseHeaders; nothing for others.
  std::optional<HttpResponse> PreflightResponse(const HttpRequest& request) const;

 private:
  bool Allows(std::string_view origin) const;

  bool any_ = false;
  std::vector<std::string> origins_;  // in lower case, without the default port
};

}  // namespace prefixd
