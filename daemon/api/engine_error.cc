#include "daemon/api/engine_error.h"

namespace prefixd {

ApiError EngineError(const Status& status) {
  switch (status.code()) {
    case Code::kInvalidArgument:
      return {.status = 400, .code = "invalid_value", .message = status.message()};
    case Code::kResourceExhausted:
      return {.status = 429,
              .type = "rate_limit_error",
              .code = "rate_limit_exceeded",
              .message = status.message() + "; try again later",
              .retry_after = 1};
    case Code::kUnavailable:
      return {.status = 503,
              .type = "server_error",
              .code = "overloaded",
              .message = status.message() + "; try again later",
              .retry_after = 5};
    default:
      return {.status = 500,
              .type = "server_error",
              .code = "internal_error",
              .message = "The model failed on this request."};
  }
}

ApiError EngineError(const Status& status, const GenerationRequest& request) {
  ApiError error = EngineError(status);
  if (status.code() != Code::kInvalidArgument || request.constraint == nullptr) return error;
  error.param = request.constraint_field;
  error.code = request.constraint_code;
  return error;
}

}  // namespace prefixd
