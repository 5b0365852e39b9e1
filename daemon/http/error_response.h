// The body of every error that leaves over HTTP: {"error":{"message","type","param","code"}}, all four always
// there. Plain values; any thread.
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
  std::string param;  // the JSON path of the field at fault; empty: null
  std::string message;
  int retry_after = 0;  // seconds, 1..60; 0: no Retry-After
  HttpHeaders headers;  // more of them, such as Allow
};

// {"error":{...}} as text; also what a stream that fails half-way carries.
std::string ErrorBody(const ApiError& error);
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace prefixd
