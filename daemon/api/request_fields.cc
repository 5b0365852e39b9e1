#include "daemon/api/request_fields.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/log.h"

namespace prefixd {

namespace json = boost::json;

ApiError BadParameter(std::string param, std::string message, std::string code) {
  return {.status = 400, .code = std::move(code), .param = std::move(param), .message = std::move(message)};
}

bool IsGivenName(std::string_view name) {
  constexpr size_t kMostBytes = 64;
  return !name.empty() && name.size() <= kMostBytes && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

ApiError UnsupportedParameter(std::string param, std::string_view what) {
  std::string message = "'" + param + "': " + std::string(what) + " is not supported by this server.";
  return BadParameter(std::move(param), std::move(message), "unsupported_parameter");
}

// What only chat templates read. The other fields need no integers beyond 64 bits.
constexpr std::string_view kVerbatim[] = {"arguments", "tools", "documents", "chat_template_kwargs"};

Parsed<json::object> ParseBody(std::string_view body, const json::storage_ptr& storage) {
  Result<json::object> object = ParseJsonObject("The body ", body,
                                                {.max_depth = kMaxJsonDepth,
                                                 .twice = JsonParseOptions::Twice::kLast,
                                                 .verbatim = kVerbatim,
                                                 .storage = storage,
                                                 .scratch = storage});
  if (!object.ok()) return BadParameter("", object.status().message() + ".");
  return std::move(object).value();
}

namespace {

// " from 0 to 2". The bounds of a 64-bit integer are written exactly, which no double is.
std::string RangeText(const FieldError& error) {
  const auto text = [](double bound) {
    return std::abs(bound) < 0x1p63 ? NumberText(bound)
           : bound < 0              ? "-9223372036854775808"
                                    : "9223372036854775807";
  };
  if (error.low >= -0x1p63 && error.high <= 0x1p63)
    return " from " + text(error.low) + " to " + text(error.high);
  return "";
}

}  // namespace

bool RequestFields::CheckTable(std::string_view name, FieldType type, double low, double high) {
  const std::optional<std::string> fault = table_->FaultOf(name, type, low, high);
  if (!fault) return true;
  Log(LogLevel::kError, "a request read a field that its table lacks", {{"fault", *fault}});
  Fail({.status = 500,
        .type = "server_error",
        .code = "internal_error",
        .message = "A bug of the server: " + *fault + "."});
  return false;
}

ApiError RequestFields::ToApiError(const FieldError& error) {
  const bool wrong_type = error.kind == FieldError::Kind::kWrongType;
  const std::string value = QuoteJson(*error.found);
  return BadParameter(error.path,
                      "'" + error.path + "' must be " + error.expected + RangeText(error) + ", not " +
                          (wrong_type ? std::string(JsonTypeName(*error.found)) + ": " : "") + value + ".",
                      wrong_type ? "invalid_type" : "invalid_value");
}

}  // namespace prefixd
