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

// Equal sets of stacks become equal values.
void MatchState::Normalize() {
  if (stacks() < 2) return;
  std::vector<std::vector<Frame>> sorted;
  for (size_t i = 0; i < stacks(); ++i) sorted.emplace_back(stack(i).begin(), stack(i).end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  frames_.clear();
  ends_.clear();
  for (const std::vector<Frame>& one : sorted) Add(one);
}

MatchState Matcher::Settled(std::span<const Frame> stack) {
  MatchState to;
  stack_.assign(stack.begin(), stack.end());
  visits_ = 0;
  Settle(&to);
  to.Normalize();
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
  to->Normalize();
}

// Twice: it is copied again when the stacks are sorted.
void Matcher::Push(std::span<const Frame> stack, MatchState* to) {
  if (to->stacks() >= kMostStacks || to->frames_.size() + stack.size() > kMostAllFrames) return;
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
