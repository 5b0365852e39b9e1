#include "daemon/http/session_errors.h"

#include <boost/beast/http/error.hpp>

namespace prefixd {

namespace http = boost::beast::http;

std::optional<ApiError> ReadErrorAnswer(boost::system::error_code error, bool timed_out,
                                        const std::string& place, const HttpServerOptions& options) {
  if (timed_out) {
    return ApiError{.status = 408,
                    .code = "request_timeout",
                    .message = "The server timed out while it read " + place + " of the request."};
  }
  if (error == http::error::body_limit) {
    return ApiError{.status = 413,
                    .code = "request_too_large",
                    .message = "The body is larger than the " + std::to_string(options.max_body_bytes) +
                               " bytes that the server accepts."};
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return ApiError{.status = 431,
                    .code = "request_header_fields_too_large",
                    .message = "The headers are larger than the " + std::to_string(options.max_header_bytes) +
                               " bytes that the server accepts."};
  }
  if (error == http::error::bad_version) {
    return ApiError{.status = 505, .message = "The server supports HTTP/1.1 and HTTP/1.0."};
  }
  // Parse errors, and requests that end early, get a response. Errors of the connection do not.
  if (error.category() != http::make_error_code(http::error::bad_method).category() ||
      error == http::error::end_of_stream) {
    return std::nullopt;
  }
  return ApiError{.status = 400,
                  .message = "The request is not valid HTTP: " + error.message() + " in " + place + "."};
}

}  // namespace prefixd
