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
  std::string code;   // an empty code is sent as null
  std::string param;  // JSON path of the wrong field; an empty path is sent as null
  std::string message;
  int retry_after = 0;  // seconds, 1 to 60; 0: no Retry-After
  HttpHeaders headers;  // additional headers, such as Allow
};

// The error for a request that needs more bytes than the budget has free now. `needed` is what the request
// holds and asks for; more than the budget can ever give makes it a 413, which no later try would change.
ApiError NoRoomError(const ByteBudget& budget, size_t needed = 0);

// The error for requests that come, or are not answered yet, when the server stops.
ApiError ShuttingDownError();

// Returns the JSON text {"error":{...}}. A stream that fails after it has begun sends this text as an event.
std::string ErrorBody(const ApiError& error);
// Returns a response with the status and headers of `error`, and with ErrorBody(error) as its body.
HttpResponse ErrorResponse(const ApiError& error);

}  // namespace prefixd
