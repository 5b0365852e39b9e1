#include "text/output/json_scanner.h"

namespace prefixd {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

JsonScanner::Result JsonScanner::Push(char c) {
  switch (state_) {
    case State::kValue:
      return IsSpace(c) && !open_.empty() ? Result::kMore : BeginValue(c);
    case State::kFirstItem:
      if (c == ']') return Close('[');
      return IsSpace(c) ? Result::kMore : BeginValue(c);
    case State::kFirstKey:
      if (c == '}') return Close('{');
      [[fallthrough]];
    case State::kKey:
      if (IsSpace(c)) return Result::kMore;
      if (c != '"') return Result::kFault;
      in_key_ = true;
      state_ = State::kString;
      return Result::kMore;
    case State::kColon:
      if (c == ':') state_ = State::kValue;
      return c == ':' || IsSpace(c) ? Result::kMore : Result::kFault;
    case State::kAfter:
      return After(c);
    case State::kString:
    case State::kEscape:
    case State::kHex:
      return InString(c);
    case State::kWord:
      if (c != word_.front()) return Result::kFault;
      word_.remove_prefix(1);
      if (word_.empty()) state_ = State::kAfter;
      return Result::kMore;
    default:
      if (InNumber(c)) return Result::kMore;
      if (!number_whole()) return Result::kFault;
      state_ = State::kAfter;
      return After(c);
  }
}

JsonScanner::Result JsonScanner::BeginValue(char c) {
  if (c == '{' || c == '[') {
    if (open_.size() == most_depth_) return Result::kFault;
    open_.push_back(c);
    state_ = c == '{' ? State::kFirstKey : State::kFirstItem;
    return Result::kMore;
  }
  if (c == '"') {
    in_key_ = false;
    state_ = State::kString;
    return Result::kMore;
  }
  if (open_.empty()) return Result::kFault;
  if (c == 't' || c == 'f' || c == 'n') {
    word_ = c == 't' ? "rue" : c == 'f' ? "alse" : "ull";
    state_ = State::kWord;
    return Result::kMore;
  }
  if (c != '-' && !IsDigit(c)) return Result::kFault;
  state_ = c == '-' ? State::kMinus : c == '0' ? State::kZero : State::kDigits;
  return Result::kMore;
}

JsonScanner::Result JsonScanner::InString(char c) {
  if (state_ == State::kEscape) {
    if (c == 'u') hex_left_ = 4;
    state_ = c == 'u' ? State::kHex : State::kString;
    return std::string_view("\"\\/bfnrtu").find(c) != std::string_view::npos ? Result::kMore : Result::kFault;
  }
  if (state_ == State::kHex) {
    if (--hex_left_ == 0) state_ = State::kString;
    return IsHex(c) ? Result::kMore : Result::kFault;
  }
  if (c == '\\') {
    state_ = State::kEscape;
  } else if (c == '"') {
    if (!in_key_) return ValueEnded();
    state_ = State::kColon;
  } else if (static_cast<unsigned char>(c) < 0x20) {
    return Result::kFault;
  }
  return Result::kMore;
}

bool JsonScanner::InNumber(char c) {
  const bool digit = IsDigit(c), exponent = c == 'e' || c == 'E';
  switch (state_) {
    case State::kMinus:
      if (digit) state_ = c == '0' ? State::kZero : State::kDigits;
      return digit;
    case State::kZero:
    case State::kDigits:
      if (digit) return state_ == State::kDigits;
      if (c == '.') state_ = State::kPoint;
      if (exponent) state_ = State::kExponent;
      return c == '.' || exponent;
    case State::kPoint:
      if (digit) state_ = State::kFraction;
      return digit;
    case State::kFraction:
      if (exponent) state_ = State::kExponent;
      return digit || exponent;
    case State::kExponent:
      if (c == '+' || c == '-') {
        state_ = State::kExponentSign;
        return true;
      }
      [[fallthrough]];
    default:  // kExponentSign, kPower
      if (digit) state_ = State::kPower;
      return digit;
  }
}

bool JsonScanner::number_whole() const {
  return state_ == State::kZero || state_ == State::kDigits || state_ == State::kFraction ||
         state_ == State::kPower;
}

JsonScanner::Result JsonScanner::After(char c) {
  if (IsSpace(c)) return Result::kMore;
  if (c == '}') return Close('{');
  if (c == ']') return Close('[');
  if (c != ',') return Result::kFault;
  state_ = open_.back() == '{' ? State::kKey : State::kValue;
  return Result::kMore;
}

JsonScanner::Result JsonScanner::Close(char open) {
  if (open_.back() != open) return Result::kFault;
  open_.pop_back();
  return ValueEnded();
}

JsonScanner::Result JsonScanner::ValueEnded() {
  if (open_.empty()) return Result::kDone;
  state_ = State::kAfter;
  return Result::kMore;
}

namespace {

// Whether the text is a value where `before` and `after` stand around it.
bool IsValueWithin(std::string_view before, std::string_view text, std::string_view after) {
  // A number ends within an object or array only. The one around it does not count.
  JsonScanner scanner(JsonScanner::kMostDepth + 1);
  for (const char c : before) (void)scanner.Push(c);
  for (const char c : text) {
    if (scanner.Push(c) != JsonScanner::Result::kMore) return false;
  }
  return scanner.Push(after.front()) == JsonScanner::Result::kDone;
}

}  // namespace

// "1,2" is a part of an array, and "1,"a":2" one of an object, but no value is both.
bool IsJson(std::string_view text) {
  return IsValueWithin("[", text, "]") && IsValueWithin("{\"\":", text, "}");
}

}  // namespace prefixd
