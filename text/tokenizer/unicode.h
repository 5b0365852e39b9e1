// Text as the tokenizer sees it: the classes of code points that split words. All functions are pure and may
// be called from any thread.
//
// Invariant: classes follow Unicode 16, whatever version the libraries below have (what they lack is in
// NewerCodePoints()), unless a function says otherwise.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace prefixd {

// The split that all pre-tokenisers in use rest on: \p{L}, \p{N}, White_Space, and the rest.
enum class CodePointClass : uint8_t { kOther, kLetter, kNumber, kSpace };
CodePointClass ClassOf(char32_t code_point);
bool IsWhiteSpace(char32_t code_point);  // the property White_Space
// \w of Unicode Technical Standard 18, annex C: alphabetic, marks, decimal digits, connectors, joiners.
bool IsWordCharacter(char32_t code_point);
// What the pre-tokenizer Punctuation splits at: ASCII's punctuation and symbols, and \p{P} of Unicode 8.
bool IsPunctuation(char32_t code_point);
// What the pre-tokenizer Digits splits at: \p{N} of Unicode 17.
bool IsNumeric(char32_t code_point);

// Code points that Unicode 15 to 16 gave a general category, for libraries that know version 14 only.
struct NewerCodePoints {
  char32_t first, last;
  char category[3];  // as in "Lo"
};
std::span<const NewerCodePoints> CodePointsNewerThanUnicode14();

}  // namespace prefixd
