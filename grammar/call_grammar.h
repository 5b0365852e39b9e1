// The grammar of an answer that calls functions: every call is well-formed, names one of the functions, and
// has arguments that its schema allows, spelled as the chat template renders them. Plain values; a pure
// function.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"
#include "grammar/expression.h"
#include "grammar/vocabulary.h"
#include "text/call_writing.h"

namespace prefixd::grammar {

struct CalledFunction {
  std::string name;
  boost::json::value parameters;  // a JSON Schema; null: it has none
  bool strict = false;            // SchemaOptions::strict
};

// Reasoning before the calls: `begin`, a text, `end`, and line feeds or `after`.
struct CallReasoning {
  enum class Place : uint8_t {
    kNone,   // there is none
    kMay,    // there may be
    kBegun,  // the prompt has `begin`
  };
  Place place = Place::kNone;
  std::string begin, end, after;
};

struct CallSpec {
  std::vector<CalledFunction> functions;  // at least one
  CallWriting writing;
  size_t most_calls = 1;  // from one to that many
  bool optional = false;  // text may come before the calls, or instead of them
  CallReasoning reasoning;
};

// What tells specs apart.
std::string KeyOf(const CallSpec& spec);

// Returns the rule of the answer. The errors of ReadJsonSchema, with the name of the function. Adds to
// *ignored the keywords of schemas that are.
Result<RuleId> WriteCalls(const CallSpec& spec, const Vocabulary& vocabulary, Expressions* to,
                          std::vector<std::string>* ignored);

}  // namespace prefixd::grammar
