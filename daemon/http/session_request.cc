#include "daemon/http/session_request.h"

#include <boost/beast/http/error.hpp>
#include <utility>

namespace prefixd {

namespace http = boost::beast::http;

namespace {

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Framing FramingOf(const BeastRequest& head) {
  return {.version = static_cast<int>(head.version()),
          .content_lengths = static_cast<int>(head.count(http::field::content_length)),
          .content_length = View(head[http::field::content_length]),
          .transfer_encodings = static_cast<int>(head.count(http::field::transfer_encoding)),
          .transfer_encoding = View(head[http::field::transfer_encoding]),
          .expect = View(head[http::field::expect]),
          .hosts = static_cast<int>(head.count(http::field::host))};
}

std::optional<HttpRequest> RequestFromHead(const BeastRequest& head) {
  auto target = SplitTarget(View(head.target()));
  if (!target) return std::nullopt;
  HttpRequest request;
  request.method = std::string(View(head.method_string()));
  request.path = std::move(target->first);
  request.query = std::move(target->second);
  for (const auto& field : head) {
    std::string name(View(field.name_string()));
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    request.headers.emplace_back(std::move(name), std::string(View(field.value())));
  }
  return request;
}

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
