#include "grammar/grammar.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "grammar/expression_facts.h"
#include "grammar/subsets.h"

namespace prefixd::grammar {

// Compiles the rules that the root needs, one after the other.
class GrammarBuilder {
 public:
  GrammarBuilder(const Expressions& from, const GrammarLimits& limits)
      : from_(from), limits_(limits), facts_(from), work_(limits.work) {}

  Result<Grammar> Build(RuleId root);

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
  uint32_t Lower(ExprId id, uint32_t from);
  uint32_t LowerRepeat(ExprId id, uint32_t from);
  uint32_t LowerCall(Entry::Kind kind, uint32_t index, bool nullable, uint32_t from);
  void Link();
  std::vector<bool> FindProductive() const;
  void DropUnproductive(const std::vector<bool>& productive);
  Status CheckStarts() const;

  const Expressions& from_;
  const GrammarLimits limits_;
  const ExpressionFacts facts_;
  size_t work_;
  size_t nfa_states_ = 0;  // of all rules so far
  std::vector<Entry> entries_;
  std::unordered_map<uint64_t, uint32_t> entry_ids_;
  Nfa nfa_;  // of the rule that is built
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

uint32_t GrammarBuilder::LowerCall(Entry::Kind kind, uint32_t index, bool nullable, uint32_t from) {
  const uint32_t entry = EntryOf(kind, index), to = nfa_.Add();
  nfa_.states[from].calls.push_back({entry, to});
  if (nullable) nfa_.states[from].empty.push_back(to);
  return to;
}

uint32_t GrammarBuilder::LowerRepeat(ExprId id, uint32_t from) {
  const Expr& expr = from_.at(id);
  const ExprId part = expr.of[0];
  uint32_t at = nfa_.AddAfter(from);
  if (!facts_.IsWrittenOut(id)) {
    at = LowerCall(Entry::Kind::kLoop, id, facts_.IsNullable(id), at);
  } else {
    for (uint32_t i = 0; i < expr.min; ++i) at = Lower(part, at);
  }
  if (expr.max == kUnbounded) {
    const uint32_t loop = nfa_.AddAfter(at);
    nfa_.states[Lower(part, loop)].empty.push_back(loop);
    return nfa_.AddAfter(loop);
  }
  if (!facts_.IsWrittenOut(id)) return at;
  const uint32_t end = nfa_.Add();
  for (uint32_t i = expr.min; i < expr.max; ++i) {
    nfa_.states[at].empty.push_back(end);
    at = Lower(part, nfa_.AddAfter(at));
  }
  nfa_.states[at].empty.push_back(end);
  return end;
}

// Adds the fragment of an expression after the state `from`, and returns the state after it. No edge of the
// fragment enters `from`.
uint32_t GrammarBuilder::Lower(ExprId id, uint32_t from) {
  if (nfa_states_ + nfa_.states.size() > limits_.nfa_states) return from;  // AddAutomaton reports it
  const Expr& expr = from_.at(id);
  switch (expr.kind) {
    case ExprKind::kNothing:
      return nfa_.Add();
    case ExprKind::kText:
      for (const char c : from_.text(expr)) {
        const uint32_t to = nfa_.Add();
        nfa_.states[from].bytes.push_back({static_cast<uint8_t>(c), static_cast<uint8_t>(c), to});
        from = to;
      }
      return from;
    case ExprKind::kBytes: {
      const uint32_t to = nfa_.Add();
      nfa_.states[from].bytes.push_back({expr.low, expr.high, to});
      return to;
    }
    case ExprKind::kSequence:
      for (const ExprId part : expr.of) from = Lower(part, from);
      return from;
    case ExprKind::kChoice: {
      const uint32_t end = nfa_.Add();
      for (const ExprId part : expr.of) nfa_.states[Lower(part, nfa_.AddAfter(from))].empty.push_back(end);
      return end;
    }
    case ExprKind::kRepeat:
      return LowerRepeat(id, from);
    case ExprKind::kRule:
      return LowerCall(Entry::Kind::kRule, expr.index, facts_.IsNullable(id), from);
    case ExprKind::kAutomaton: {
      const auto& states = from_.automaton(expr).states;
      const auto base = static_cast<uint32_t>(nfa_.states.size());
      for (size_t i = 0; i < states.size(); ++i) nfa_.Add();
      const uint32_t end = nfa_.Add();
      if (!states.empty()) nfa_.states[from].empty.push_back(base);
      for (size_t i = 0; i < states.size(); ++i) {
        Nfa::State& state = nfa_.states[base + i];
        for (const ByteEdge& edge : states[i].edges)
          state.bytes.push_back({edge.low, edge.high, base + edge.to});
        if (states[i].is_final) state.empty.push_back(end);
      }
      return end;
    }
  }
  return from;
}

Status GrammarBuilder::AddAutomaton(uint32_t entry, ExprId body) {
  nfa_.states.clear();
  const uint32_t start = nfa_.Add(), end = Lower(body, start);
  nfa_states_ += nfa_.states.size();
  if (nfa_states_ > limits_.nfa_states) return ResourceExhausted("it is larger than a grammar may be");
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

std::vector<bool> GrammarBuilder::FindProductive() const {
  const size_t count = to_.states_.size();
  std::vector<std::vector<StateId>> users(count);  // whom to look at again
  for (StateId id = 0; id < count; ++id) {
    for (const ByteEdge& edge : to_.edges(id)) users[edge.to].push_back(id);
    for (const Grammar::Call& call : to_.calls(id)) {
      users[call.start].push_back(id);
      if (call.resume != Grammar::kNoState) users[call.resume].push_back(id);
    }
    if (const Grammar::Loop* loop = to_.loop(id)) users[loop->body].push_back(id);
  }
  std::vector<bool> productive(count);
  std::vector<StateId> found;
  const auto leads = [&](StateId id) {
    if (const Grammar::Loop* loop = to_.loop(id)) return static_cast<bool>(productive[loop->body]);
    const auto edges = to_.edges(id);
    const auto calls = to_.calls(id);
    return std::ranges::any_of(edges, [&](const ByteEdge& edge) { return productive[edge.to]; }) ||
           std::ranges::any_of(calls, [&](const Grammar::Call& call) {
             return productive[call.start] && (call.resume == Grammar::kNoState || productive[call.resume]);
           });
  };
  for (StateId id = 0; id < count; ++id) {
    if (!to_.is_final(id)) continue;
    productive[id] = true;
    found.push_back(id);
  }
  while (!found.empty()) {
    const StateId id = found.back();
    found.pop_back();
    for (const StateId user : users[id]) {
      if (productive[user] || !leads(user)) continue;
      productive[user] = true;
      found.push_back(user);
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
  PREFIXD_RETURN_IF_ERROR(CheckStarts());
  return std::move(to_);
}

Result<Grammar> Grammar::Compile(const Expressions& from, RuleId root, const GrammarLimits& limits) {
  return GrammarBuilder(from, limits).Build(root);
}

size_t Grammar::bytes() const {
  return states_.size() * sizeof(State) + edges_.size() * sizeof(ByteEdge) + calls_.size() * sizeof(Call) +
         loops_.size() * sizeof(Loop);
}

}  // namespace prefixd::grammar
