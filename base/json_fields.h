// Reads the fields of JSON objects in model files and request bodies. A getter returns the value or a
// FieldError, which names the path, the value found and what is expected. Readers of files turn a FieldError
// into a Status; the API turns it into the error of a response. Plain values; any thread.
//
// Invariants
//   1. An absent key and a null value are the same for every getter: the field is missing.
//   2. A getter never converts between types: text is never a number, and 3.0 is an integer only on demand.
//   3. A JSON value outlives every JsonFields over it and every FieldError about it.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace prefixd {

// Stands in front of the digits of a number that is kept as a string. Valid UTF-8 does not contain it.
inline constexpr char kJsonNumberMark = '\xFF';

struct JsonParseOptions {
  size_t max_bytes = std::numeric_limits<size_t>::max();
  size_t max_depth = 32;  // of nested objects and arrays
  // An object that has a key twice: the last one counts, as in Python, silently or with a warning in the log;
  // or it is refused.
  enum class Twice : uint8_t { kLast, kWarn, kRefuse } twice = Twice::kWarn;
  // Keys in whose objects and arrays an integer of more than 64 bits keeps its digits, as a string that
  // begins with kJsonNumberMark. Elsewhere it becomes the nearest double.
  std::span<const std::string_view> verbatim;
  boost::json::storage_ptr storage;  // holds the result; it outlives the result
  boost::json::storage_ptr scratch;  // holds what parsing itself takes
};

// Parses an object as strict JSON in valid UTF-8, with the nearest doubles. Every message is a sentence about
// `prefix`, such as "config.json: " or "The body ". kCorrupt: not JSON, not an object, nested too deeply, or
// a key twice. kUnsupported: too long. The message about text that is not JSON has its line, its column (both
// from 1; a column is a code point), the text at this place and what is expected.
Result<boost::json::object> ParseJsonObject(std::string_view prefix, std::string_view text,
                                            const JsonParseOptions& options = {});

// The value where it is an integer. With `whole_doubles`, 3.0 is an integer too.
std::optional<int64_t> JsonInteger(const boost::json::value& value, bool whole_doubles = false);

// For messages: the type of a value, as in "a string"; its JSON text, cut to about 80 bytes, with numbers as
// people write them; a number as people write it: 2, 0.5, 1e-30.
std::string_view JsonTypeName(const boost::json::value& value);
std::string QuoteJson(const boost::json::value& value);
std::string NumberText(double number);

struct FieldError {
  enum class Kind : uint8_t { kMissing, kWrongType, kOutOfRange, kUnsupported, kUnknownKey };

  Kind kind;
  Code code;             // of the Status
  std::string path;      // begins with the prefix of the root: "config.json: rope_scaling.factor"
  std::string expected;  // a type or the allowed values: "an integer"; may be empty where kUnsupported
  const boost::json::value* found;  // nullptr where the key is absent
  // The range of a number, both ends included.
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();

  // One line: path, value, what is expected.
  Status ToStatus() const;
};

// What a getter of JsonFields returns: a value or a FieldError.
template <typename T>
class [[nodiscard]] Field {
 public:
  Field(T value) : state_(std::move(value)) {}           // NOLINT: a value is a field
  Field(FieldError error) : state_(std::move(error)) {}  // NOLINT: an error is a field

  bool ok() const { return std::holds_alternative<T>(state_); }
  bool missing() const { return !ok() && error().kind == FieldError::Kind::kMissing; }
  const T& value() const { return std::get<T>(state_); }
  const FieldError& error() const { return std::get<FieldError>(state_); }

  // The value. A missing field is an error, gives `fallback`, or gives nothing.
  Result<T> Required() && {
    return ok() ? Result<T>(std::get<T>(std::move(state_))) : Result<T>(error().ToStatus());
  }
  Result<T> Or(T fallback) && {
    return missing() ? Result<T>(std::move(fallback)) : std::move(*this).Required();
  }
  Result<std::optional<T>> Optional() && {
    if (missing()) return std::optional<T>();
    if (!ok()) return error().ToStatus();
    return std::optional<T>(std::get<T>(std::move(state_)));
  }

 private:
  std::variant<T, FieldError> state_;
};

// The fields of one object.
class JsonFields {
 public:
  // `prefix` begins every path: "config.json: ", or "stream_options." for an inner object. `wrong` is the
  // code of a Status about a missing or wrong value; inner objects inherit it.
  explicit JsonFields(const boost::json::object& object, std::string prefix = "",
                      Code wrong = Code::kInvalidArgument)
      : object_(&object), prefix_(std::move(prefix)), wrong_(wrong) {}

  const boost::json::object& object() const { return *object_; }
  std::string PathOf(std::string_view key) const { return prefix_ + std::string(key); }
  // nullptr where the field is missing.
  const boost::json::value* Find(std::string_view key) const;
  // Whether the key is there with a null value, for the few keys where null and absent differ.
  bool IsNull(std::string_view key) const;

  Field<bool> Bool(std::string_view key) const;
  // An integer in [low, high].
  Field<int64_t> Integer(std::string_view key, int64_t low, int64_t high, bool whole_doubles = false) const;
  // A finite number in [low, high].
  Field<double> Number(std::string_view key, double low, double high) const;
  Field<std::string> String(std::string_view key) const;
  // An array of at most `max_size` values.
  Field<const boost::json::array*> Array(std::string_view key, size_t max_size = SIZE_MAX) const;
  // An array of at most `max_size` integers in [low, high].
  Field<std::vector<int64_t>> Integers(std::string_view key, int64_t low, int64_t high,
                                       size_t max_size) const;
  Field<JsonFields> Object(std::string_view key) const;
  // An array of at most `max_size` objects.
  Field<std::vector<JsonFields>> Objects(std::string_view key, size_t max_size = SIZE_MAX) const;

  // An error for the first key that is not in `keys`. Empty strings in `keys` are ignored.
  Status AllowOnly(std::span<const std::string_view> keys) const;
  Status AllowOnly(std::initializer_list<std::string_view> keys) const {
    return AllowOnly(std::span(keys.begin(), keys.size()));
  }

  // Errors for the caller's own checks. Wrong: the value makes no sense. Unsupported: prefixd does not
  // implement what the value means; `supported` may be empty.
  Status Wrong(std::string_view key, std::string expected) const;
  Status Unsupported(std::string_view key, std::string supported = "") const;
  // The same for element `index` of the array `key`.
  Status WrongElement(std::string_view key, size_t index, std::string expected) const;

 private:
  FieldError Error(FieldError::Kind kind, std::string_view key, std::string expected) const;
  // The field is missing or not of `type`.
  FieldError NotA(std::string_view type, std::string_view key) const;
  FieldError ElementError(std::string_view key, size_t index, std::string expected) const;

  const boost::json::object* object_;
  std::string prefix_;
  Code wrong_;
};

}  // namespace prefixd
