// JsonText: the parts of JSON texts as expressions. One thread.
//
// White space is bounded, because a small model that may write any number of spaces writes nothing else: one
// space or line feed may follow ',' and ':', and no other white space occurs outside of strings. Numbers have
// at most 18 digits before the point and after it, and an exponent of at most two.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/expression.h"

namespace prefixd::grammar {

// How JSON is spelled. As `kRendered`, a text is spelled as Python's json.dumps spells its value, so that
// chat templates, which read a text and write it again, give the same: one space follows ',' and ':',
// characters have the short escapes or none, and numbers have no exponent, no -0, no zeros at the end of a
// fraction, and at most 15 digits in all if they have one. As `kPython`, it is a literal of Python, spelled
// like that but for True, False and None.
enum class JsonSpelling : uint8_t { kAny, kRendered, kPython };

class JsonText {
 public:
  // `to` outlives it.
  explicit JsonText(Expressions* to, JsonSpelling spelling = JsonSpelling::kAny)
      : to_(*to), spelling_(spelling) {}

  ExprId Comma();  // and the space after it
  ExprId Colon();
  ExprId String();
  ExprId String(uint32_t min, uint32_t max);  // with min .. max code points
  ExprId Integer();
  ExprId Number();
  ExprId Boolean();
  ExprId Null();
  // Any value, of any depth.
  ExprId Value();
  // An object whose values are all `value`.
  ExprId ObjectOf(ExprId value);
  // '{' members '}' where `members` has the commas between them.
  ExprId Braces(ExprId members) { return to_.Sequence({to_.Text("{"), members, to_.Text("}")}); }
  // An array of min .. max values.
  ExprId ArrayOf(ExprId value, uint32_t min, uint32_t max);
  // A key, a colon and a value.
  ExprId Member(ExprId key, ExprId value) { return to_.Sequence({key, Colon(), value}); }
  // `item` min .. max times with commas between.
  ExprId List(ExprId item, uint32_t min, uint32_t max);
  // Every string but these, as a key. They are decoded texts; what a key may spell by an escape while it
  // could still become one of them is left out. Requires names of at most kMostNameBytes.
  static constexpr size_t kMostNameBytes = 200;
  ExprId KeyExcept(std::vector<std::string> names);

  // A text as a JSON string, with its quotes.
  static std::string Quoted(std::string_view text);

 private:
  ExprId Character();
  ExprId Plain(std::string_view but);  // a code point that needs no escape, none of `but`, which is ASCII
  ExprId Escape();
  ExprId Space();
  ExprId RenderedFraction();
  ExprId KeyTail(const std::vector<std::string>& names, size_t begin, size_t end, size_t depth);

  Expressions& to_;
  const JsonSpelling spelling_;
  std::optional<ExprId> character_, free_tail_;
  std::optional<RuleId> string_, value_;
};

}  // namespace prefixd::grammar
