// ReadJsonSchema: the JSON texts that a JSON Schema allows. A pure function.
//
// Objects have their properties in the order of the schema, then others, where they may have others. A count
// that `maxItems` or `maxLength` bounds above kMostCounted is not bounded, because no answer is that long; a
// lower bound of that size is refused. A schema
// without `type` has the types that its keywords are about, or is any value. `oneOf` is read as `anyOf`.
// White space and numbers are those of json_text.h.
//
// Invariants
//   1. Every text is a value that the schema allows, if no keyword was ignored and the schemas of a `oneOf`
//      exclude each other.
//   2. Reading takes time and memory bounded by SchemaLimits, whatever the schema is.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"
#include "grammar/expression.h"
#include "grammar/json_text.h"

namespace prefixd::grammar {

inline constexpr uint32_t kMostCounted = 1u << 31;

struct SchemaLimits {
  size_t properties = 5000;
  size_t enum_values = 1000;
  size_t text_bytes = 120'000;     // of the names of properties and values of enums
  size_t schemas = 20'000;         // that are read, those of a reference with siblings again each time
  size_t copied_bytes = 16 << 20;  // of parts that hold in several places: beside a reference or a choice
  size_t automata = 1 << 19;       // states and edges of its patterns, lengths and ranges of numbers
  size_t ignored = 100;            // keywords that are named
  int depth = 64;
};

struct SchemaOptions {
  // Refuses keywords that are not supported, and reads an absent `additionalProperties` as false.
  bool strict = false;
  // Reads an absent `additionalProperties` as false where there are `properties`.
  bool closed = false;
  JsonSpelling spelling = JsonSpelling::kAny;
  SchemaLimits limits;
};

struct SchemaRead {
  RuleId root = 0;
  // Keywords that have a meaning which the grammar lacks; each once, at most `ignored` of them.
  std::vector<std::string> ignored;
};

// Messages begin with the place in the schema, such as "#/properties/a: ". kInvalidArgument: no schema.
// kUnsupported: a keyword that is not supported, by its name. kResourceExhausted: a limit.
Result<SchemaRead> ReadJsonSchema(const boost::json::value& schema, const SchemaOptions& options,
                                  Expressions* to);

}  // namespace prefixd::grammar
