#include "base/json_fields.h"

#include <algorithm>
#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <exception>
#include <unordered_set>

#include "base/json_builder.h"
#include "base/json_fault.h"
#include "base/log.h"
#include "base/utf8.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using Kind = FieldError::Kind;

constexpr size_t kMaxQuoted = 80;

// "config.json: " as the subject of a sentence: "config.json ".
std::string SubjectOf(std::string_view prefix) {
  std::string subject(prefix);
  if (subject.ends_with(": ")) subject.replace(subject.size() - 2, 2, " ");
  return subject;
}

// A SAX handler that reads keys only. It stops at the first key that its object already has.
class KeyWatcher {
 public:
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;
  using Error = json::error_code;

  const std::optional<std::string>& duplicate() const { return duplicate_; }

  bool on_object_begin(Error&) { return keys_.emplace_back(), true; }
  bool on_object_end(size_t, Error&) { return keys_.pop_back(), true; }
  bool on_key_part(json::string_view part, size_t, Error&) { return key_.append(part), true; }
  bool on_key(json::string_view part, size_t, Error& error) {
    key_.append(part);
    if (!keys_.back().insert(key_).second) {
      duplicate_ = key_;
      error = json::error::syntax;
      return false;
    }
    key_.clear();
    return true;
  }
  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t, Error&) { return true; }
  bool on_string_part(json::string_view, size_t, Error&) { return true; }
  bool on_string(json::string_view, size_t, Error&) { return true; }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(int64_t, json::string_view, Error&) { return true; }
  bool on_uint64(uint64_t, json::string_view, Error&) { return true; }
  bool on_double(double, json::string_view, Error&) { return true; }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }

 private:
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
  std::string key_;
  std::optional<std::string> duplicate_;
};

// A key that one object of `text` has twice, and the line where it comes again. `text` is valid JSON.
struct Duplicate {
  std::string key;
  int64_t line;
};
std::optional<Duplicate> DuplicateKey(std::string_view text, const json::parse_options& options) {
  json::basic_parser<KeyWatcher> parser(options);
  json::error_code error;
  const size_t stopped = parser.write_some(false, text.data(), text.size(), error);
  const std::optional<std::string>& key = parser.handler().duplicate();
  if (!key) return std::nullopt;
  const std::string_view read = text.substr(0, stopped);
  return Duplicate{*key, 1 + std::count(read.begin(), read.end(), '\n')};
}

// " from 1 to 8". A bound of 64-bit integers counts as no bound.
std::string RangeText(double low, double high) {
  const bool has_low = low > -0x1p63, has_high = high < 0x1p63;
  if (has_low && has_high) return " from " + NumberText(low) + " to " + NumberText(high);
  if (has_low) return " of at least " + NumberText(low);
  return has_high ? " of at most " + NumberText(high) : "";
}

// `error` about a field that must be a number in [low, high].
FieldError Bounded(FieldError error, double low, double high) {
  if (error.found != nullptr && error.found->is_number()) error.kind = Kind::kOutOfRange;
  error.low = low;
  error.high = high;
  return error;
}

// `text` in double quotes; a long one without its end.
std::string Quoted(std::string_view text) {
  return json::serialize(json::string(RepairUtf8(text.substr(0, kMaxQuoted))));
}

// Writes `value` as JSON, with the numbers of NumberText.
void AppendJson(const json::value& value, std::string* text) {
  if (text->size() > kMaxQuoted) return;  // it will be cut
  if (value.is_object()) {
    const char* separator = "{";
    for (const auto& [key, member] : value.get_object()) {
      *text += separator + Quoted(key) + ":";
      AppendJson(member, text);
      separator = ",";
    }
    *text += value.get_object().empty() ? "{}" : "}";
  } else if (value.is_array()) {
    const char* separator = "[";
    for (const json::value& element : value.get_array()) {
      *text += separator;
      AppendJson(element, text);
      separator = ",";
    }
    *text += value.get_array().empty() ? "[]" : "]";
  } else if (value.is_double()) {
    const std::string number = NumberText(value.get_double());
    *text += number;
    if (number.find_first_not_of("-0123456789") == number.npos) *text += ".0";
  } else if (value.is_string()) {
    const std::string_view string = value.get_string();
    *text += string.starts_with(kJsonNumberMark) ? std::string(string.substr(1, kMaxQuoted)) : Quoted(string);
  } else {
    *text += json::serialize(value);
  }
}

std::string AtMost(size_t count, std::string_view what) {
  return "an array of at most " + std::to_string(count) + " " + std::string(what);
}

}  // namespace

Result<json::object> ParseJsonObject(std::string_view prefix, std::string_view text,
                                     const JsonParseOptions& options) {
  const std::string where = SubjectOf(prefix);
  if (text.size() > options.max_bytes) {
    return Unsupported(where + "has " + std::to_string(text.size()) + " bytes, the limit is " +
                       std::to_string(options.max_bytes));
  }
  json::parse_options parse_options;
  parse_options.max_depth = options.max_depth;
  json::error_code error;
  std::optional<json::value> parsed;
  size_t stopped = 0;
  try {
    unsigned char small[4096];
    json::basic_parser<JsonBuilder> parser(parse_options, options.storage, options.scratch, options.verbatim,
                                           std::span(small));
    stopped = parser.write_some(false, text.data(), text.size(), error);
    if (!error && stopped < text.size()) error = json::error::extra_data;
    if (!error) parsed.emplace(parser.handler().Release());
  } catch (const std::exception& thrown) {  // sizes beyond the limits of the library
    return Corrupt(where + "cannot be read as JSON: " + thrown.what());
  }
  if (error) {
    return Corrupt(where + "is not valid JSON" + DescribeJsonFault(text, stopped, error.message()));
  }
  json::value& value = *parsed;
  if (!value.is_object())
    return Corrupt(where + "must be a JSON object, not " + std::string(JsonTypeName(value)));
  using Twice = JsonParseOptions::Twice;
  const auto twice = options.twice == Twice::kLast ? std::nullopt : DuplicateKey(text, parse_options);
  if (twice && options.twice == Twice::kRefuse)
    return Corrupt(where + "has the key '" + twice->key + "' twice in one object");
  if (twice) {
    Log(LogLevel::kWarning, "a JSON object has a key twice, and the last one counts; remove the other",
        {{"where", where.substr(0, where.find_last_not_of(": ") + 1)},
         {"key", twice->key},
         {"again_in_line", twice->line}});
  }
  return std::move(value.get_object());
}

std::optional<int64_t> JsonInteger(const json::value& value, bool whole_doubles) {
  if (value.is_int64()) return value.get_int64();
  // Doubles beyond 2^53 are whole by lack of precision, not by intent.
  if (whole_doubles && value.is_double() && std::floor(value.get_double()) == value.get_double() &&
      std::abs(value.get_double()) <= 0x1.0p53) {
    return static_cast<int64_t>(value.get_double());
  }
  return std::nullopt;
}

std::string_view JsonTypeName(const json::value& value) {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "a number", "a number",
                                         "a number", "a string",  "an array", "an object"};
  static_assert(static_cast<size_t>(json::kind::object) + 1 == std::size(kNames));
  return kNames[static_cast<size_t>(value.kind())];
}

std::string QuoteJson(const json::value& value) {
  std::string text;
  AppendJson(value, &text);
  if (text.size() > kMaxQuoted) text = RepairUtf8(text.substr(0, kMaxQuoted - 3)) + "...";
  return text;
}

std::string NumberText(double number) {
  if (number == std::floor(number) && std::abs(number) < 1e15)
    return std::to_string(static_cast<int64_t>(number));
  // Without an exponent, the digits of a large one would seem to be exact.
  std::array<char, 32> text;
  char *begin = text.data(), *end = begin + text.size();
  return {begin, std::abs(number) >= 1e15 && std::isfinite(number)
                     ? std::to_chars(begin, end, number, std::chars_format::scientific).ptr
                     : std::to_chars(begin, end, number).ptr};
}

Status FieldError::ToStatus() const {
  std::string message = path + (found == nullptr ? " is missing" : " is " + QuoteJson(*found));
  if (kind == Kind::kUnsupported) message += ", which is not supported";
  if (kind == Kind::kUnknownKey) message += ", but this key is not supported";
  if (!expected.empty()) {
    message +=
        (code == Code::kUnsupported ? " (supported: " : " (expected: ") + expected + RangeText(low, high);
    if (expected == "an integer" && found != nullptr && JsonInteger(*found, true) != JsonInteger(*found))
      message += ", without a decimal point";
    message += ")";
  }
  return Status(code, std::move(message));
}

const json::value* JsonFields::Find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool JsonFields::IsNull(std::string_view key) const { return Find(key) == nullptr && object_->contains(key); }

FieldError JsonFields::Error(Kind kind, std::string_view key, std::string expected) const {
  const bool unsupported = kind == Kind::kUnsupported || kind == Kind::kUnknownKey;
  return {kind, unsupported ? Code::kUnsupported : wrong_, PathOf(key), std::move(expected),
          object_->if_contains(key)};
}

FieldError JsonFields::NotA(std::string_view type, std::string_view key) const {
  return Error(Find(key) == nullptr ? Kind::kMissing : Kind::kWrongType, key, std::string(type));
}

FieldError JsonFields::ElementError(std::string_view key, size_t index, std::string expected) const {
  FieldError error = Error(Kind::kWrongType, key, std::move(expected));
  error.path += "[" + std::to_string(index) + "]";
  error.found = &error.found->as_array().at(index);
  return error;
}

Field<bool> JsonFields::Bool(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_bool()) return NotA("a boolean", key);
  return value->get_bool();
}

Field<int64_t> JsonFields::Integer(std::string_view key, int64_t low, int64_t high,
                                   bool whole_doubles) const {
  const json::value* value = Find(key);
  const auto number = value == nullptr ? std::nullopt : JsonInteger(*value, whole_doubles);
  if (number && *number >= low && *number <= high) return *number;
  return Bounded(NotA("an integer", key), static_cast<double>(low), static_cast<double>(high));
}

Field<double> JsonFields::Number(std::string_view key, double low, double high) const {
  const json::value* value = Find(key);
  const double number = value != nullptr && value->is_number() ? value->to_number<double>() : NAN;
  if (std::isfinite(number) && number >= low && number <= high) return number;
  return Bounded(NotA("a number", key), low, high);
}

Field<std::string> JsonFields::String(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_string()) return NotA("a string", key);
  return std::string(value->get_string());
}

Field<const json::array*> JsonFields::Array(std::string_view key, size_t max_size) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_array()) return NotA("an array", key);
  if (value->get_array().size() > max_size) return Error(Kind::kOutOfRange, key, AtMost(max_size, "values"));
  return &value->get_array();
}

Field<std::vector<int64_t>> JsonFields::Integers(std::string_view key, int64_t low, int64_t high,
                                                 size_t max_size) const {
  const Field<const json::array*> array = Array(key, max_size);
  if (!array.ok()) return array.error();
  std::vector<int64_t> numbers;
  for (const json::value& value : *array.value()) {
    if (!value.is_int64() || value.get_int64() < low || value.get_int64() > high) {
      return Bounded(ElementError(key, numbers.size(), "an integer"), static_cast<double>(low),
                     static_cast<double>(high));
    }
    numbers.push_back(value.get_int64());
  }
  return numbers;
}

Field<JsonFields> JsonFields::Object(std::string_view key) const {
  const json::value* value = Find(key);
  if (value == nullptr || !value->is_object()) return NotA("an object", key);
  return JsonFields(value->get_object(), PathOf(key) + ".", wrong_);
}

Field<std::vector<JsonFields>> JsonFields::Objects(std::string_view key, size_t max_size) const {
  const Field<const json::array*> array = Array(key, max_size);
  if (!array.ok()) return array.error();
  std::vector<JsonFields> objects;
  for (const json::value& value : *array.value()) {
    if (!value.is_object()) return ElementError(key, objects.size(), "an object");
    objects.emplace_back(value.get_object(), PathOf(key) + "[" + std::to_string(objects.size()) + "].",
                         wrong_);
  }
  return objects;
}

Status JsonFields::AllowOnly(std::span<const std::string_view> keys) const {
  for (const auto& member : *object_) {
    const std::string_view key = member.key();
    if (!key.empty() && std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    std::string known;
    for (const std::string_view one : keys) {
      if (!one.empty()) known += (known.empty() ? "" : ", ") + std::string(one);
    }
    return Error(Kind::kUnknownKey, key, std::move(known)).ToStatus();
  }
  return Status::Ok();
}

Status JsonFields::Wrong(std::string_view key, std::string expected) const {
  return Error(Kind::kOutOfRange, key, std::move(expected)).ToStatus();
}

Status JsonFields::Unsupported(std::string_view key, std::string supported) const {
  return Error(Kind::kUnsupported, key, std::move(supported)).ToStatus();
}

Status JsonFields::WrongElement(std::string_view key, size_t index, std::string expected) const {
  return ElementError(key, index, std::move(expected)).ToStatus();
}

}  // namespace prefixd
