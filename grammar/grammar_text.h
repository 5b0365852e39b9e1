// ReadGrammarText: grammars in the notation of llama.cpp (GBNF), as vLLM takes them, too:
//
//   root  ::= "yes" | no{1,3} ","?   # a comment
//   no    ::= [^a-z\x22] ( "." | other )*
//
// The rule `root` is where a text begins. In literals and classes \n \t \r \\ \" \] \[ \- \^ \xHH \uHHHH and
// \UHHHHHHHH are escapes. '.' is any character. A pure function.
#pragma once

#include <string_view>

#include "base/status.h"
#include "grammar/expression.h"

namespace prefixd::grammar {

// Returns the rule `root`. kInvalidArgument names the line of a mistake, or the rule that has no definition.
Result<RuleId> ReadGrammarText(std::string_view text, Expressions* to);

}  // namespace prefixd::grammar
