// The body of every HTTP error: {"error":{"message","type","param","code"}}. All four members are always
// present. Plain values; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "daemon/http/exchange.h"

namespace prefixd {

struct ApiError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string code;   // empty: null
  std::string param;  // JSON path of the wrong field; empty: null
  std::string message;
  int retry_after = 0;  // seconds, 1 to 60; 0: no Retry-After
  HttpHeaders headers;  // additional headers, such as Allow
};

// {"error":{...}} as text. A stream that fails half-way sends it as an event.
std::string ErrorBody(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace prefixd
