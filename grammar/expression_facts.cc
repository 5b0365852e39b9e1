#include "grammar/expression_facts.h"

#include <algorithm>
#include <span>

namespace prefixd::grammar {
namespace {

constexpr uint32_t kLargest = 1u << 30;
// A repetition of at most that many states is written out.
constexpr uint64_t kWrittenOut = 64;

// The parts that make a node nullable.
std::span<const ExprId> PartsThatCount(const Expr& expr) {
  return std::span(expr.of).subspan(expr.kind == ExprKind::kJoined ? 2 : 0);
}

}  // namespace

ExpressionFacts::ExpressionFacts(const Expressions& from) : from_(from), nullable_(from.size()) {
  FindNullable();
  for (ExprId id = 0; id < from.size(); ++id) size_.push_back(Measure(from.at(id)));
}

// Each node is told once of each of its parts that is nullable.
void ExpressionFacts::FindNullable() {
  const size_t nodes = from_.size();
  std::vector<std::vector<ExprId>> users(nodes), calls(from_.rules()), definitions(nodes);
  std::vector<size_t> missing(nodes, 0);  // parts of a sequence that are not nullable
  std::vector<ExprId> found;
  const auto add = [&](ExprId id) {
    if (nullable_[id]) return;
    nullable_[id] = true;
    found.push_back(id);
  };
  for (ExprId id = 0; id < nodes; ++id) {
    const Expr& expr = from_.at(id);
    for (const ExprId part : PartsThatCount(expr)) users[part].push_back(id);
    missing[id] = expr.of.size() - (expr.kind == ExprKind::kJoined ? 2 : 0);
    if (expr.kind == ExprKind::kJoined && missing[id] == 0) add(id);
    if (expr.kind == ExprKind::kRule) calls[expr.index].push_back(id);
    if (expr.kind == ExprKind::kText && from_.text(expr).empty()) add(id);
    if (expr.kind == ExprKind::kSequence && expr.of.empty()) add(id);
    if (expr.kind == ExprKind::kRepeat && expr.min == 0) add(id);
    if (expr.kind == ExprKind::kAutomaton && !from_.automaton(expr).empty() &&
        from_.automaton(expr).states[0].is_final)
      add(id);
  }
  for (RuleId rule = 0; rule < from_.rules(); ++rule) definitions[from_.definition(rule)].push_back(rule);
  while (!found.empty()) {
    const ExprId id = found.back();
    found.pop_back();
    for (const ExprId user : users[id]) {
      const ExprKind kind = from_.at(user).kind;
      const bool needs_all = kind == ExprKind::kSequence || kind == ExprKind::kJoined;
      if (!needs_all || --missing[user] == 0) add(user);
    }
    for (const RuleId rule : definitions[id])
      for (const ExprId call : calls[rule]) add(call);
  }
}

uint32_t ExpressionFacts::Measure(const Expr& expr) const {
  uint64_t sum = 1;
  for (const ExprId part : expr.of) sum += size_[part];
  if (expr.kind == ExprKind::kText) sum += from_.text(expr).size();
  if (expr.kind == ExprKind::kAutomaton) sum += from_.automaton(expr).states.size();
  if (expr.kind == ExprKind::kRepeat) {
    const uint64_t times = expr.max == kUnbounded ? std::max(expr.min, 1u) : expr.max;
    sum = sum * times <= kWrittenOut ? sum * times : 2;
  }
  return static_cast<uint32_t>(std::min<uint64_t>(sum, kLargest));
}

bool ExpressionFacts::IsWrittenOut(ExprId repeat) const {
  const Expr& expr = from_.at(repeat);
  if (expr.max <= 1 || (expr.max == kUnbounded && expr.min <= 1)) return true;
  const uint64_t times = expr.max == kUnbounded ? expr.min : expr.max;
  return times * size_[expr.of[0]] <= kWrittenOut;
}

}  // namespace prefixd::grammar
