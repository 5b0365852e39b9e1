// Reads request bodies: JSON with bounds, and fields whose errors name the parameter. Included by .cc files
// and tests of this folder. Plain values; any thread.
//
// Rules for every field: absent and null are the same; a number without a fraction is an integer however it
// is written; text is never taken for a number; names that nobody asks for are passed over.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/error_response.h"

namespace prefixd {

inline constexpr int kMaxJsonDepth = 128;

// What parsing gives: a value, or the error that answers the request.
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
Parsed<boost::json::object> ParseBody(std::string_view body);

ApiError BadParameter(std::string param, std::string message, std::string code = "");
ApiError UnsupportedParameter(std::string param, std::string_view what);

// An integer, also when written as 3.0; nothing for anything else.
std::optional<int64_t> AsInteger(const boost::json::value& value);

// The fields of one object. The first error stays; getters give their fallback then. The object outlives the
// Fields.
class Fields {
 public:
  // `place` stands before every name in errors: "", or "stream_options.".
  explicit Fields(const boost::json::object& object, std::string place = "")
      : object_(&object), place_(std::move(place)) {}

  // nullptr when absent or null.
  const boost::json::value* Find(std::string_view name) const;

  bool Bool(std::string_view name, bool fallback);
  std::optional<int64_t> Integer(std::string_view name, int64_t low, int64_t high);
  // Finite, in [low, high].
  std::optional<double> Number(std::string_view name, double low, double high);
  std::optional<std::string> String(std::string_view name);
  const boost::json::object* Object(std::string_view name);
  const boost::json::array* Array(std::string_view name);

  void Fail(ApiError error) {
    if (!error_) error_ = std::move(error);
  }
  void Fail(std::string_view name, std::string message, std::string code = "") {
    Fail(BadParameter(place_ + std::string(name), std::move(message), std::move(code)));
  }
  const std::optional<ApiError>& error() const { return error_; }

 private:
  void WrongType(std::string_view name, std::string_view expected, const boost::json::value& found);

  const boost::json::object* object_;
  std::string place_;
  std::optional<ApiError> error_;
};

}  // namespace prefixd
