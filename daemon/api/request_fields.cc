#include "daemon/api/request_fields.h"

#include <boost/json.hpp>
#include <cmath>
#include <limits>

namespace prefixd {

namespace {

namespace json = boost::json;

std::string_view KindName(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "something else";
}

// A limit as people write it: 2, 0.5.
std::string NumberText(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return std::to_string(static_cast<int64_t>(value));
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

}  // namespace

ApiError BadParameter(std::string param, std::string message, std::string code) {
  return {.status = 400, .code = std::move(code), .param = std::move(param), .message = std::move(message)};
}

ApiError UnsupportedParameter(std::string param, std::string_view what) {
  std::string message = "'" + param + "': " + std::string(what) + " is not supported by this server.";
  return BadParameter(std::move(param), std::move(message), "unsupported_parameter");
}

Parsed<json::object> ParseBody(std::string_view body) {
  json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  json::error_code error;
  json::value value;
  try {
    value = json::parse({body.data(), body.size()}, error, {}, options);
  } catch (const std::exception& thrown) {  // sizes beyond the library's limits
    return BadParameter("", std::string("The body cannot be read as JSON: ") + thrown.what() + ".");
  }
  if (error) return BadParameter("", "The body is not valid JSON: " + error.message() + ".");
  if (!value.is_object()) {
    return BadParameter("", "The body must be a JSON object, not " + std::string(KindName(value)) + ".");
  }
  return std::move(value.as_object());
}

std::optional<int64_t> AsInteger(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  // Doubles beyond 2^53 are whole by lack of precision, not by intent.
  if (value.is_double() && std::floor(value.get_double()) == value.get_double() &&
      std::abs(value.get_double()) <= 0x1.0p53) {
    return static_cast<int64_t>(value.get_double());
  }
  return std::nullopt;
}

const json::value* Fields::Find(std::string_view name) const {
  const json::value* value = object_->if_contains({name.data(), name.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

void Fields::WrongType(std::string_view name, std::string_view expected, const json::value& found) {
  Fail(name,
       "'" + place_ + std::string(name) + "' must be " + std::string(expected) + ", not " +
           std::string(KindName(found)) + ".",
       "invalid_type");
}

bool Fields::Bool(std::string_view name, bool fallback) {
  const json::value* value = Find(name);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return WrongType(name, "a boolean", *value), fallback;
  return value->get_bool();
}

std::optional<int64_t> Fields::Integer(std::string_view name, int64_t low, int64_t high) {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number = AsInteger(*value);
  if (!number && !value->is_number()) return WrongType(name, "an integer", *value), std::nullopt;
  if (number && *number >= low && *number <= high) return number;
  std::string message = "'" + place_ + std::string(name) + "' must be an integer";
  if (low > std::numeric_limits<int64_t>::min()) message += " of at least " + std::to_string(low);
  if (high < std::numeric_limits<int32_t>::max()) message += " and at most " + std::to_string(high);
  Fail(name, message + ", not " + json::serialize(*value) + ".", "invalid_value");
  return std::nullopt;
}

std::optional<double> Fields::Number(std::string_view name, double low, double high) {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return WrongType(name, "a number", *value), std::nullopt;
  const double number = value->to_number<double>();
  if (std::isfinite(number) && number >= low && number <= high) return number;
  Fail(name,
       "'" + place_ + std::string(name) + "' must be between " + NumberText(low) + " and " +
           NumberText(high) + ".",
       "invalid_value");
  return std::nullopt;
}

std::optional<std::string> Fields::String(std::string_view name) {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return WrongType(name, "a string", *value), std::nullopt;
  return std::string(value->get_string());
}

const json::object* Fields::Object(std::string_view name) {
  const json::value* value = Find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_object()) return WrongType(name, "an object", *value), nullptr;
  return &value->get_object();
}

const json::array* Fields::Array(std::string_view name) {
  const json::value* value = Find(name);
  if (value == nullptr) return nullptr;
  if (!value->is_array()) return WrongType(name, "an array", *value), nullptr;
  return &value->get_array();
}

}  // namespace prefixd
