// Errors of HTTP, and how each API writes them. The code that finds an error says what is wrong; the
// ErrorStyle of the route that the request was sent to makes the body of it. Plain values; any thread.
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

// How an API writes errors. Constants.
struct ErrorStyle {
  // The body of a response, as JSON.
  std::string (*body)(const ApiError& error, std::string_view request_id);
  // The last server-sent event of a stream that fails, with its blank line.
  std::string (*event)(const ApiError& error, std::string_view request_id);
  std::string_view id_header;  // all responses show the request id under this name, too; may be empty
};

// OpenAI's, and that of every route whose API has no other: {"error":{"message","type","param","code"}}. All
// four members are always present.
extern const ErrorStyle kOpenAiErrors;
std::string ErrorBody(const ApiError& error);

// Returns a response with the status and headers of `error`.
HttpResponse ErrorResponse(const ApiError& error, const ErrorStyle& style, std::string_view request_id);
void RespondError(Exchange& exchange, const ApiError& error);

}  // namespace prefixd
