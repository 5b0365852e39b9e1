#include "model/json_fields.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <unordered_set>

namespace prefixd {
namespace {

namespace bj = boost::json;

// Events of a JSON text, of which only the keys matter: stops at the first that its object has already.
class KeyWatcher {
 public:
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);
  using Error = bj::error_code;

  const std::string& duplicate() const { return duplicate_; }

  bool on_object_begin(Error&) { return keys_.emplace_back(), true; }
  bool on_object_end(size_t, Error&) { return keys_.pop_back(), true; }
  bool on_key_part(bj::string_view part, size_t, Error&) {
    return key_.append(part.data(), part.size()), true;
  }
  bool on_key(bj::string_view part, size_t, Error& error) {
    key_.append(part.data(), part.size());
    if (!keys_.back().insert(key_).second) {
      duplicate_ = key_;
      error = bj::error::syntax;
      return false;
    }
    key_.clear();
    return true;
  }
  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t, Error&) { return true; }
  bool on_string_part(bj::string_view, size_t, Error&) { return true; }
  bool on_string(bj::string_view, size_t, Error&) { return true; }
  bool on_number_part(bj::string_view, Error&) { return true; }
  bool on_int64(int64_t, bj::string_view, Error&) { return true; }
  bool on_uint64(uint64_t, bj::string_view, Error&) { return true; }
  bool on_double(double, bj::string_view, Error&) { return true; }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(bj::string_view, Error&) { return true; }
  bool on_comment(bj::string_view, Error&) { return true; }

 private:
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
  std::string key_, duplicate_;
};

std::string DuplicateKey(std::string_view text) {
  bj::basic_parser<KeyWatcher> parser{bj::parse_options{}};
  bj::error_code error;
  parser.write_some(false, text.data(), text.size(), error);
  return parser.handler().duplicate();
}

// Numbers are at most 1e15 here, where every integer is a double.
std::string Show(double number) {
  if (number == std::floor(number) && std::abs(number) < 1e15)
    return std::to_string(static_cast<int64_t>(number));
  return bj::serialize(bj::value(number));
}

std::string Range(std::string_view what, double low, double high) {
  return std::string(what) + " from " + Show(low) + " to " + Show(high);
}

}  // namespace

Result<bj::object> ParseJsonObject(std::string_view file, std::string_view text) {
  bj::error_code error;
  bj::value value = bj::parse(bj::string_view(text.data(), text.size()), error);
  const std::string place(file);
  if (error) return Corrupt(place + ": not valid JSON: " + error.message());
  if (!value.is_object()) return Corrupt(place + ": must be a JSON object, is " + Quote(value));
  if (const std::string key = DuplicateKey(text); !key.empty()) {
    return Corrupt(place + ": the key '" + key + "' is given twice in one object");
  }
  return std::move(value.get_object());
}

std::string Quote(const bj::value& value) {
  constexpr size_t kLongest = 60;
  std::string text = bj::serialize(value);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  if (value.is_string() && text.size() >= 2 && text.back() == '"') text.front() = text.back() = '\'';
  return text;
}

const bj::value* JsonFields::Find(std::string_view key) const {
  const bj::value* value = object_->if_contains(bj::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool JsonFields::IsNull(std::string_view key) const {
  const bj::value* value = object_->if_contains(bj::string_view(key.data(), key.size()));
  return value != nullptr && value->is_null();
}

Status JsonFields::Lacks(std::string_view key, std::string_view supported) const {
  const bj::value* value = Find(key);
  return Unsupported(place_ + ": " + std::string(key) + " " + (value == nullptr ? "null" : Quote(*value)) +
                     " is not supported (supported: " + std::string(supported) + ")");
}

Status JsonFields::Bad(std::string_view key, std::string_view expected) const {
  const bj::value* value = Find(key);
  std::string message = place_ + ": " + std::string(key);
  message += value == nullptr ? " is missing" : " is " + Quote(*value);
  return InvalidArgument(message + " (expected: " + std::string(expected) + ")");
}

Result<int> JsonFields::Int(std::string_view key, int low, int high) const {
  const bj::value* value = Find(key);
  const int64_t* number = value == nullptr ? nullptr : value->if_int64();
  if (number == nullptr || *number < low || *number > high)
    return Bad(key, Range("a whole number", low, high));
  return static_cast<int>(*number);
}

Result<double> JsonFields::Number(std::string_view key, double low, double high) const {
  const bj::value* value = Find(key);
  double number = NAN;
  if (value != nullptr && value->is_int64()) number = static_cast<double>(value->get_int64());
  if (value != nullptr && value->is_uint64()) number = static_cast<double>(value->get_uint64());
  if (value != nullptr && value->is_double()) number = value->get_double();
  if (!(number >= low && number <= high)) return Bad(key, Range("a number", low, high));
  return number;
}

Result<int> JsonFields::IntOr(std::string_view key, int low, int high, int fallback) const {
  if (Find(key) == nullptr) return fallback;
  return Int(key, low, high);
}

Result<double> JsonFields::NumberOr(std::string_view key, double low, double high, double fallback) const {
  if (Find(key) == nullptr) return fallback;
  return Number(key, low, high);
}

Result<bool> JsonFields::BoolOr(std::string_view key, bool fallback) const {
  const bj::value* value = Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) return Bad(key, "true or false");
  return value->get_bool();
}

Result<std::string> JsonFields::StringOr(std::string_view key, std::string_view fallback) const {
  const bj::value* value = Find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return Bad(key, "a string");
  return std::string(value->get_string().data(), value->get_string().size());
}

Result<std::vector<TokenId>> JsonFields::TokenIds(std::string_view key, int bound) const {
  std::vector<TokenId> ids;
  const bj::value* value = Find(key);
  if (value == nullptr) return ids;
  const bj::array one = value->is_array() ? bj::array() : bj::array{*value};
  for (const bj::value& id : value->is_array() ? value->get_array() : one) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= bound) {
      return Bad(key, "token ids below the vocabulary size " + std::to_string(bound));
    }
    ids.push_back(static_cast<TokenId>(id.get_int64()));
  }
  return ids;
}

}  // namespace prefixd
