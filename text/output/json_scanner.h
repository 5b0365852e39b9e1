// JsonScanner: finds the end of a JSON value that arrives byte by byte, and the first byte at which it is not
// JSON (RFC 8259). One owner; a plain value.
//
// Invariants
//   1. Push takes constant time. The memory is one byte for each open object or array, of which there are at
//      most `most_depth`; a deeper value is faulty.
//   2. After kDone or kFault no byte follows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace prefixd {

class JsonScanner {
 public:
  enum class Result { kMore, kDone, kFault };
  static constexpr size_t kMostDepth = 128;

  explicit JsonScanner(size_t most_depth = kMostDepth) : most_depth_(most_depth) {}

  // The value is an object, an array or a string, so that its last byte is known to be the last. It begins
  // with the first byte, without white space.
  Result Push(char c);

 private:
  enum class State : uint8_t {
    kValue,         // a value begins
    kFirstItem,     // after '[': a value or ']'
    kFirstKey,      // after '{': a key or '}'
    kKey,           // after ',' in an object
    kColon,         // after a key
    kAfter,         // after a value within an object or array
    kString,        // within a string
    kEscape,        // after '\'
    kHex,           // within \uXXXX
    kWord,          // within true, false or null
    kMinus,         // numbers, after: '-'
    kZero,          // a leading 0
    kDigits,        // digits before the point
    kPoint,         // '.'
    kFraction,      // digits after the point
    kExponent,      // 'e'
    kExponentSign,  // the sign after 'e'
    kPower,         // digits of the exponent
  };
  Result BeginValue(char c);
  Result InString(char c);
  // In a number: false when `c` ends it, which may be a fault (see number_whole).
  bool InNumber(char c);
  bool number_whole() const;
  Result After(char c);
  Result Close(char open);
  Result ValueEnded();

  const size_t most_depth_;
  State state_ = State::kValue;
  bool in_key_ = false;  // the string is a key
  int hex_left_ = 0;
  std::string_view word_;  // the rest of true, false or null
  std::string open_;       // '{' and '['
};

// Whether a text is one JSON value, with white space around it.
bool IsJson(std::string_view text);

}  // namespace prefixd
