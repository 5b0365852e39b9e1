// Classes of code points that the tokenizer splits words by. Pure functions; any thread.
//
// Invariant: unless a function says otherwise, classes follow Unicode 16, whatever version the libraries
// have. CodePointsNewerThanUnicode14() lists the code points that they do not know.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace prefixd {

// The classes that all common pre-tokenizers use: \p{L}, \p{N}, White_Space, and the rest.
enum class CodePointClass : uint8_t { kOther, kLetter, kNumber, kSpace };
CodePointClass ClassOf(char32_t code_point);
bool IsWhiteSpace(char32_t code_point);  // the property White_Space
// \w of Unicode Technical Standard 18, annex C: alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t code_point);
// The pre-tokenizer Punctuation splits at these: ASCII punctuation and symbols, and \p{P} of Unicode 8.
bool IsPunctuation(char32_t code_point);
// The pre-tokenizer Digits splits at these: \p{N} of Unicode 17.
bool IsNumeric(char32_t code_point);

// Code points that got a general category in Unicode 15 or 16, for libraries that only know version 14.
struct NewerCodePoints {
  char32_t first, last;
  char category[3];  // as in "Lo"
};
std::span<const NewerCodePoints> CodePointsNewerThanUnicode14();

}  // namespace prefixd
