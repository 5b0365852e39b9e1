#include "grammar/match.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd::grammar {
uint64_t MatchState::Hash() const {
  uint64_t hash = accepts_ ? 0x9E3779B97F4A7C15u : 0xC2B2AE3D27D4EB4Fu;
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  };
  for (const uint32_t end : ends_) mix(end);
  for (const Frame& frame : frames_) mix(static_cast<uint64_t>(frame.count) << 32 | frame.state);
  return hash;
}

// Whether every text that goes on from `b` goes on from `a`. The loops of both are in the middle of a body. A
// loop that has counted less may go on for longer, and when it reaches its minimum with this body, it may end
// wherever the other one does.
bool Matcher::Covers(std::span<const Frame> a, std::span<const Frame> b) {
  if (a.size() != b.size() || a.back().state != b.back().state) return false;
  work_ += a.size() / 8;
  return std::ranges::equal(a, b, [this](const Frame& less, const Frame& more) {
    if (less.state != more.state) return false;
    if (less.count == more.count) return true;
    const Grammar::Loop* loop = grammar_->loop(less.state);
    return loop != nullptr && less.count < more.count && less.count + 1 >= loop->min;
  });
}

// Equal sets of stacks become equal values. A stack that is covered comes after the one that covers it.
void Matcher::Normalize(MatchState* state) {
  if (state->stacks() < 2) return;
  std::vector<std::vector<Frame>> sorted;
  for (size_t i = 0; i < state->stacks(); ++i)
    sorted.emplace_back(state->stack(i).begin(), state->stack(i).end());
  std::sort(sorted.begin(), sorted.end());
  state->frames_.clear();
  state->ends_.clear();
  for (const std::vector<Frame>& one : sorted) {
    bool is_covered = state->stacks() >= kMostStacks;
    for (size_t i = 0; i < state->stacks() && !is_covered; ++i) is_covered = Covers(state->stack(i), one);
    work_ += state->stacks() / 8;
    if (!is_covered) state->Add(one);
  }
}

MatchState Matcher::Settled(std::span<const Frame> stack) {
  MatchState to;
  stack_.assign(stack.begin(), stack.end());
  visits_ = 0;
  Settle(&to);
  Normalize(&to);
  return to;
}

MatchState Matcher::Accepting() {
  MatchState state;
  state.accepts_ = true;
  return state;
}

MatchState Matcher::Start() {
  const Frame start{grammar_->start()};
  MatchState state = Settled({&start, 1});
  state.accepts_ = grammar_->matches_empty();
  return state;
}

void Matcher::Advance(const MatchState& from, uint8_t byte, MatchState* to) {
  PREFIXD_CHECK(&from != to);
  to->Clear();
  visits_ = 0;
  for (size_t i = 0; i < from.stacks(); ++i) {
    const std::span<const Frame> stack = from.stack(i);
    ++work_;
    const StateId next = grammar_->Next(stack.back().state, byte);
    if (next == Grammar::kNoState) continue;
    stack_.assign(stack.begin(), stack.end());
    work_ += stack.size() / 8;
    stack_.back() = {next};
    Settle(to);
  }
  Normalize(to);
}

// Twice: it is copied again when the stacks are sorted.
void Matcher::Push(std::span<const Frame> stack, MatchState* to) {
  if (to->stacks() >= kMostFoundStacks || to->frames_.size() + stack.size() > kMostAllFrames) return;
  to->Add(stack);
  work_ += 2 + stack.size() / 4;
}

// Follows the stack without a byte, until its top takes one. Leaves the stack as it was.
void Matcher::Settle(MatchState* to) {
  ++work_;
  if (++visits_ > kMostVisits || stack_.size() > kMostFrames) return;
  const Frame top = stack_.back();
  if (const Grammar::Loop* loop = grammar_->loop(top.state)) {
    if (top.count >= loop->min) SettleEnd(to);
    if (top.count == loop->max) return;
    stack_.push_back({loop->body});
    Settle(to);
    stack_.pop_back();
    return;
  }
  if (!grammar_->edges(top.state).empty()) Push(stack_, to);
  for (const Grammar::Call& call : grammar_->calls(top.state)) {
    stack_.back() = {call.resume};
    if (call.resume == Grammar::kNoState) stack_.pop_back();
    stack_.push_back({call.start});
    Settle(to);
    stack_.pop_back();
    if (call.resume != Grammar::kNoState) stack_.pop_back();
    stack_.push_back(top);
    if (visits_ > kMostVisits) return;
  }
  if (grammar_->is_final(top.state)) SettleEnd(to);
}

// The rule of the top ends.
void Matcher::SettleEnd(MatchState* to) {
  const Frame top = stack_.back();
  stack_.pop_back();
  if (stack_.empty()) {
    to->accepts_ = true;
  } else {
    const Frame below = stack_.back();
    if (grammar_->loop(below.state) != nullptr) ++stack_.back().count;
    Settle(to);
    stack_.back() = below;
  }
  stack_.push_back(top);
}

}  // namespace prefixd::grammar
