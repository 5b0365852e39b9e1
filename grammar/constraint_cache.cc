#include "grammar/constraint_cache.h"

#include <boost/json.hpp>
#include <optional>
#include <utility>

#include "grammar/grammar_text.h"
#include "grammar/json_schema.h"
#include "grammar/json_text.h"
#include "grammar/regex.h"

namespace prefixd::grammar {
namespace {

std::string KeyOf(const ConstraintSpec& spec) {
  std::string key = std::to_string(static_cast<int>(spec.kind)) + (spec.strict ? "s" : "-") + spec.text;
  if (spec.kind == ConstraintSpec::Kind::kJsonSchema) key += boost::json::serialize(spec.schema);
  if (spec.calls) key += KeyOf(*spec.calls);
  for (const std::string& choice : spec.choices) key += std::to_string(choice.size()) + ":" + choice;
  return key;
}

// Writes the spec into the expressions. Returns its root.
Result<RuleId> Write(const ConstraintSpec& spec, const Vocabulary& vocabulary, Expressions* to,
                     std::vector<std::string>* ignored) {
  switch (spec.kind) {
    case ConstraintSpec::Kind::kJsonSchema: {
      PREFIXD_ASSIGN_OR_RETURN(SchemaRead read, ReadJsonSchema(spec.schema, {.strict = spec.strict}, to));
      *ignored = std::move(read.ignored);
      return read.root;
    }
    case ConstraintSpec::Kind::kGrammar:
      return ReadGrammarText(spec.text, to);
    case ConstraintSpec::Kind::kCalls:
      return WriteCalls(*spec.calls, vocabulary, to, ignored);
    case ConstraintSpec::Kind::kJsonObject:
    case ConstraintSpec::Kind::kRegex:
    case ConstraintSpec::Kind::kChoice:
      break;
  }
  const RuleId root = to->AddRule("root");
  if (spec.kind == ConstraintSpec::Kind::kJsonObject) {
    JsonText json(to);
    to->Define(root, json.ObjectOf(json.Value()));
  } else if (spec.kind == ConstraintSpec::Kind::kRegex) {
    const Characters characters(to, Characters::In::kText);
    PREFIXD_ASSIGN_OR_RETURN(const ExprId body, ReadRegex(spec.text, RegexMatches::kWhole, characters));
    to->Define(root, body);
  } else {
    std::vector<ExprId> choice;
    for (const std::string& text : spec.choices) choice.push_back(to->Text(text));
    to->Define(root, to->Choice(std::move(choice)));
  }
  return root;
}

}  // namespace

ConstraintCache::ConstraintCache(std::shared_ptr<const Vocabulary> vocabulary, const Options& options)
    : vocabulary_(std::move(vocabulary)), options_(options) {}

Result<CompiledSpec> ConstraintCache::Get(const ConstraintSpec& spec) {
  std::string key = KeyOf(spec);
  if (key.size() > kMostSpecBytes)
    return ResourceExhausted("it has more than " + std::to_string(kMostSpecBytes) + " bytes");
  {
    MutexLock lock(mutex_);
    if (const auto at = by_key_.find(key); at != by_key_.end()) {
      entries_.splice(entries_.begin(), entries_, at->second);
      return at->second->second;
    }
  }
  CompiledSpec made;
  Expressions expressions;
  PREFIXD_ASSIGN_OR_RETURN(const RuleId root, Write(spec, *vocabulary_, &expressions, &made.ignored));
  PREFIXD_ASSIGN_OR_RETURN(Grammar grammar, Grammar::Compile(expressions, root));
  if (++*live_ > options_.most_live) {
    --*live_;
    return Unavailable("requests with " + std::to_string(options_.most_live) +
                       " different formats are running; more must wait");
  }
  made.constraint = std::shared_ptr<const Constraint>(
      new Constraint(std::move(grammar), vocabulary_, options_.most_mask_bytes),
      [live = live_](const Constraint* constraint) {
        delete constraint;
        --*live;
      });
  if (!made.constraint->Prepare())
    return ResourceExhausted("it can be matched in too many ways at once; make it less ambiguous");
  ++compiled_;
  Keep(std::move(key), made);
  return made;
}

void ConstraintCache::Keep(std::string key, const CompiledSpec& made) {
  MutexLock lock(mutex_);
  if (by_key_.contains(key)) return;
  entries_.emplace_front(std::move(key), made);
  by_key_[entries_.front().first] = entries_.begin();
  if (entries_.size() <= options_.most_cached) return;
  by_key_.erase(entries_.back().first);
  entries_.pop_back();
}

}  // namespace prefixd::grammar
