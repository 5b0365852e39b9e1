#include "daemon/http/error_response.h"

#include <boost/json.hpp>

#include "base/utf8.h"

namespace prefixd {

namespace {

boost::json::value TextOrNull(const std::string& text) {
  return text.empty() ? boost::json::value(nullptr) : boost::json::value(text);
}

}  // namespace

std::string ErrorBody(const ApiError& error) {
  // Messages quote paths and headers, which may contain any bytes. JSON must be UTF-8.
  const boost::json::object inner = {{"message", RepairUtf8(error.message)},
                                     {"type", error.type},
                                     {"param", TextOrNull(error.param)},
                                     {"code", TextOrNull(error.code)}};
  return boost::json::serialize(boost::json::object{{"error", inner}});
}

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.status;
  response.headers = error.headers;
  if (error.retry_after > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after));
  response.body = ErrorBody(error);
  return response;
}

}  // namespace prefixd
