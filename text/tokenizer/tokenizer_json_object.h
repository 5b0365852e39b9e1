// Objects of a tokenizer.json under reading: every complaint names the JSON path and the value. For
// tokenizer_json.cc and tokenizer_json_stages.cc alone.
#pragma once

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/unicode.h"

namespace prefixd::tokenizer_json {

namespace json = boost::json;

// A value for a message: JSON of at most 120 bytes.
inline std::string Show(const json::value& value) {
  std::string text = json::serialize(value);
  if (text.size() > 120) text = text.substr(0, 117) + "...";
  return IsValidUtf8(text) ? text : RepairUtf8(text);
}

// An object of the file and where it stands; every reader names both when the value is not what it should be.
class Object {
 public:
  static Result<Object> From(const json::value& value, std::string path) {
    if (!value.is_object()) return Corrupt(path + " is " + Show(value) + ", not an object");
    return Object(value.as_object(), std::move(path));
  }

  const std::string& path() const { return path_; }
  std::string PathOf(std::string_view key) const {
    return path_ + (path_.empty() ? "" : ".") + std::string(key);
  }

  // Null where the key is absent or its value is null.
  const json::value* Find(std::string_view key) const {
    const json::value* value = object_->if_contains(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  Result<std::string> String(std::string_view key) const {
    const json::value* value = Find(key);
    if (value == nullptr || !value->is_string()) return Wrong(key, "a string");
    return std::string(value->get_string());
  }
  Result<std::string> StringOr(std::string_view key, std::string_view otherwise) const {
    return Find(key) == nullptr ? Result<std::string>(std::string(otherwise)) : String(key);
  }
  Result<bool> Bool(std::string_view key) const {
    const json::value* value = Find(key);
    if (value == nullptr || !value->is_bool()) return Wrong(key, "true or false");
    return value->get_bool();
  }
  Result<bool> BoolOr(std::string_view key, bool otherwise) const {
    return Find(key) == nullptr ? Result<bool>(otherwise) : Bool(key);
  }
  Result<int64_t> IntegerIn(std::string_view key, int64_t low, int64_t high) const {
    const json::value* value = Find(key);
    if (value == nullptr || !value->is_int64() || value->get_int64() < low || value->get_int64() > high) {
      return Wrong(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return value->get_int64();
  }
  Result<const json::array*> Array(std::string_view key, size_t max_size) const {
    const json::value* value = Find(key);
    if (value == nullptr || !value->is_array()) return Wrong(key, "an array");
    if (value->get_array().size() > max_size)
      return Wrong(key, "an array of at most " + std::to_string(max_size));
    return &value->get_array();
  }

  // An option that prefixd does not know could change the tokens: only the named keys may be there.
  Status AllowOnly(std::initializer_list<std::string_view> keys) const {
    return AllowOnly(std::span(keys.begin(), keys.size()));
  }
  Status AllowOnly(std::span<const std::string_view> keys) const {  // empty ones stand for nothing
    for (const auto& member : *object_) {
      const std::string_view key = member.key();
      if (key.empty() || std::find(keys.begin(), keys.end(), key) == keys.end()) return Lacks(key);
    }
    return Status::Ok();
  }

  Status Wrong(std::string_view key, std::string_view expected) const {
    const json::value* value = object_->if_contains(key);
    return Corrupt(PathOf(key) + (value ? " is " + Show(*value) : " is missing") + ", expected " +
                   std::string(expected));
  }
  Status Lacks(std::string_view key) const {
    return Unsupported(PathOf(key) + " = " + Show(object_->at(key)) + " is not supported by prefixd");
  }

 private:
  Object(const json::object& object, std::string path) : object_(&object), path_(std::move(path)) {}

  const json::object* object_;
  std::string path_;
};

// Normalizer, pre-tokenizer, post-processor and decoder of the file whose root this is.
Status ReadStages(const Object& root, TokenizerSpec* out);

}  // namespace prefixd::tokenizer_json
