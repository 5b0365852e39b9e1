// Classes of code points, by which the tokenizer splits text into words. Pure functions; any thread.
//
// Invariant: classes follow Unicode 16, unless the comment of a function names another version. This also
// holds with a utf8proc or PCRE2 that only knows Unicode 14: CodePointsNewerThanUnicode14() lists the code
// points that such a library does not know.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace prefixd {

// The classes that all common pre-tokenizers use: kLetter is \p{L}, kNumber is \p{N}, kSpace is White_Space,
// and kOther is every other code point.
enum class CodePointClass : uint8_t { kOther, kLetter, kNumber, kSpace };
CodePointClass ClassOf(char32_t code_point);
bool IsWhiteSpace(char32_t code_point);  // the property White_Space
// \w of Unicode Technical Standard 18, annex C: alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t code_point);
// Whether the pre-tokenizer Punctuation splits at the code point: ASCII punctuation and symbols, and \p{P} of
// Unicode 8.
bool IsPunctuation(char32_t code_point);
// Whether the pre-tokenizer Digits splits at the code point: \p{N} of Unicode 17.
bool IsNumeric(char32_t code_point);

// A range of code points that Unicode 15 or 16 assigned, and their general category.
struct CodePointsAfterUnicode14 {
  char32_t first, last;
  char category[3];  // as in "Lo"
};
// Returns the ranges in ascending order.
std::span<const CodePointsAfterUnicode14> CodePointsNewerThanUnicode14();

}  // namespace prefixd
