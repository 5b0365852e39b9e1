// TextUntil: free text up to a word, as an automaton: text between tags, or before a call. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "grammar/byte_automaton.h"

namespace prefixd::grammar {

enum class TextEnds : uint8_t {
  kWithWord,  // the texts that end with the word, and do not have it before
  kBefore,    // the texts that do not have the word, also the empty one
  // As kWithWord, and a line feed stands before the word; the texts do not have it without one either.
  kWithLineAndWord,
};

// Texts are valid UTF-8. Requires that the word is not empty and does not begin with a byte above 0x7F.
// kResourceExhausted: the budget.
Result<ByteAutomaton> TextUntil(std::string_view word, TextEnds ends, AutomatonBudget* budget);

// The texts that begin with none of the words, also the empty one.
Result<ByteAutomaton> TextBesides(const std::vector<std::string>& words, AutomatonBudget* budget);

}  // namespace prefixd::grammar
