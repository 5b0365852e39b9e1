#include "grammar/constraint_cache.h"

#include <algorithm>
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

// A constraint with its bytes of the account.
struct Counted {
  explicit Counted(std::shared_ptr<ByteAccount> account) : share(std::move(account)) {}
  ByteShare share;
  std::optional<Constraint> constraint;
};

}  // namespace

ConstraintCache::ConstraintCache(std::shared_ptr<const Vocabulary> vocabulary, const Options& options)
    : vocabulary_(std::move(vocabulary)),
      options_(options),
      account_(std::make_shared<ByteAccount>(options.most_bytes)) {}

// Forgets the constraint used last before all others that no request has. False: there is none.
bool ConstraintCache::ForgetOldest() {
  MutexLock lock(mutex_);
  for (auto at = entries_.end(); at != entries_.begin();) {
    if ((--at)->second.constraint.use_count() > 1) continue;
    by_key_.erase(at->first);
    entries_.erase(at);
    return true;
  }
  return false;
}

bool ConstraintCache::Reserve(size_t bytes, ByteShare* share) {
  while (!share->TryGrow(bytes))
    if (!ForgetOldest()) return false;
  return true;
}

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
  // As long as the constraint lives. How large the masks made ahead are is known when they are there.
  auto counted = std::make_shared<Counted>(account_);
  if (!Reserve(key.size() + grammar.bytes() + options_.most_mask_bytes, &counted->share))
    return Unavailable("the formats of running requests take " + std::to_string(account_->taken()) + " of " +
                       std::to_string(account_->most()) + " bytes; more must wait");
  counted->constraint.emplace(std::move(grammar), vocabulary_, options_.most_mask_bytes, account_);
  made.constraint = std::shared_ptr<const Constraint>(counted, &*counted->constraint);
  if (!made.constraint->Prepare())
    return ResourceExhausted("it can be matched in too many ways at once; make it less ambiguous");
  counted->share.Shrink(std::min(counted->share.bytes(), key.size() + made.constraint->bytes()));
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
