// What a JSON Schema says of each type of value.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>

#include "grammar/characters.h"
#include "grammar/grammar.h"
#include "grammar/json_formats.h"
#include "grammar/json_schema_reader.h"
#include "grammar/number_range.h"
#include "grammar/regex.h"

namespace prefixd::grammar {
namespace {

namespace json = boost::json;

constexpr size_t kMostPatternNodes = 1 << 16;
constexpr size_t kMostPrefixItems = 256;

std::optional<Decimal> DecimalOf(const json::value* value) {
  if (value == nullptr || !value->is_number()) return std::nullopt;
  if (value->is_int64()) return Decimal::Of(value->get_int64());
  if (value->is_uint64()) return Decimal::Of(value->get_uint64());
  if (!std::isfinite(value->get_double())) return std::nullopt;
  return Decimal::Of(value->get_double());
}

// The numbers of an automaton that are spelled as Python spells them.
Result<ByteAutomaton> Rendered(const ByteAutomaton& numbers, AutomatonBudget* budget) {
  Expressions own;
  const RuleId rule = own.AddRule("a number");
  own.Define(rule, JsonText(&own, JsonSpelling::kRendered).Number());
  PREFIXD_ASSIGN_OR_RETURN(const ByteAutomaton rendered, Grammar::CompileAutomaton(own, rule, budget));
  return Intersection(numbers, rendered, budget);
}

// The keywords as a text, to tell schemas apart.
std::string KeyOf(const json::object& schema, std::string_view type,
                  std::initializer_list<std::string_view> keywords) {
  std::string key(type);
  for (const std::string_view keyword : keywords) {
    const json::value* value = schema.if_contains(keyword);
    key += value == nullptr ? "," : "," + json::serialize(*value);
  }
  return key;
}

}  // namespace

Result<std::vector<SchemaReader::Member>> SchemaReader::Members(const Object& schema, const Value* others,
                                                                const Place& place) {
  std::set<std::string, std::less<>> required;
  if (const Value* names = schema.if_contains("required")) {
    if (!names->is_array()) return Error(place, "'required' must be an array of names");
    for (const Value& name : names->get_array()) {
      if (!name.is_string()) return Error(place, "'required' must be an array of names");
      required.emplace(name.get_string());
    }
  }
  std::vector<Member> members;
  if (const Value* properties = schema.if_contains("properties")) {
    if (!properties->is_object()) return Error(place, "'properties' must be an object");
    for (const auto& [name, value] : properties->get_object())
      members.push_back({std::string(name), &value, required.erase(std::string(name)) > 0});
  }
  for (const std::string& name : required) members.push_back({name, others, true});
  PREFIXD_RETURN_IF_ERROR(Count(&properties_, members.size(), limits_.properties, place, "properties"));
  for (const Member& member : members)
    PREFIXD_RETURN_IF_ERROR(
        Count(&text_bytes_, member.name.size(), limits_.text_bytes, place, "bytes of names and values"));
  return members;
}

Result<ExprId> SchemaReader::ReadObject(const Object& schema, const Place& place) {
  const Value* others = schema.if_contains("additionalProperties");
  const bool is_closed = options_.strict || (options_.closed && schema.contains("properties"));
  const bool is_open = others != nullptr ? *others != false : !is_closed;
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Member> members, Members(schema, others, place));
  std::vector<ExprId> items;
  std::vector<std::string> names;
  for (const Member& member : members) {
    ExprId value = 0;
    if (member.schema == nullptr) {
      value = is_open ? json_.Value() : to_.Nothing();
    } else {
      PREFIXD_ASSIGN_OR_RETURN(value, ReadSchema(*member.schema, place.At("properties").At(member.name)));
    }
    const ExprId item = json_.Member(to_.Text(JsonText::Quoted(member.name)), value);
    items.push_back(member.required ? item : to_.Optional(item));
    names.push_back(member.name);
    if (is_open && member.name.size() > JsonText::kMostNameBytes)
      return ResourceExhausted(place.path + ": a name of " + std::to_string(member.name.size()) +
                               " bytes in an object that may have other properties");
  }
  ExprId more = to_.Nothing();
  if (is_open) {
    ExprId value = json_.Value();
    if (others != nullptr) {
      PREFIXD_ASSIGN_OR_RETURN(value, ReadSchema(*others, place.At("additionalProperties")));
    }
    more = json_.Member(json_.KeyExcept(std::move(names)), value);
  }
  return json_.Braces(to_.Joined(json_.Comma(), items, more));
}

Result<std::pair<uint32_t, uint32_t>> SchemaReader::Bounds(const Object& schema, std::string_view min,
                                                           std::string_view max, const Place& place) {
  std::pair<uint32_t, uint32_t> bounds = {0, kUnbounded};
  for (const auto& [name, bound] : {std::pair{min, &bounds.first}, std::pair{max, &bounds.second}}) {
    const Value* value = schema.if_contains(name);
    if (value == nullptr) continue;
    const double number = value->is_number() ? value->to_number<double>() : -1;
    if (!(number >= 0) || number != std::floor(number))
      return Error(place, "'" + std::string(name) + "' must be an integer of at least 0");
    if (number <= kMostCounted) {
      *bound = static_cast<uint32_t>(number);
    } else if (name == min) {
      return ResourceExhausted(place.path + ": '" + std::string(name) + "' is above " +
                               std::to_string(kMostCounted));
    }
  }
  return bounds;
}

Result<ExprId> SchemaReader::ReadArray(const Object& schema, const Place& place) {
  PREFIXD_ASSIGN_OR_RETURN(const auto bounds, Bounds(schema, "minItems", "maxItems", place));
  const auto [min, max] = bounds;
  if (min > max) return to_.Nothing();
  const Value* items = schema.if_contains("items");
  ExprId item = 0;
  if (items != nullptr && !items->is_array()) {
    PREFIXD_ASSIGN_OR_RETURN(item, ReadSchema(*items, place.At("items")));
  } else {
    if (items != nullptr) PREFIXD_RETURN_IF_ERROR(NotSupported(place, "an array as 'items'"));
    if (items == nullptr && !schema.contains("prefixItems") && options_.strict)
      return Unsupported(place.path + ": an array without 'items' is not supported");
    item = json_.Value();
  }
  const Value* prefix = schema.if_contains("prefixItems");
  if (prefix == nullptr) return json_.ArrayOf(item, min, max);
  if (!prefix->is_array()) return Error(place, "'prefixItems' must be an array of schemas");
  const json::array& first = prefix->get_array();
  if (first.size() > kMostPrefixItems)
    return ResourceExhausted(place.path + ": more than " + std::to_string(kMostPrefixItems) +
                             " 'prefixItems'");
  const auto count = static_cast<uint32_t>(std::min<size_t>(first.size(), max));
  // From the last item to the first: each may follow only if the ones before are there.
  const uint32_t more_max = max == kUnbounded ? kUnbounded : max - count;
  const uint32_t more_min = std::min(min - std::min(min, count), more_max);
  ExprId tail = count < first.size() ? to_.Empty()
                                     : to_.Repeat(to_.Sequence({json_.Comma(), item}), more_min, more_max);
  for (uint32_t i = count; i-- > 0;) {
    PREFIXD_ASSIGN_OR_RETURN(ExprId one, ReadSchema(first[i], place.At("prefixItems/" + std::to_string(i))));
    if (i > 0) one = to_.Sequence({json_.Comma(), one});
    const ExprId all = to_.Sequence({one, tail});
    tail = i < min ? all : to_.Optional(all);
  }
  if (count == 0) return json_.ArrayOf(item, min, max);
  return to_.Sequence({to_.Text("["), tail, to_.Text("]")});
}

// What all of the patterns match, with min .. max characters.
Result<ExprId> SchemaReader::Both(const std::vector<Pattern>& patterns, uint32_t min, uint32_t max,
                                  const Place& place) {
  std::optional<ByteAutomaton> all;
  for (const Pattern& pattern : patterns) {
    // In an arena of its own, because compiling takes time in the size of the whole arena.
    Expressions own(kMostPatternNodes);
    const RuleId rule = own.AddRule("a pattern");
    Result<ExprId> body =
        ReadRegex(pattern.regex, pattern.matches, Characters(&own, Characters::In::kJsonString));
    if (!body.ok()) return body.status().WithContext(place.path);
    own.Define(rule, *body);
    Result<ByteAutomaton> one = Grammar::CompileAutomaton(own, rule, &automata_);
    if (!one.ok()) return one.status().WithContext(place.path);
    Result<ByteAutomaton> both = all ? Intersection(*all, *one, &automata_) : std::move(one);
    if (!both.ok()) return both.status().WithContext(place.path);
    all = *std::move(both);
  }
  Result<ByteAutomaton> bounded = WithLength(*all, min, max, &automata_);
  if (!bounded.ok()) return bounded.status().WithContext(place.path);
  if (bounded->empty()) return to_.Nothing();
  // As a rule, so that it is in the grammar once however often it is used.
  const RuleId rule = to_.AddRule("a pattern");
  to_.Define(rule, to_.Automaton(*std::move(bounded)));
  return to_.Rule(rule);
}

// Equal strings are one expression, and cost once.
Result<ExprId> SchemaReader::ReadString(const Object& schema, const Place& place) {
  const std::string key = KeyOf(schema, "string", {"minLength", "maxLength", "pattern", "format"});
  if (const auto known = simple_.find(key); known != simple_.end()) return known->second;
  PREFIXD_ASSIGN_OR_RETURN(const ExprId made, NewString(schema, place));
  return simple_[key] = made;
}

Result<ExprId> SchemaReader::NewString(const Object& schema, const Place& place) {
  PREFIXD_ASSIGN_OR_RETURN(const auto bounds, Bounds(schema, "minLength", "maxLength", place));
  const auto [min, max] = bounds;
  if (min > max) return to_.Nothing();
  std::vector<Pattern> patterns;
  if (const Value* pattern = schema.if_contains("pattern")) {
    if (!pattern->is_string()) return Error(place, "'pattern' must be a string");
    Expressions tried(kMostPatternNodes);
    const Status read = ReadRegex(pattern->get_string(), RegexMatches::kSearch,
                                  Characters(&tried, Characters::In::kJsonString))
                            .status();
    if (read.ok()) {
      patterns.push_back({pattern->get_string(), RegexMatches::kSearch});
    } else {
      if (read.code() != Code::kUnsupported) return read.WithContext(place.path);
      PREFIXD_RETURN_IF_ERROR(NotSupported(place, "this 'pattern': " + read.message() + "; it"));
    }
  }
  if (const Value* format = schema.if_contains("format")) {
    if (!format->is_string()) return Error(place, "'format' must be a string");
    const std::string_view regex = RegexOfFormat(format->get_string());
    if (regex.empty()) {
      PREFIXD_RETURN_IF_ERROR(NotSupported(place, "the format '" + Shortened(format->get_string()) + "'"));
    } else {
      patterns.push_back({regex, RegexMatches::kWhole});
    }
  }
  if (patterns.empty()) return min == 0 && max == kUnbounded ? json_.String() : json_.String(min, max);
  const bool is_simple = patterns.size() == 1 && min == 0 && max == kUnbounded;
  PREFIXD_ASSIGN_OR_RETURN(const ExprId body, is_simple
                                                  ? ReadRegex(patterns[0].regex, patterns[0].matches,
                                                              Characters(&to_, Characters::In::kJsonString))
                                                  : Both(patterns, min, max, place));
  return to_.Sequence({to_.Text("\""), body, to_.Text("\"")});
}

Result<ExprId> SchemaReader::ReadNumber(const Object& schema, bool integer, const Place& place) {
  const std::string key = KeyOf(schema, integer ? "integer" : "number",
                                {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"});
  if (const auto known = simple_.find(key); known != simple_.end()) return known->second;
  PREFIXD_ASSIGN_OR_RETURN(const ExprId made, NewNumber(schema, integer, place));
  return simple_[key] = made;
}

Result<ExprId> SchemaReader::NewNumber(const Object& schema, bool integer, const Place& place) {
  NumberRange range;
  range.integer = integer;
  for (const std::string_view name : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
    const Value* value = schema.if_contains(name);
    if (value == nullptr || value->is_bool()) continue;
    const std::optional<Decimal> bound = DecimalOf(value);
    if (!bound) return Error(place, "'" + std::string(name) + "' must be a number");
    const bool is_low = name.ends_with("inimum"), is_exclusive = name.starts_with("ex");
    std::optional<Decimal>& to = is_low ? range.low : range.high;
    bool& without = is_low ? range.without_low : range.without_high;
    if (to) {
      // The tighter one counts.
      const double old = schema.at(is_low ? "minimum" : "maximum").to_number<double>();
      const double now = value->to_number<double>();
      if (is_low ? now < old : now > old) continue;
    }
    to = bound;
    without = is_exclusive;
  }
  // As in draft 4.
  const auto is_true = [&](std::string_view name) {
    const Value* value = schema.if_contains(name);
    return value != nullptr && *value == true;
  };
  range.without_low = range.without_low || is_true("exclusiveMinimum");
  range.without_high = range.without_high || is_true("exclusiveMaximum");
  if (const Value* multiple = schema.if_contains("multipleOf")) {
    range.multiple_of = DecimalOf(multiple);
    if (!range.multiple_of || range.multiple_of->negative || range.multiple_of->is_zero())
      return Error(place, "'multipleOf' must be a number above 0");
  }
  if (!range.low && !range.high && !range.multiple_of) return integer ? json_.Integer() : json_.Number();
  Result<ByteAutomaton> numbers = NumbersIn(range, &automata_);
  const Code why = numbers.status().code();
  // Where keywords may be ignored, one that takes too much is.
  const bool is_too_much = why == Code::kResourceExhausted && range.multiple_of && !options_.strict;
  if (why == Code::kUnsupported || is_too_much) {
    PREFIXD_RETURN_IF_ERROR(NotSupported(place, "this 'multipleOf'"));
    range.multiple_of.reset();
    numbers = NumbersIn(range, &automata_);
  }
  if (numbers.ok() && options_.spelling != JsonSpelling::kAny) numbers = Rendered(*numbers, &automata_);
  if (!numbers.ok()) return numbers.status().WithContext(place.path);
  if (numbers->empty()) return to_.Nothing();
  const RuleId rule = to_.AddRule("a range of numbers");
  to_.Define(rule, to_.Automaton(*std::move(numbers)));
  return to_.Rule(rule);
}

}  // namespace prefixd::grammar
