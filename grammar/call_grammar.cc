#include "grammar/call_grammar.h"

#include <algorithm>
#include <boost/json.hpp>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "grammar/json_schema.h"
#include "grammar/json_text.h"
#include "grammar/text_until.h"

namespace prefixd::grammar {
namespace {

namespace json = boost::json;

const json::value* Member(const json::value& value, std::string_view name) {
  const json::object* object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

// Whether `types`, the value of `type`, names this one.
bool Names(const json::value& types, std::string_view type) {
  if (types.is_string()) return types.get_string() == type;
  return types.is_array() &&
         std::ranges::find(types.get_array(), json::value(type)) != types.get_array().end();
}

// Whether a value may be a string that stands between tags as it is.
bool MayBeText(const json::value& schema) {
  const auto has_string = [](const json::value& one) {
    const json::value* types = Member(one, "type");
    return types != nullptr && Names(*types, "string");
  };
  if (has_string(schema)) return true;
  for (const std::string_view keyword : {"anyOf", "oneOf"}) {
    const json::value* of = Member(schema, keyword);
    if (of == nullptr || !of->is_array()) continue;
    if (std::ranges::any_of(of->get_array(), has_string)) return true;
  }
  return false;
}

// One argument of a function.
struct Parameter {
  std::string name;
  json::value schema;
  bool is_required = false;
};

// In their order.
std::vector<Parameter> ParametersOf(const CalledFunction& function) {
  std::vector<Parameter> all;
  const json::value* properties = Member(function.parameters, "properties");
  if (properties == nullptr || !properties->is_object()) return all;
  std::set<std::string, std::less<>> required;
  const json::value* names = Member(function.parameters, "required");
  if (names != nullptr && names->is_array())
    for (const json::value& name : names->get_array())
      if (name.is_string()) required.emplace(name.get_string());
  for (const auto& [name, property] : properties->get_object()) {
    json::value schema = property;
    for (const std::string_view shared : {"$defs", "definitions"}) {  // what references are to
      const json::value* parts = Member(function.parameters, shared);
      if (parts != nullptr && schema.is_object()) schema.get_object().emplace(shared, *parts);
    }
    all.push_back({std::string(name), std::move(schema), required.contains(std::string_view(name))});
  }
  return all;
}

bool IsPythonName(std::string_view name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && is_letter(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

class CallWriter {
 public:
  CallWriter(const CallSpec& spec, const Vocabulary& vocabulary, Expressions* to,
             std::vector<std::string>* ignored)
      : spec_(spec),
        vocabulary_(vocabulary),
        to_(*to),
        ignored_(*ignored),
        arguments_(spec.functions.size()),
        tagged_(spec.functions.size()) {}

  Result<RuleId> Write() {
    PREFIXD_CHECK(!spec_.functions.empty() && spec_.most_calls > 0);
    const std::vector<CallPart> begin = First();
    PREFIXD_ASSIGN_OR_RETURN(const ExprId first, AnyFunction(begin));
    std::vector<ExprId> calls = {first};
    if (spec_.most_calls > 1 && !spec_.writing.next.empty()) {
      PREFIXD_ASSIGN_OR_RETURN(const ExprId next, AnyFunction(spec_.writing.next));
      calls.push_back(to_.Repeat(next, 0, static_cast<uint32_t>(spec_.most_calls - 1)));
    }
    PREFIXD_ASSIGN_OR_RETURN(const ExprId last, Parts(spec_.writing.last, 0));
    calls.push_back(last);
    ExprId answer = to_.Sequence(std::move(calls));
    if (spec_.optional) {
      PREFIXD_ASSIGN_OR_RETURN(answer, AfterText(answer));
    }
    PREFIXD_ASSIGN_OR_RETURN(const ExprId all, WithReasoning(answer));
    const RuleId root = to_.AddRule("calls");
    to_.Define(root, all);
    return root;
  }

 private:
  ExprId Text(std::string_view text) { return to_.Text(vocabulary_.Spelled(text)); }
  // A text up to a word, with it.
  Result<ExprId> Until(std::string_view word, TextEnds ends = TextEnds::kWithWord);
  std::vector<CallPart> First() const;
  Result<ExprId> AfterText(ExprId calls);
  Result<ExprId> WithReasoning(ExprId calls);
  Result<ExprId> AnyFunction(const std::vector<CallPart>& parts);
  Result<ExprId> Parts(const std::vector<CallPart>& parts, size_t function);
  Result<ExprId> Part(const CallPart& part, size_t function);
  ExprId Id();
  Result<ExprId> Arguments(size_t function);
  Result<RuleId> Read(const json::value& schema, const CalledFunction& function, JsonSpelling spelling);
  Result<ExprId> Keywords(size_t function);
  Result<ExprId> Tagged(const ArgumentTags& tags, size_t function);
  Result<ExprId> TaggedValue(const ArgumentTags& tags, const json::value& schema,
                             const CalledFunction& function);

  const CallSpec& spec_;
  const Vocabulary& vocabulary_;
  Expressions& to_;
  std::vector<std::string>& ignored_;
  AutomatonBudget automata_;
  std::vector<std::optional<RuleId>> arguments_;  // by function
  std::vector<std::optional<ExprId>> tagged_;
};

Result<ExprId> CallWriter::Until(std::string_view word, TextEnds ends) {
  const std::string spelled = vocabulary_.Spelled(word);
  if (spelled[0] == Vocabulary::kMark) {  // no text has it
    const CodePointRange any = {0, kLastCodePoint};
    const ExprId text = to_.Repeat(to_.CodePoints({&any, 1}), 0, kUnbounded);
    const std::string line = ends == TextEnds::kWithLineAndWord ? "\n" : "";
    return ends == TextEnds::kBefore ? text : to_.Sequence({text, to_.Text(line + spelled)});
  }
  PREFIXD_ASSIGN_OR_RETURN(ByteAutomaton text, TextUntil(word, ends, &automata_));
  const RuleId rule = to_.AddRule("a text");
  to_.Define(rule, to_.Automaton(std::move(text)));
  return to_.Rule(rule);
}

// How the first call begins; without the trigger, where a text stands before.
std::vector<CallPart> CallWriter::First() const {
  std::vector<CallPart> parts = spec_.writing.first;
  const std::string& trigger = spec_.writing.trigger;
  if (!spec_.optional || trigger.empty()) return parts;
  const size_t at = parts[0].text.find(trigger);
  PREFIXD_CHECK(at != std::string::npos) << trigger << " in " << parts[0].text;
  parts[0].text.erase(0, at + trigger.size());
  return parts;
}

// Text and then calls, or text alone.
Result<ExprId> CallWriter::AfterText(ExprId calls) {
  const CallWriting& writing = spec_.writing;
  if (!writing.trigger.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId text, Until(writing.trigger, TextEnds::kBefore));
    PREFIXD_ASSIGN_OR_RETURN(const ExprId before, Until(writing.trigger));
    return to_.Choice({text, to_.Sequence({before, calls})});
  }
  std::vector<std::string> words;  // with which a call begins, up to its arguments
  for (const CalledFunction& function : spec_.functions) {
    std::string& word = words.emplace_back();
    for (const CallPart& part : writing.first) {
      if (part.kind == CallPart::Kind::kText) word += part.text;
      if (part.kind == CallPart::Kind::kName) word += function.name;
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(ByteAutomaton text, TextBesides(words, &automata_));
  std::vector<ExprId> choice = {to_.Automaton(std::move(text)), calls};
  if (!writing.opening.empty()) choice.push_back(to_.Sequence({Text(writing.opening), calls}));
  return to_.Choice(std::move(choice));
}

Result<ExprId> CallWriter::WithReasoning(ExprId calls) {
  const CallReasoning& reasoning = spec_.reasoning;
  if (reasoning.place == CallReasoning::Place::kNone) return calls;
  PREFIXD_ASSIGN_OR_RETURN(const ExprId text, Until(reasoning.end));
  const ExprId after = reasoning.after.empty() ? to_.Repeat(to_.Text("\n"), 0, 2) : Text(reasoning.after);
  ExprId rest = to_.Sequence({text, after, calls});
  if (spec_.optional) {  // an answer may end with its reasoning
    PREFIXD_ASSIGN_OR_RETURN(const ExprId alone, Until(reasoning.end, TextEnds::kBefore));
    rest = to_.Choice({alone, rest});
  }
  if (reasoning.place == CallReasoning::Place::kBegun) return rest;
  return to_.Choice({calls, to_.Sequence({Text(reasoning.begin), rest})});
}

Result<ExprId> CallWriter::AnyFunction(const std::vector<CallPart>& parts) {
  std::vector<ExprId> choice;
  for (size_t i = 0; i < spec_.functions.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId one, Parts(parts, i));
    choice.push_back(one);
  }
  return to_.Choice(std::move(choice));
}

Result<ExprId> CallWriter::Parts(const std::vector<CallPart>& parts, size_t function) {
  std::vector<ExprId> sequence;
  for (const CallPart& part : parts) {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId one, Part(part, function));
    sequence.push_back(one);
  }
  return to_.Sequence(std::move(sequence));
}

Result<ExprId> CallWriter::Part(const CallPart& part, size_t function) {
  switch (part.kind) {
    case CallPart::Kind::kText:
      return Text(part.text);
    case CallPart::Kind::kName:
      return to_.Text(spec_.functions[function].name);
    case CallPart::Kind::kId:
      return Id();
    case CallPart::Kind::kNumber:
      return to_.Repeat(to_.Bytes('0', '9'), 1, 3);
    case CallPart::Kind::kArguments:
      return Arguments(function);
    case CallPart::Kind::kTags:
      return Tagged(*part.tags, function);
    case CallPart::Kind::kKeywords:
      return Keywords(function);
  }
  return to_.Nothing();
}

ExprId CallWriter::Id() {
  const ExprId digit = to_.Choice({to_.Bytes('0', '9'), to_.Bytes('A', 'Z'), to_.Bytes('a', 'z')});
  if (spec_.writing.ids == CallIdStyle::kNineCharacters) return to_.Repeat(digit, 9, 9);
  return to_.Sequence({to_.Text("call_"), to_.Repeat(digit, 24, 24)});
}

Result<RuleId> CallWriter::Read(const json::value& schema, const CalledFunction& function,
                                JsonSpelling spelling) {
  Result<SchemaRead> read =
      ReadJsonSchema(schema, {.strict = function.strict, .closed = true, .spelling = spelling}, &to_);
  if (!read.ok()) return read.status().WithContext("the parameters of '" + function.name + "'");
  for (std::string& keyword : read->ignored)
    if (std::ranges::find(ignored_, keyword) == ignored_.end()) ignored_.push_back(std::move(keyword));
  return read->root;
}

// The schema, once, however many calls have it.
Result<ExprId> CallWriter::Arguments(size_t function) {
  std::optional<RuleId>& rule = arguments_[function];
  if (rule) return to_.Rule(*rule);
  const CalledFunction& called = spec_.functions[function];
  const json::object none = {{"type", "object"}, {"additionalProperties", false}};
  json::value schema = called.parameters.is_null() ? json::value(none) : called.parameters;
  if (json::object* object = schema.if_object(); object != nullptr && !object->contains("$ref")) {
    // Arguments are an object, also where the schema does not say so.
    const json::value* type = object->if_contains("type");
    if (type != nullptr && !Names(*type, "object"))
      return InvalidArgument("the parameters of '" + called.name + "' must be an object, not of type " +
                             json::serialize(*type));
    (*object)["type"] = "object";
  }
  PREFIXD_ASSIGN_OR_RETURN(rule, Read(schema, called, JsonSpelling::kRendered));
  return to_.Rule(*rule);
}

// The properties in their order; those that are not required may be left out.
Result<ExprId> CallWriter::Tagged(const ArgumentTags& tags, size_t function) {
  if (tagged_[function]) return *tagged_[function];
  std::vector<ExprId> all;
  for (const Parameter& one : ParametersOf(spec_.functions[function])) {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId value, TaggedValue(tags, one.schema, spec_.functions[function]));
    std::string head = std::string(tags.key) + one.name + std::string(tags.key_end) + "\n";
    head += tags.value;
    const ExprId item = to_.Sequence({Text(head), value, to_.Text("\n")});
    all.push_back(one.is_required ? item : to_.Optional(item));
  }
  return *(tagged_[function] = to_.Sequence(std::move(all)));
}

Result<ExprId> CallWriter::Keywords(size_t function) {
  if (tagged_[function]) return *tagged_[function];
  const CalledFunction& called = spec_.functions[function];
  std::vector<ExprId> all;
  for (const Parameter& one : ParametersOf(called)) {
    if (!IsPythonName(one.name) && !one.is_required) continue;
    if (!IsPythonName(one.name))
      return Unsupported("the parameters of '" + called.name + "': '" + one.name + "' is no name in Python");
    PREFIXD_ASSIGN_OR_RETURN(const RuleId value, Read(one.schema, called, JsonSpelling::kPython));
    const ExprId item = to_.Sequence({to_.Text(one.name + "="), to_.Rule(value)});
    all.push_back(one.is_required ? item : to_.Optional(item));
  }
  return *(tagged_[function] = to_.Joined(to_.Text(", "), all, to_.Nothing()));
}

// A value that may be a string stands as it is, any other one as JSON. Of the keywords for strings only
// `enum` and `const` hold.
Result<ExprId> CallWriter::TaggedValue(const ArgumentTags& tags, const json::value& schema,
                                       const CalledFunction& function) {
  const std::string end = (tags.line_feeds ? "\n" : "") + std::string(tags.value_end);
  if (!MayBeText(schema)) {
    PREFIXD_ASSIGN_OR_RETURN(const RuleId rule, Read(schema, function, JsonSpelling::kRendered));
    return to_.Sequence({to_.Rule(rule), Text(end)});
  }
  for (const char* keyword : {"pattern", "format", "minLength", "maxLength"}) {
    if (Member(schema, keyword) == nullptr) continue;
    if (function.strict)
      return Unsupported("the parameters of '" + function.name + "': '" + keyword +
                         "' is not supported where strings have no quotes");
    if (std::ranges::find(ignored_, keyword) == ignored_.end()) ignored_.emplace_back(keyword);
  }
  std::vector<ExprId> choice;
  const auto add = [&](const json::value& value) {
    if (value.is_string()) choice.push_back(Text(std::string(value.get_string()) + end));
  };
  if (const json::value* one = Member(schema, "const")) add(*one);
  const json::value* named = Member(schema, "enum");
  if (named != nullptr && named->is_array())
    for (const json::value& value : named->get_array()) add(value);
  if (!choice.empty()) return to_.Choice(std::move(choice));
  return Until(tags.value_end, tags.line_feeds ? TextEnds::kWithLineAndWord : TextEnds::kWithWord);
}

}  // namespace

std::string KeyOf(const CallSpec& spec) {
  std::string key = std::to_string(spec.most_calls) + (spec.optional ? "?" : ",") +
                    std::to_string(static_cast<int>(spec.writing.ids)) +
                    std::to_string(static_cast<int>(spec.reasoning.place));
  const auto add = [&key](std::string_view text) {
    key.append(std::to_string(text.size())).append(":").append(text);
  };
  for (const std::string& text : {spec.reasoning.begin, spec.reasoning.end, spec.reasoning.after,
                                  spec.writing.trigger, spec.writing.opening})
    add(text);
  for (const auto* parts : {&spec.writing.first, &spec.writing.next, &spec.writing.last}) {
    key += ";";
    for (const CallPart& part : *parts) {
      key += std::to_string(static_cast<int>(part.kind));
      add(part.text);
      if (part.tags != nullptr) add(part.tags->key);
    }
  }
  for (const CalledFunction& function : spec.functions) {
    key += function.strict ? "s" : "-";
    add(function.name);
    add(json::serialize(function.parameters));
  }
  return key;
}

Result<RuleId> WriteCalls(const CallSpec& spec, const Vocabulary& vocabulary, Expressions* to,
                          std::vector<std::string>* ignored) {
  return CallWriter(spec, vocabulary, to, ignored).Write();
}

}  // namespace prefixd::grammar
