#include "grammar/grammar.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "grammar/expression_facts.h"
#include "grammar/subsets.h"

namespace prefixd::grammar {

// Compiles the rules that the root needs, one after the other.
class GrammarBuilder {
 public:
  GrammarBuilder(const Expressions& from, const GrammarLimits& limits)
      : from_(from), limits_(limits), facts_(from), work_(limits.work) {}

  Result<Grammar> Build(RuleId root);
  // What building has cost so far, about in states and edges.
  size_t cost() const {
    return nfa_size_ + to_.states_.size() + to_.edges_.size() + (limits_.work - work_) / 16;
  }

 private:
  // What a call may call: a rule, the part that a repetition counts, or the counter.
  struct Entry {
    enum class Kind : uint8_t { kRule, kBody, kLoop } kind;
    uint32_t index;  // of the rule, or of the expression
    StateId start = Grammar::kNoState;
  };

  uint32_t EntryOf(Entry::Kind kind, uint32_t index);
  std::string NameOf(const Entry& entry) const;
  Status BuildEntry(uint32_t entry);
  Status AddAutomaton(uint32_t entry, ExprId body);
  uint32_t Lower(ExprId id, uint32_t end);
  uint32_t LowerNew(ExprId id, uint32_t end);
  uint32_t LowerRepeat(ExprId id, uint32_t end);
  uint32_t LowerJoined(const Expr& expr, uint32_t end);
  uint32_t LowerAutomaton(const ByteAutomaton& automaton, uint32_t end);
  uint32_t LowerCall(Entry::Kind kind, uint32_t index, bool nullable, uint32_t end);
  bool is_full() const { return nfa_size_ + nfa_.size() > limits_.nfa_size; }
  void Link();
  std::vector<bool> FindProductive() const;
  void DropUnproductive(const std::vector<bool>& productive);
  void FindAlike();
  Status CheckStarts() const;

  const Expressions& from_;
  const GrammarLimits limits_;
  const ExpressionFacts facts_;
  size_t work_;
  size_t nfa_size_ = 0;  // of all rules so far
  std::vector<Entry> entries_;
  std::unordered_map<uint64_t, uint32_t> entry_ids_;
  Nfa nfa_;                                         // of the rule that is built
  std::unordered_map<uint64_t, uint32_t> lowered_;  // the start of an expression before a state
  Grammar to_;
};

uint32_t GrammarBuilder::EntryOf(Entry::Kind kind, uint32_t index) {
  const uint64_t key = static_cast<uint64_t>(kind) << 32 | index;
  const auto [at, is_new] = entry_ids_.try_emplace(key, static_cast<uint32_t>(entries_.size()));
  if (is_new) entries_.push_back({kind, index});
  return at->second;
}

std::string GrammarBuilder::NameOf(const Entry& entry) const {
  return entry.kind == Entry::Kind::kRule ? "the rule '" + from_.name(entry.index) + "'" : "a repetition";
}

uint32_t GrammarBuilder::LowerCall(Entry::Kind kind, uint32_t index, bool nullable, uint32_t end) {
  const uint32_t entry = EntryOf(kind, index), start = nfa_.Add();
  nfa_.AddCall(start, {entry, end});
  if (nullable) nfa_.AddEmpty(start, end);
  return start;
}

uint32_t GrammarBuilder::LowerRepeat(ExprId id, uint32_t end) {
  const Expr& expr = from_.at(id);
  const ExprId part = expr.of[0];
  const bool is_counted = limits_.count_repeats && !facts_.IsWrittenOut(id);
  if (expr.max == kUnbounded) {
    const uint32_t loop = nfa_.Before({end});
    const uint32_t start = Lower(part, loop);
    nfa_.AddEmpty(loop, start);
    end = loop;
  }
  if (is_counted) return LowerCall(Entry::Kind::kLoop, id, facts_.IsNullable(id), end);
  const uint32_t most = expr.max == kUnbounded ? expr.min : expr.max;
  uint32_t start = end;
  for (uint32_t i = most; i > 0 && !is_full(); --i) {
    start = Lower(part, start);
    if (i > expr.min) start = nfa_.Before({start, end});
  }
  return start;
}

// From the last item to the first: where the rest begins if an item came before, and where it does if none.
uint32_t GrammarBuilder::LowerJoined(const Expr& expr, uint32_t end) {
  const ExprId separator = expr.of[0], more = expr.of[1];
  uint32_t first = end, rest = end;
  if (from_.at(more).kind != ExprKind::kNothing) {
    rest = nfa_.Before({end});
    const uint32_t one = Lower(more, rest);
    const uint32_t next = Lower(separator, one);
    nfa_.AddEmpty(rest, next);
    first = nfa_.Before({end, one});
  }
  for (size_t i = expr.of.size(); i > 2 && !is_full(); --i) {
    const Expr& item = from_.at(expr.of[i - 1]);
    const bool is_optional = item.kind == ExprKind::kRepeat && item.min == 0;
    const uint32_t one = Lower(is_optional ? item.of[0] : expr.of[i - 1], rest);
    const uint32_t next = Lower(separator, one);
    first = is_optional ? nfa_.Before({one, first}) : one;
    rest = is_optional ? nfa_.Before({next, rest}) : next;
  }
  return first;
}

uint32_t GrammarBuilder::LowerAutomaton(const ByteAutomaton& automaton, uint32_t end) {
  const auto base = static_cast<uint32_t>(nfa_.states.size());
  for (size_t i = 0; i < automaton.states.size(); ++i) nfa_.Add();
  for (uint32_t i = 0; i < automaton.states.size(); ++i) {
    for (const ByteEdge& edge : automaton.states[i].edges)
      nfa_.AddBytes(base + i, {edge.low, edge.high, base + edge.to});
    if (automaton.states[i].is_final) nfa_.AddEmpty(base + i, end);
  }
  return automaton.empty() ? nfa_.Add() : base;
}

uint32_t GrammarBuilder::LowerNew(ExprId id, uint32_t end) {
  const Expr& expr = from_.at(id);
  switch (expr.kind) {
    case ExprKind::kNothing:
      return nfa_.Add();
    case ExprKind::kText: {
      const std::string& text = from_.text(expr);
      for (auto c = text.rbegin(); c != text.rend(); ++c)
        end = nfa_.BeforeByte(static_cast<uint8_t>(*c), static_cast<uint8_t>(*c), end);
      return end;
    }
    case ExprKind::kBytes:
      return nfa_.BeforeByte(expr.low, expr.high, end);
    case ExprKind::kSequence:
      for (auto part = expr.of.rbegin(); part != expr.of.rend(); ++part) end = Lower(*part, end);
      return end;
    case ExprKind::kChoice: {
      std::vector<uint32_t> starts;
      for (const ExprId part : expr.of) starts.push_back(Lower(part, end));
      std::sort(starts.begin(), starts.end());
      starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
      return nfa_.Before(std::move(starts));
    }
    case ExprKind::kRepeat:
      return LowerRepeat(id, end);
    case ExprKind::kJoined:
      return LowerJoined(expr, end);
    case ExprKind::kRule:
      return LowerCall(Entry::Kind::kRule, expr.index, facts_.IsNullable(id), end);
    case ExprKind::kAutomaton:
      return LowerAutomaton(from_.automaton(expr), end);
  }
  return end;
}

// Adds the fragment of an expression before the state `end`, and returns the state where it begins. Equal
// expressions before equal states share theirs, so that a tail that is reached in many ways is there once.
uint32_t GrammarBuilder::Lower(ExprId id, uint32_t end) {
  if (is_full()) return end;  // AddAutomaton reports it
  const uint64_t key = static_cast<uint64_t>(id) << 32 | end;
  if (const auto at = lowered_.find(key); at != lowered_.end()) return at->second;
  const uint32_t start = LowerNew(id, end);
  lowered_.emplace(key, start);
  return start;
}

Status GrammarBuilder::AddAutomaton(uint32_t entry, ExprId body) {
  nfa_.Clear();
  lowered_ = {};  // not clear(), which takes time in the size of the largest rule so far
  const uint32_t end = nfa_.Add(), start = Lower(body, end);
  nfa_size_ += nfa_.size();
  if (nfa_size_ > limits_.nfa_size) return ResourceExhausted("it is larger than a grammar may be");
  Subsets subsets(nfa_, start, end, limits_.states - std::min(limits_.states, to_.states_.size()), &work_);
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<SubsetState> states, subsets.Run());
  const auto base = static_cast<uint32_t>(to_.states_.size());
  entries_[entry].start = base;
  for (const SubsetState& from : states) {
    Grammar::State& state = to_.states_.emplace_back();
    state.is_final = from.is_final;
    state.first_edge = static_cast<uint32_t>(to_.edges_.size());
    state.edges = static_cast<uint32_t>(from.bytes.size());
    state.first_call = static_cast<uint32_t>(to_.calls_.size());
    state.calls = static_cast<uint32_t>(from.calls.size());
    for (const ByteEdge& edge : from.bytes) to_.edges_.push_back({edge.low, edge.high, base + edge.to});
    for (const CallEdge& call : from.calls) to_.calls_.push_back({call.callee, base + call.to});
  }
  if (to_.edges_.size() + to_.calls_.size() > limits_.edges)
    return ResourceExhausted("it takes more edges than a grammar may have");
  return Status::Ok();
}

Status GrammarBuilder::BuildEntry(uint32_t entry) {
  const Entry what = entries_[entry];
  if (what.kind == Entry::Kind::kRule) return AddAutomaton(entry, from_.definition(what.index));
  if (what.kind == Entry::Kind::kBody) return AddAutomaton(entry, what.index);
  const Expr& repeat = from_.at(what.index);
  const ExprId part = repeat.of[0];
  // An unbounded repetition counts up to its minimum; what may follow is written out.
  const uint32_t least = std::max(facts_.IsNullable(part) ? 1u : repeat.min, 1u);
  const uint32_t most = repeat.max == kUnbounded ? repeat.min : repeat.max;
  entries_[entry].start = static_cast<StateId>(to_.states_.size());
  to_.states_.emplace_back().loop = static_cast<uint32_t>(to_.loops_.size());
  to_.loops_.push_back({EntryOf(Entry::Kind::kBody, part), least, most});
  return Status::Ok();
}

// Calls name the states where their rules begin from now on.
void GrammarBuilder::Link() {
  const auto ends = [this](StateId id) {
    const Grammar::State& s = to_.states_[id];
    return s.is_final && s.edges == 0 && s.calls == 0 && s.loop == Grammar::kNoState;
  };
  for (Grammar::Call& call : to_.calls_) {
    call.start = entries_[call.start].start;
    if (ends(call.resume)) call.resume = Grammar::kNoState;
  }
  for (Grammar::Loop& loop : to_.loops_) loop.body = entries_[loop.body].start;
}

// Each edge is looked at once for each of its ends.
std::vector<bool> GrammarBuilder::FindProductive() const {
  const size_t count = to_.states_.size();
  struct Use {
    StateId by;
    const Grammar::Call* call;  // null: the end of this edge is all that it takes
  };
  std::vector<std::vector<Use>> uses(count);
  for (StateId id = 0; id < count; ++id) {
    for (const ByteEdge& edge : to_.edges(id)) uses[edge.to].push_back({id, nullptr});
    for (const Grammar::Call& call : to_.calls(id)) {
      uses[call.start].push_back({id, &call});
      if (call.resume != Grammar::kNoState) uses[call.resume].push_back({id, &call});
    }
    if (const Grammar::Loop* loop = to_.loop(id)) uses[loop->body].push_back({id, nullptr});
  }
  std::vector<bool> productive(count);
  std::vector<StateId> found;
  for (StateId id = 0; id < count; ++id) {
    if (!to_.is_final(id)) continue;
    productive[id] = true;
    found.push_back(id);
  }
  while (!found.empty()) {
    const StateId id = found.back();
    found.pop_back();
    for (const Use& use : uses[id]) {
      const bool leads =
          use.call == nullptr || (productive[use.call->start] &&
                                  (use.call->resume == Grammar::kNoState || productive[use.call->resume]));
      if (productive[use.by] || !leads) continue;
      productive[use.by] = true;
      found.push_back(use.by);
    }
  }
  return productive;
}

void GrammarBuilder::DropUnproductive(const std::vector<bool>& productive) {
  const auto is_dead = [&](StateId id) { return id != Grammar::kNoState && !productive[id]; };
  std::vector<ByteEdge> edges;
  std::vector<Grammar::Call> calls;
  for (StateId id = 0; id < to_.states_.size(); ++id) {
    Grammar::State& state = to_.states_[id];
    const auto old_edges = to_.edges(id);
    const auto old_calls = to_.calls(id);
    state.first_edge = static_cast<uint32_t>(edges.size());
    state.first_call = static_cast<uint32_t>(calls.size());
    for (const ByteEdge& edge : old_edges)
      if (!is_dead(edge.to)) edges.push_back(edge);
    for (const Grammar::Call& call : old_calls)
      if (!is_dead(call.start) && !is_dead(call.resume)) calls.push_back(call);
    state.edges = static_cast<uint32_t>(edges.size()) - state.first_edge;
    state.calls = static_cast<uint32_t>(calls.size()) - state.first_call;
  }
  to_.edges_ = std::move(edges);
  to_.calls_ = std::move(calls);
}

// Bytes between which no edge begins or ends.
void GrammarBuilder::FindAlike() {
  std::array<bool, 257> begins{};
  for (const ByteEdge& edge : to_.edges_) begins[edge.low] = begins[edge.high + 1u] = true;
  for (unsigned first = 0; first < 256;) {
    unsigned end = first + 1;
    while (end < 256 && !begins[end]) ++end;
    for (unsigned byte = first; byte < end; ++byte)
      to_.alike_[byte] = {static_cast<uint8_t>(first), static_cast<uint8_t>(end - 1)};
    first = end;
  }
}

// No rule begins with a call of itself. A walk over the rules, each of which is entered and left once.
Status GrammarBuilder::CheckStarts() const {
  std::unordered_map<StateId, const Entry*> of;
  for (const Entry& entry : entries_) of[entry.start] = &entry;
  enum class Mark : uint8_t { kNew, kEntered, kLeft };
  std::unordered_map<StateId, Mark> marks;
  struct Visit {
    StateId start;
    size_t next;
  };
  const auto nth = [this](StateId start, size_t i) {
    if (const Grammar::Loop* loop = to_.loop(start)) return i == 0 ? loop->body : Grammar::kNoState;
    const auto calls = to_.calls(start);
    return i < calls.size() ? calls[i].start : Grammar::kNoState;
  };
  for (const Entry& entry : entries_) {
    if (marks[entry.start] != Mark::kNew) continue;
    std::vector<Visit> path = {{entry.start, 0}};
    marks[entry.start] = Mark::kEntered;
    while (!path.empty()) {
      const StateId next = nth(path.back().start, path.back().next++);
      if (next == Grammar::kNoState) {
        marks[path.back().start] = Mark::kLeft;
        path.pop_back();
      } else if (marks[next] == Mark::kEntered) {
        return InvalidArgument(NameOf(*of[next]) + " begins with itself");
      } else if (marks[next] == Mark::kNew) {
        marks[next] = Mark::kEntered;
        path.push_back({next, 0});
      }
    }
  }
  return Status::Ok();
}

Result<Grammar> GrammarBuilder::Build(RuleId root) {
  if (from_.overflow()) return ResourceExhausted("it is larger than a grammar may be");
  EntryOf(Entry::Kind::kRule, root);
  for (uint32_t entry = 0; entry < entries_.size(); ++entry) PREFIXD_RETURN_IF_ERROR(BuildEntry(entry));
  Link();
  const std::vector<bool> productive = FindProductive();
  to_.start_ = entries_[0].start;
  to_.matches_empty_ = facts_.IsNullable(from_.definition(root));
  if (!productive[to_.start_] && !to_.matches_empty_) return InvalidArgument("no text matches it");
  DropUnproductive(productive);
  FindAlike();
  PREFIXD_RETURN_IF_ERROR(CheckStarts());
  return std::move(to_);
}

Result<Grammar> Grammar::Compile(const Expressions& from, RuleId root, const GrammarLimits& limits) {
  return GrammarBuilder(from, limits).Build(root);
}

Result<ByteAutomaton> Grammar::CompileAutomaton(const Expressions& from, RuleId root,
                                                AutomatonBudget* budget) {
  // A compile costs by the sizes before it, too: a large one that fails has used up the budget.
  const GrammarLimits limits = {.nfa_size = budget->left,
                                .states = budget->left,
                                .edges = budget->left,
                                .work = budget->left * 16,
                                .count_repeats = false};
  GrammarBuilder builder(from, limits);
  Result<Grammar> built = builder.Build(root);
  if (!budget->Spend(builder.cost()) || !built.ok())
    return built.ok() ? ResourceExhausted("it is larger than a grammar may be") : built.status();
  const Grammar grammar = *std::move(built);
  PREFIXD_CHECK(grammar.calls_.empty()) << "rules are no automaton";
  ByteAutomaton to;
  for (StateId id = 0; id < grammar.states(); ++id) {
    const auto edges = grammar.edges(id);
    to.states.push_back({{edges.begin(), edges.end()}, grammar.is_final(id)});
  }
  to.states[0].is_final = grammar.matches_empty();
  return Trimmed(to);
}

size_t Grammar::bytes() const {
  return states_.capacity() * sizeof(State) + edges_.capacity() * sizeof(ByteEdge) +
         calls_.capacity() * sizeof(Call) + loops_.capacity() * sizeof(Loop);
}

}  // namespace prefixd::grammar
