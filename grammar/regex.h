// ReadRegex: regular expressions, in what ECMAScript and Python have in common: alternatives, groups,
// classes, \d \w \s, '.', the quantifiers * + ? {m,n}, and ^ and $ at the ends of a whole alternative. What
// is not regular or not in common is refused by name: back references, lookaround, \b, flags, \p. Where the
// engines differ on the characters of a class, it has those on which they agree. A pure function.
#pragma once

#include <string_view>

#include "base/status.h"
#include "grammar/characters.h"

namespace prefixd::grammar {

enum class RegexMatches : uint8_t {
  kWhole,   // the whole text, as in guided_regex; ^ and $ change nothing
  kSearch,  // some part of it, as in `pattern` of JSON Schema; ^ and $ bind it to the ends
};

// The texts that the regex matches. kInvalidArgument: no regex; kUnsupported, kResourceExhausted.
Result<ExprId> ReadRegex(std::string_view regex, RegexMatches matches, const Characters& characters);

}  // namespace prefixd::grammar
