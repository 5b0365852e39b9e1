#include "grammar/json_text.h"

#include <algorithm>
#include <array>

namespace prefixd::grammar {
namespace {

constexpr uint32_t kMostDigits = 18;
constexpr uint32_t kMostRenderedDigits = 7;  // after the point, and before it beside the first one
constexpr std::string_view kHex = "0123456789abcdef";

ExprId Digits(Expressions& to, uint32_t min, uint32_t max) { return to.Repeat(to.Bytes('0', '9'), min, max); }

ExprId HexDigit(Expressions& to) {
  return to.Choice({to.Bytes('0', '9'), to.Bytes('a', 'f'), to.Bytes('A', 'F')});
}

}  // namespace

std::string JsonText::Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    constexpr std::string_view kShort = "\b\f\n\r\t\"\\", kNames = "bfnrt\"\\";
    if (const size_t at = kShort.find(c); at != std::string_view::npos) {
      out += '\\';
      out += kNames[at];
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte / 16];
      out += kHex[byte % 16];
    } else {
      out += c;
    }
  }
  return out + '"';
}

ExprId JsonText::Space() {
  if (spelling_ != JsonSpelling::kAny) return to_.Text(" ");
  return to_.Optional(to_.Choice({to_.Text(" "), to_.Text("\n")}));
}

ExprId JsonText::Comma() { return to_.Sequence({to_.Text(","), Space()}); }
ExprId JsonText::Colon() { return to_.Sequence({to_.Text(":"), Space()}); }

ExprId JsonText::Plain(std::string_view but) {
  std::string without = std::string(but) + "\"\\";
  std::sort(without.begin(), without.end());
  std::vector<CodePointRange> ranges;
  uint32_t first = 0x20;
  for (const char c : without) {
    const auto code = static_cast<uint32_t>(static_cast<uint8_t>(c));
    if (first < code) ranges.push_back({first, code - 1});
    first = std::max(first, code + 1);
  }
  ranges.push_back({first, kLastCodePoint});
  return to_.CodePoints(ranges);
}

// \u with a surrogate is half a character: only pairs are allowed.
ExprId JsonText::Escape() {
  if (spelling_ != JsonSpelling::kAny) {
    std::vector<ExprId> names;
    for (const char c : std::string_view("\"\\bfnrt")) names.push_back(to_.Text({&c, 1}));
    return to_.Sequence({to_.Text("\\"), to_.Choice(std::move(names))});
  }
  const ExprId hex = HexDigit(to_), d = to_.Choice({to_.Text("d"), to_.Text("D")});
  const ExprId high = to_.Choice({to_.Bytes('8', '9'), to_.Bytes('a', 'b'), to_.Bytes('A', 'B')});
  const ExprId low = to_.Choice({to_.Bytes('c', 'f'), to_.Bytes('C', 'F')});
  const ExprId others = to_.Choice({to_.Bytes('0', '9'), to_.Bytes('a', 'c'), to_.Bytes('A', 'C'),
                                    to_.Bytes('e', 'f'), to_.Bytes('E', 'F')});
  const ExprId unit =
      to_.Choice({to_.Sequence({others, hex, hex, hex}), to_.Sequence({d, to_.Bytes('0', '7'), hex, hex}),
                  to_.Sequence({d, high, hex, hex, to_.Text("\\u"), d, low, hex, hex})});
  std::vector<ExprId> kinds = {to_.Sequence({to_.Text("u"), unit})};
  for (const char c : std::string_view("\"\\/bfnrt")) kinds.push_back(to_.Text({&c, 1}));
  return to_.Sequence({to_.Text("\\"), to_.Choice(std::move(kinds))});
}

ExprId JsonText::Character() {
  if (!character_) character_ = to_.Choice({Plain(""), Escape()});
  return *character_;
}

ExprId JsonText::String() {
  // A rule, so that the strings of thousands of properties take no more states than one.
  if (!string_) {
    string_ = to_.AddRule("a string");
    to_.Define(*string_, String(0, kUnbounded));
  }
  return to_.Rule(*string_);
}

ExprId JsonText::String(uint32_t min, uint32_t max) {
  return to_.Sequence({to_.Text("\""), to_.Repeat(Character(), min, max), to_.Text("\"")});
}

ExprId JsonText::Integer() {
  const ExprId zero = to_.Text("0"), minus = to_.Optional(to_.Text("-"));
  const ExprId other = to_.Sequence({to_.Bytes('1', '9'), Digits(to_, 0, kMostDigits - 1)});
  if (spelling_ != JsonSpelling::kAny) return to_.Choice({zero, to_.Sequence({minus, other})});
  return to_.Sequence({minus, to_.Choice({zero, other})});
}

// A number with a fraction, without its sign. Python writes an exponent if more than three zeros follow the
// point of a number below 1.
ExprId JsonText::RenderedFraction() {
  const ExprId last = to_.Bytes('1', '9'), none = to_.Text("0");
  const ExprId small = to_.Sequence({Digits(to_, 0, kMostRenderedDigits - 1), last});
  const ExprId below_one =
      to_.Sequence({to_.Repeat(none, 0, 3), to_.Choice({last, to_.Sequence({last, small})})});
  const ExprId whole = to_.Sequence({last, Digits(to_, 0, kMostRenderedDigits)});
  return to_.Choice({to_.Sequence({to_.Text("0."), to_.Choice({none, below_one})}),
                     to_.Sequence({whole, to_.Text("."), to_.Choice({none, small})})});
}

ExprId JsonText::Number() {
  if (spelling_ != JsonSpelling::kAny) {
    const ExprId minus = to_.Optional(to_.Text("-"));
    return to_.Choice({Integer(), to_.Sequence({minus, RenderedFraction()})});
  }
  const ExprId fraction = to_.Sequence({to_.Text("."), Digits(to_, 1, kMostDigits)});
  const ExprId sign = to_.Optional(to_.Choice({to_.Text("+"), to_.Text("-")}));
  const ExprId exponent = to_.Sequence({to_.Choice({to_.Text("e"), to_.Text("E")}), sign, Digits(to_, 1, 2)});
  return to_.Sequence({Integer(), to_.Optional(fraction), to_.Optional(exponent)});
}

ExprId JsonText::Boolean() {
  if (spelling_ == JsonSpelling::kPython) return to_.Choice({to_.Text("True"), to_.Text("False")});
  return to_.Choice({to_.Text("true"), to_.Text("false")});
}

ExprId JsonText::Null() { return to_.Text(spelling_ == JsonSpelling::kPython ? "None" : "null"); }

ExprId JsonText::List(ExprId item, uint32_t min, uint32_t max) {
  if (max == 0) return to_.Empty();
  const uint32_t more_max = max == kUnbounded ? kUnbounded : max - 1;
  const uint32_t more_min = std::min(min == 0 ? 0 : min - 1, more_max);
  const ExprId all = to_.Sequence({item, to_.Repeat(to_.Sequence({Comma(), item}), more_min, more_max)});
  return min == 0 ? to_.Optional(all) : all;
}

ExprId JsonText::ArrayOf(ExprId value, uint32_t min, uint32_t max) {
  return to_.Sequence({to_.Text("["), List(value, min, max), to_.Text("]")});
}

ExprId JsonText::ObjectOf(ExprId value) { return Braces(List(Member(String(), value), 0, kUnbounded)); }

ExprId JsonText::Value() {
  if (!value_) {
    value_ = to_.AddRule("any value");
    const ExprId value = to_.Rule(*value_);
    to_.Define(*value_, to_.Choice({ObjectOf(value), ArrayOf(value, 0, kUnbounded), String(), Number(),
                                    Boolean(), Null()}));
  }
  return to_.Rule(*value_);
}

// names[begin .. end) share their first `depth` bytes, which the key has so far. A character that none of
// them has next makes the rest free.
ExprId JsonText::KeyTail(const std::vector<std::string>& names, size_t begin, size_t end, size_t depth) {
  if (to_.overflow()) return to_.Nothing();
  std::vector<ExprId> choice;
  const bool is_name = begin < end && names[begin].size() == depth;
  if (!is_name) choice.push_back(to_.Text("\""));
  std::array<bool, 256> goes_on{};
  for (size_t i = begin + (is_name ? 1 : 0); i < end;) {
    const char byte = names[i][depth];
    size_t last = i;
    while (last < end && names[last][depth] == byte) ++last;
    goes_on[static_cast<uint8_t>(byte)] = true;
    // Within a character of several bytes, and where a name needs an escape, no other key goes on.
    const auto code = static_cast<uint8_t>(byte);
    if (code < 0x80) {
      const bool escaped = code < 0x20 || byte == '"' || byte == '\\';
      if (!escaped)
        choice.push_back(to_.Sequence({to_.Text({&byte, 1}), KeyTail(names, i, last, depth + 1)}));
    }
    i = last;
  }
  std::vector<CodePointRange> free;
  uint32_t first = 0x20;
  for (uint32_t code = 0x20; code < 0x80; ++code) {
    if (!goes_on[code] && code != '"' && code != '\\') continue;
    if (first < code) free.push_back({first, code - 1});
    first = code + 1;
  }
  if (first < 0x80) free.push_back({first, 0x7F});
  const bool has_wide = std::any_of(goes_on.begin() + 0x80, goes_on.end(), [](bool b) { return b; });
  if (!has_wide) free.push_back({0x80, kLastCodePoint});
  if (!free.empty()) choice.push_back(to_.Sequence({to_.CodePoints(free), *free_tail_}));
  return to_.Choice(std::move(choice));
}

ExprId JsonText::KeyExcept(std::vector<std::string> names) {
  if (names.empty()) return String();
  if (!free_tail_) free_tail_ = to_.Sequence({to_.Repeat(Character(), 0, kUnbounded), to_.Text("\"")});
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return to_.Sequence({to_.Text("\""), KeyTail(names, 0, names.size(), 0)});
}

}  // namespace prefixd::grammar
