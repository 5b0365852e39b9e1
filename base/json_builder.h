// The handler with which ParseJsonObject (base/json_fields.h) makes values while Boost.JSON parses. It
// differs from the handler of Boost.JSON 1.81 in its numbers. Used by json_fields.cc only, on one thread.
//
// Invariants
//   1. A number that is not an integer of 64 bits becomes the nearest double. Boost.JSON 1.81 rounds 28 % of
//      the fractions of 14 digits to a neighbour of it.
//   2. Inside the values of the keys `verbatim`, an integer of more than 64 bits becomes a string that begins
//      with kJsonNumberMark, which no valid text contains, and continues with its digits.
#pragma once

#include <algorithm>
#include <boost/json/basic_parser.hpp>
#include <boost/json/error.hpp>
#include <boost/json/storage_ptr.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/json_fields.h"

namespace prefixd {

class JsonBuilder {
 public:
  using Text = boost::json::string_view;
  using Error = boost::json::error_code;
  static constexpr size_t max_object_size = boost::json::object::max_size();
  static constexpr size_t max_array_size = boost::json::array::max_size();
  static constexpr size_t max_key_size = boost::json::string::max_size();
  static constexpr size_t max_string_size = boost::json::string::max_size();

  // `buffer` outlives the builder.
  JsonBuilder(boost::json::storage_ptr storage, boost::json::storage_ptr scratch,
              std::span<const std::string_view> verbatim, std::span<unsigned char> buffer)
      : verbatim_(verbatim), values_(std::move(scratch), buffer.data(), buffer.size()) {
    values_.reset(std::move(storage));
  }
  boost::json::value Release() { return values_.release(); }

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) { return Open(); }
  bool on_object_end(size_t size, Error&) { return values_.push_object(size), Close(); }
  bool on_array_begin(Error&) { return Open(); }
  bool on_array_end(size_t size, Error&) { return values_.push_array(size), Close(); }
  bool on_key_part(Text part, size_t, Error&) { return AddToKey(part), values_.push_chars(part), true; }
  bool on_key(Text part, size_t size, Error&) {
    AddToKey(part);
    is_verbatim_key_ =
        size == key_.size() && std::find(verbatim_.begin(), verbatim_.end(), key_) != verbatim_.end();
    key_.clear();
    values_.push_key(part);
    return true;
  }
  bool on_string_part(Text part, size_t, Error&) { return values_.push_chars(part), true; }
  bool on_string(Text part, size_t, Error&) { return values_.push_string(part), Done(); }
  bool on_number_part(Text, Error&) { return true; }
  bool on_int64(int64_t number, Text, Error&) { return values_.push_int64(number), Done(); }
  bool on_uint64(uint64_t number, Text text, Error&) {
    if (verbatim_depth_ > 0) return PushDigits(text);
    return values_.push_uint64(number), Done();
  }
  bool on_double(double number, Text text, Error&) {
    if (verbatim_depth_ > 0 && text.find_first_of(".eE") == Text::npos) return PushDigits(text);
    double nearest = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), nearest);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    values_.push_double(whole ? nearest : number);
    return Done();
  }
  bool on_bool(bool value, Error&) { return values_.push_bool(value), Done(); }
  bool on_null(Error&) { return values_.push_null(), Done(); }
  bool on_comment_part(Text, Error&) { return true; }
  bool on_comment(Text, Error&) { return true; }

 private:
  static constexpr size_t kLongestKey = 32;  // of `verbatim`

  bool Open() {
    if (verbatim_depth_ > 0 || is_verbatim_key_) ++verbatim_depth_;
    return Done();
  }
  bool Close() {
    if (verbatim_depth_ > 0) --verbatim_depth_;
    return true;
  }
  bool Done() { return is_verbatim_key_ = false, true; }
  void AddToKey(Text part) { key_.append(part.substr(0, kLongestKey - std::min(kLongestKey, key_.size()))); }
  bool PushDigits(Text text) {
    const char mark = kJsonNumberMark;
    values_.push_chars({&mark, 1});
    values_.push_string(text);
    return Done();
  }

  std::span<const std::string_view> verbatim_;
  std::string key_;
  bool is_verbatim_key_ = false;
  size_t verbatim_depth_ = 0;  // of objects and arrays inside the value of such a key
  boost::json::value_stack values_;
};

}  // namespace prefixd
