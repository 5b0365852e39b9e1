#include "base/json_fault.h"

#include <algorithm>
#include <cctype>

#include "base/utf8.h"

namespace prefixd {
namespace {

constexpr size_t kMaxNear = 24;
constexpr std::string_view kBlanks = " \t\r\n";

bool IsOneOf(char c, std::string_view set) { return set.find(c) != set.npos; }

// The text up to the fault, as a parser sees it.
struct Before {
  size_t line = 1, column = 1;
  bool in_string = false;
  bool begun = false;   // an object or array has begun
  std::string open;     // '{' and '[' that are not closed
  char last = '\0';     // the last character that is neither blank nor in a string; '"' for a string
  bool is_key = false;  // `last` is a string at the place of a key
};

Before Scan(std::string_view text) {
  Before before;
  bool escaped = false;
  for (const char c : text) {
    const bool continues = (c & 0xC0) == 0x80;  // a byte inside a code point
    before.column = c == '\n' ? 1 : before.column + (continues ? 0 : 1);
    before.line += c == '\n' ? 1 : 0;
    if (before.in_string) {
      before.in_string = escaped || c != '"';
      escaped = !escaped && c == '\\';
      continue;
    }
    if (IsOneOf(c, kBlanks)) continue;
    if (c == '"') {
      before.is_key = before.open.ends_with('{') && IsOneOf(before.last, "{,");
      before.in_string = true;
    }
    if (IsOneOf(c, "{[")) {
      before.open += c;
      before.begun = true;
    }
    if (IsOneOf(c, "}]") && !before.open.empty()) before.open.pop_back();
    before.last = c;
  }
  return before;
}

// ", before '...'" with part of a line, in which control characters are escapes.
std::string Near(std::string_view rest) {
  rest = rest.substr(0, kMaxNear);
  const std::string text = PrintableLine(rest.substr(0, rest.find('\n')));
  if (text.empty()) return rest.empty() ? "" : ", at the end of the line";
  const char* quote = text.find('\'') != text.npos && text.find('"') == text.npos ? "\"" : "'";
  return ", before " + (quote + text) + quote;
}

// What the text as a whole is, where that explains more than a place in it.
std::string_view WhatTextIs(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) return "it begins with a byte order mark; save it without one";
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) return "it is UTF-16; save it as UTF-8";
  if (text.find_first_not_of(kBlanks) == text.npos) return "it is empty";
  if (text.starts_with("<")) return "it looks like HTML or XML, perhaps an error page";
  return "";
}

// Whether a surrogate, \ud800 to \udfff, was read last.
bool EndsInSurrogate(std::string_view text) {
  const std::string_view tail = text.substr(text.size() - std::min<size_t>(text.size(), 12));
  const size_t at = tail.rfind("\\u");
  return at != tail.npos && at + 3 < tail.size() && IsOneOf(tail[at + 2], "dD") &&
         IsOneOf(tail[at + 3], "89abcdefABCDEF");
}

std::string_view FaultInString(std::string_view read, std::string_view rest) {
  if (rest.empty()) return "it ends inside a string";
  if (static_cast<unsigned char>(rest[0]) < 0x20)
    return "a line break or control character in a string must be escaped, as in \\n";
  const Utf8Part part = FirstUtf8Part(rest);
  if (part.kind != Utf8Part::kValid) return "this is not UTF-8; save it as UTF-8";
  if (EndsInSurrogate(read))
    return "a surrogate, \\ud800 to \\udfff, stands alone, without the other of its pair";
  return read.ends_with('\\') ? "a backslash must be written twice, unless it begins an escape of JSON" : "";
}

std::string_view Expected(const Before& before) {
  const bool in_object = before.open.ends_with('{');
  if (!before.begun) return "expected an object, which begins with '{'";
  if (before.last == '{') return "expected a key in double quotes, or '}'";
  if (before.last == ',' && in_object) return "expected a key in double quotes";
  if (before.is_key && before.last == '"') return "expected ':' after the key";
  if (IsOneOf(before.last, ":,[")) return "expected a value: text in double quotes, a number, or another";
  if (before.open.empty()) return "expected the end: there is more after the object";
  return in_object ? "expected ',' or '}'" : "expected ',' or ']'";
}

bool EndsInLeadingZero(std::string_view read) {
  return read.ends_with('0') && (read.size() < 2 || !IsOneOf(read[read.size() - 2], "0123456789.eE+"));
}

std::string_view FaultOutside(const Before& before, std::string_view read, std::string_view rest) {
  struct Word {
    std::string_view begin, why;
  };
  constexpr Word kWords[] = {
      {"NaN", "JSON has no NaN and no Infinity, but numbers and null"},
      {"Infinity", "JSON has no NaN and no Infinity, but numbers and null"},
      {"True", "expected true, in small letters"},
      {"False", "expected false, in small letters"},
      {"None", "expected null, which JSON has for None"},
      {"undefined", "expected null or no such key"},
      {"/", "JSON has no comments; remove it"},
      {"#", "JSON has no comments; remove it"},
      {"'", "expected double quotes instead of single ones"},
      {"+", "a number begins with a digit or '-'"},
      {".", "a number begins with a digit or '-', as in 0.5"},
  };
  if (rest.empty()) return "it ends too early";
  if (IsOneOf(rest[0], "}]") && before.last == ',') return "the comma before it is one too many";
  if (EndsInLeadingZero(read) && std::isdigit(static_cast<unsigned char>(rest[0])) != 0)
    return "a number must not begin with 0, unless it is 0 or has a point, as in 0.5";
  if (!before.open.empty() || before.last == '\0') {
    for (const Word& word : kWords) {
      if (rest.starts_with(word.begin)) return word.why;
    }
  }
  return Expected(before);
}

}  // namespace

std::string DescribeJsonFault(std::string_view text, size_t offset, std::string_view error) {
  offset = std::min(offset, text.size());
  const std::string_view read = text.substr(0, offset), rest = text.substr(offset);
  const Before before = Scan(read);
  std::string words = " at line " + std::to_string(before.line) + ", column " + std::to_string(before.column);
  std::string_view why = WhatTextIs(text);
  if (why.empty()) words += Near(rest);
  if (why.empty() && error.find("deep") != error.npos) why = error;
  if (why.empty()) why = before.in_string ? FaultInString(read, rest) : FaultOutside(before, read, rest);
  return words + ": " + std::string(why.empty() ? error : why);
}

}  // namespace prefixd
