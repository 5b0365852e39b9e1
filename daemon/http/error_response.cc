#include "daemon/http/error_response.h"

#include <boost/json.hpp>

#include "base/utf8.h"

namespace prefixd {

namespace {

boost::json::value TextOrNull(const std::string& text) {
  return text.empty() ? boost::json::value(nullptr) : boost::json::value(text);
}

std::string OpenAiBody(const ApiError& error, std::string_view) { return ErrorBody(error); }

std::string OpenAiEvent(const ApiError& error, std::string_view) {
  return "data: " + ErrorBody(error) + "\n\n";
}

}  // namespace

const ErrorStyle kOpenAiErrors{OpenAiBody, OpenAiEvent, ""};

std::string ErrorBody(const ApiError& error) {
  // Messages quote paths and headers, which may contain any bytes. JSON must be UTF-8.
  const boost::json::object inner = {{"message", RepairUtf8(error.message)},
                                     {"type", error.type},
                                     {"param", TextOrNull(error.param)},
                                     {"code", TextOrNull(error.code)}};
  return boost::json::serialize(boost::json::object{{"error", inner}});
}

ApiError NoRoomError(const ByteBudget& budget, size_t needed) {
  if (needed > budget.LargeLimit()) {
    return {.status = 413,
            .code = "request_too_large",
            .message = "This request and its answer need about " + std::to_string(needed) +
                       " bytes of memory; one request can have " + std::to_string(budget.LargeLimit()) +
                       " (--max-inflight). Ask for less at once."};
  }
  return {.status = 503,
          .type = "server_error",
          .code = "overloaded",
          .message = "The requests and answers in the server have reached the limit of " +
                     std::to_string(budget.limit()) + " bytes (--max-inflight). Try again later.",
          .retry_after = 1};
}

ApiError ShuttingDownError() {
  return {.status = 503,
          .type = "server_error",
          .code = "overloaded",
          .message = "The server is shutting down; try another one.",
          .retry_after = 5};
}

HttpResponse ErrorResponse(const ApiError& error, const ErrorStyle& style, std::string_view request_id) {
  HttpResponse response;
  response.status = error.status;
  response.headers = error.headers;
  if (error.retry_after > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  response.body = style.body(error, request_id);
  return response;
}

void RespondError(Exchange& exchange, const ApiError& error) {
  exchange.Respond(ErrorResponse(error, exchange.errors(), exchange.request_id()));
}

}  // namespace prefixd
