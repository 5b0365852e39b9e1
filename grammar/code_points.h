// CodePointSet: sets of code points, for the character classes of regexes and grammar texts. Pure values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/expression.h"

namespace prefixd::grammar {

using CodePointSet = std::vector<CodePointRange>;  // sorted, apart from each other, when Normal

// Sorts the ranges and joins those that touch.
CodePointSet Normal(CodePointSet set);
// Every code point but those of a normal set.
CodePointSet Complement(const CodePointSet& set);

// The classes \d, \w and \s, and \D, \W and \S, by their letter. Engines differ on what they have beyond
// ASCII: `most` gives every code point that some engine counts, otherwise the set has those that all of them
// do.
CodePointSet NamedClass(char letter, bool most);

// The bytes of a text without the beginning of a code point at its end.
size_t CompleteBytes(std::string_view text);

}  // namespace prefixd::grammar
