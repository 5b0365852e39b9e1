#include "daemon/api/request_fields.h"

#include <boost/json/serialize.hpp>
#include <limits>

namespace prefixd {

namespace json = boost::json;

ApiError BadParameter(std::string param, std::string message, std::string code) {
  return {.status = 400, .code = std::move(code), .param = std::move(param), .message = std::move(message)};
}

ApiError UnsupportedParameter(std::string param, std::string_view what) {
  std::string message = "'" + param + "': " + std::string(what) + " is not supported by this server.";
  return BadParameter(std::move(param), std::move(message), "unsupported_parameter");
}

Parsed<json::object> ParseBody(std::string_view body, const json::storage_ptr& storage) {
  Result<json::object> object = ParseJsonObject("The body ", body,
                                                {.max_depth = kMaxJsonDepth,
                                                 .twice = JsonParseOptions::Twice::kLast,
                                                 .storage = storage,
                                                 .scratch = storage});
  if (!object.ok()) return BadParameter("", object.status().message() + ".");
  return std::move(object).value();
}

ApiError RequestFields::ToApiError(const FieldError& error) {
  std::string message = "'" + error.path + "' must be ";
  if (error.kind == FieldError::Kind::kWrongType) {
    message += error.expected + ", not " + std::string(JsonTypeName(*error.found)) + ".";
    return BadParameter(error.path, std::move(message), "invalid_type");
  }
  if (error.expected == "an integer") {
    message += error.expected;
    if (error.low > -0x1p63) message += " of at least " + NumberText(error.low);
    if (error.high < std::numeric_limits<int32_t>::max()) message += " and at most " + NumberText(error.high);
    message += ", not " + json::serialize(*error.found) + ".";
  } else {
    message += "between " + NumberText(error.low) + " and " + NumberText(error.high) + ".";
  }
  return BadParameter(error.path, std::move(message), "invalid_value");
}

}  // namespace prefixd
