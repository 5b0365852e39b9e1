// SchemaReader: reads one JSON Schema (json_schema.h). One thread, one use.
#pragma once

#include <boost/json.hpp>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/byte_automaton.h"
#include "grammar/json_schema.h"
#include "grammar/json_text.h"
#include "grammar/regex.h"

namespace prefixd::grammar {

class SchemaReader {
 public:
  SchemaReader(const boost::json::value& root, const SchemaOptions& options, Expressions* to)
      : root_(root),
        options_(options),
        limits_(options.limits),
        to_(*to),
        json_(to, options.spelling),
        automata_{limits_.automata} {}

  Result<SchemaRead> Read();

 private:
  using Object = boost::json::object;
  using Value = boost::json::value;
  // Where a schema stands.
  struct Place {
    std::string path;  // "#/properties/a"
    int depth = 0;
    Place At(std::string_view key) const;
  };
  struct Member {
    std::string name;
    const Value* schema;  // null: any value
    bool required;
  };

  // A text of the schema for a message: its beginning, if it is long.
  static std::string Shortened(std::string_view text);

  // --- json_schema.cc: keywords that combine schemas ---
  Result<ExprId> ReadSchema(const Value& schema, const Place& place);
  Result<ExprId> ReadObjectSchema(const Object& schema, const Place& place);
  Result<ExprId> ReadReference(const Object& schema, const Place& place);
  Result<ExprId> ReadBranches(const Object& schema, std::string_view keyword, const Place& place);
  Result<ExprId> ReadMerged(Object merged, const Place& place);
  Result<ExprId> ReadBoth(Object merged, const Object& other, std::string_view keyword, const Place& place);
  Result<ExprId> ReadEnum(const Object& schema, const Place& place);
  Result<std::vector<std::string>> TypesOf(const Object& schema, const Place& place);
  Result<ExprId> ReadType(const Object& schema, std::string_view type, const Place& place);
  Result<const Value*> Find(std::string_view reference, const Place& place) const;
  Status CheckKeywords(const Object& schema, const Place& place);
  Status NotSupported(const Place& place, std::string_view keyword);
  Status Count(size_t* counter, size_t more, size_t most, const Place& place, std::string_view what);
  // Counts a part of the schema that is copied.
  Status CountCopy(const Object& part, const Place& place);
  Status Error(const Place& place, std::string_view what) const {
    return InvalidArgument(place.path + ": " + std::string(what));
  }

  // --- json_schema_types.cc: each type ---
  Result<ExprId> ReadObject(const Object& schema, const Place& place);
  Result<std::vector<Member>> Members(const Object& schema, const Value* others, const Place& place);
  Result<ExprId> ReadArray(const Object& schema, const Place& place);
  Result<ExprId> ReadString(const Object& schema, const Place& place);
  Result<ExprId> ReadNumber(const Object& schema, bool integer, const Place& place);
  Result<ExprId> NewString(const Object& schema, const Place& place);
  Result<ExprId> NewNumber(const Object& schema, bool integer, const Place& place);
  struct Pattern {
    std::string_view regex;
    RegexMatches matches;
  };
  Result<ExprId> Both(const std::vector<Pattern>& patterns, uint32_t min, uint32_t max, const Place& place);
  Result<std::pair<uint32_t, uint32_t>> Bounds(const Object& schema, std::string_view min,
                                               std::string_view max, const Place& place);

  const Value& root_;
  const SchemaOptions& options_;
  const SchemaLimits& limits_;
  Expressions& to_;
  JsonText json_;
  std::map<const Value*, RuleId> rules_;  // of what is referred to
  std::deque<std::pair<const Value*, Place>> unread_;
  std::set<std::string> ignored_;
  std::map<std::string, ExprId> simple_;  // strings and numbers, by their keywords
  AutomatonBudget automata_;
  size_t properties_ = 0, enum_values_ = 0, text_bytes_ = 0, schemas_ = 0, copied_bytes_ = 0;
};

}  // namespace prefixd::grammar
