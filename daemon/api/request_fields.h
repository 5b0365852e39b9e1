// Reads request bodies: JSON with limits, and fields whose errors name the parameter. A thin layer over
// base/json_fields.h that turns its errors into an ApiError. Included by .cc files and tests of this folder
// only. Plain values; any thread.
//
// Rules for every field: absent and null are the same; a number without a fraction is an integer, also when
// written as 3.0; text is never a number; unknown names are ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json_fields.h"
#include "daemon/api/field_table.h"
#include "daemon/http/error_response.h"
#include "daemon/limit_table.h"

namespace prefixd {

inline constexpr int kMaxJsonDepth = Limit("json-depth");

// The result of parsing: a value, or the error that answers the request.
template <typename T>
class Parsed {
 public:
  Parsed(T value) : value_(std::move(value)) {}         // NOLINT
  Parsed(ApiError error) : error_(std::move(error)) {}  // NOLINT
  bool ok() const { return value_.has_value(); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  const ApiError& error() const { return *error_; }

 private:
  std::optional<T> value_;
  std::optional<ApiError> error_;
};

// A body as an object: strict JSON, valid UTF-8 without lone surrogates, at most kMaxJsonDepth deep.
// `storage` allocates the object and outlives it.
Parsed<boost::json::object> ParseBody(std::string_view body, const boost::json::storage_ptr& storage = {});

ApiError BadParameter(std::string param, std::string message, std::string code = "");
ApiError UnsupportedParameter(std::string param, std::string_view what);

// Whether clients may give this name to a function or a schema: 1 to 64 letters, digits, '_' and '-'.
bool IsGivenName(std::string_view name);

// The value where it is an integer, also when written as 3.0.
inline std::optional<int64_t> AsInteger(const boost::json::value& value) { return JsonInteger(value, true); }

// The fields of one object. Keeps the first error. Where a field is missing or wrong, its getter returns the
// fallback, nothing, or nullptr. The object outlives the RequestFields.
class RequestFields {
 public:
  // `prefix` begins every name in errors: "" or "stream_options.".
  explicit RequestFields(const boost::json::object& object, std::string prefix = "")
      : fields_(object, std::move(prefix)) {}
  // Of a whole body: reads only fields that the table has. Reading another one is a bug of the daemon: the
  // request fails with 500, and the process goes on. The table outlives the RequestFields.
  RequestFields(const boost::json::object& body, const FieldTable& table) : fields_(body), table_(&table) {}

  // nullptr when absent or null.
  const boost::json::value* Find(std::string_view name) {
    return MayRead(name, FieldType::kAny) ? fields_.Find(name) : nullptr;
  }

  bool Bool(std::string_view name, bool fallback) {
    if (!MayRead(name, FieldType::kBoolean)) return fallback;
    return Take(fields_.Bool(name)).value_or(fallback);
  }
  std::optional<int64_t> Integer(std::string_view name, int64_t low, int64_t high) {
    const auto first = static_cast<double>(low), last = static_cast<double>(high);
    if (!MayRead(name, FieldType::kInteger, first, last)) return {};
    return Take(fields_.Integer(name, low, high, /*whole_doubles=*/true));
  }
  // Finite, in [low, high].
  std::optional<double> Number(std::string_view name, double low, double high) {
    if (!MayRead(name, FieldType::kNumber, low, high)) return {};
    return Take(fields_.Number(name, low, high));
  }
  std::optional<std::string> String(std::string_view name) {
    if (!MayRead(name, FieldType::kString)) return {};
    return Take(fields_.String(name));
  }
  const boost::json::object* Object(std::string_view name) {
    if (!MayRead(name, FieldType::kObject)) return nullptr;
    const auto fields = Take(fields_.Object(name));
    return fields ? &fields->object() : nullptr;
  }
  const boost::json::array* Array(std::string_view name) {
    if (!MayRead(name, FieldType::kArray)) return nullptr;
    return Take(fields_.Array(name)).value_or(nullptr);
  }

  void Fail(ApiError error) {
    if (!error_) error_ = std::move(error);
  }
  void Fail(std::string_view name, std::string message, std::string code = "") {
    Fail(BadParameter(fields_.PathOf(name), std::move(message), std::move(code)));
  }
  const std::optional<ApiError>& error() const { return error_; }

 private:
  // Whether the table allows it. Otherwise fails the request and logs the field.
  bool MayRead(std::string_view name, FieldType type, double low = 0, double high = 0) {
    return table_ == nullptr || CheckTable(name, type, low, high);
  }
  bool CheckTable(std::string_view name, FieldType type, double low, double high);
  template <typename T>
  std::optional<T> Take(Field<T> field) {
    if (field.ok()) return std::move(field).value();
    if (!field.missing()) Fail(ToApiError(field.error()));
    return std::nullopt;
  }
  static ApiError ToApiError(const FieldError& error);

  JsonFields fields_;
  const FieldTable* table_ = nullptr;
  std::optional<ApiError> error_;
};

}  // namespace prefixd
