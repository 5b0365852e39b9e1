// MatchState and Matcher: where a text stands in a Grammar. A state is a set of stacks, one for each way to
// read the text so far; usually there is one. The top of a stack is a state of the grammar that takes bytes,
// and below it are the states in which the calling rules go on.
//
// A MatchState is a small value: states that are equal take the same texts. A Matcher has working memory; one
// thread at a time uses it.
//
// Invariants
//   1. A state has at most kMostStacks stacks of at most kMostFrames frames, together kMostAllFrames, and a
//      byte looks at no more than kMostVisits states. What is beyond is dropped: so the memory and the time
//      of a byte are bounded, whatever the grammar is.
//   2. No stack of a state is covered by another one that takes at least as much. Of stacks that differ only
//      in how often loops have matched, all beyond their minima, the one that has counted least is left. So
//      the ways to divide a text among repetitions, as in (\w{1,10} ?){1,50}, do not multiply.
//   3. A text that the state takes matches the grammar, or is the beginning of one that does. Because of 1,
//      some texts of a grammar that nests deeply or is ambiguous are not taken, and a state that is not dead
//      may be one after which every byte is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "grammar/grammar.h"

namespace prefixd::grammar {

// A state of the grammar and, for a loop, how many times its body has matched.
struct Frame {
  StateId state = 0;
  uint32_t count = 0;
  friend bool operator==(const Frame&, const Frame&) = default;
  friend auto operator<=>(const Frame&, const Frame&) = default;
};

class MatchState {
 public:
  MatchState() = default;
  // One stack, from the bottom to the top.
  explicit MatchState(std::span<const Frame> stack) { Add(stack); }

  // Whether the text may end here.
  bool accepts() const { return accepts_; }
  // Whether no byte can follow.
  bool complete() const { return frames_.empty(); }
  // Whether the text does not match.
  bool dead() const { return complete() && !accepts_; }
  size_t stacks() const { return ends_.size(); }
  std::span<const Frame> stack(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::span(frames_).subspan(begin, ends_[i] - begin);
  }
  uint64_t Hash() const;
  size_t bytes() const { return frames_.size() * sizeof(Frame) + ends_.size() * sizeof(uint32_t); }
  friend bool operator==(const MatchState&, const MatchState&) = default;

 private:
  friend class Matcher;
  void Add(std::span<const Frame> stack) {
    frames_.insert(frames_.end(), stack.begin(), stack.end());
    ends_.push_back(static_cast<uint32_t>(frames_.size()));
  }
  void Clear() {
    frames_.clear();
    ends_.clear();
    accepts_ = false;
  }

  std::vector<Frame> frames_;   // of all stacks
  std::vector<uint32_t> ends_;  // of each stack in frames_
  bool accepts_ = false;
};

struct MatchStateHash {
  size_t operator()(const MatchState& state) const { return state.Hash(); }
};

class Matcher {
 public:
  static constexpr size_t kMostStacks = 64, kMostFrames = 256, kMostAllFrames = 4096, kMostVisits = 1024;
  // Before those that are covered are left out.
  static constexpr size_t kMostFoundStacks = 2 * kMostStacks;

  explicit Matcher(const Grammar* grammar) : grammar_(grammar) {}  // outlives it

  const Grammar& grammar() const { return *grammar_; }
  // The state of a text that ends here: no byte can follow.
  static MatchState Accepting();
  // Before the first byte.
  MatchState Start();
  // Sets *to to the state after a byte, which is dead when the byte does not match. *to is not `from`.
  void Advance(const MatchState& from, uint8_t byte, MatchState* to);
  // Returns the state after a stack whose top may call and end rules. Where a stack ends, the result accepts.
  MatchState Settled(std::span<const Frame> stack);
  // What matching has cost so far: states looked at, and frames copied, eight of which count as one.
  uint64_t work() const { return work_; }

 private:
  void Push(std::span<const Frame> stack, MatchState* to);
  void Settle(MatchState* to);
  void SettleEnd(MatchState* to);
  bool Covers(std::span<const Frame> a, std::span<const Frame> b);
  void Normalize(MatchState* state);

  const Grammar* const grammar_;
  std::vector<Frame> stack_;  // the one that is followed
  size_t visits_ = 0;         // of this byte
  uint64_t work_ = 0;
};

}  // namespace prefixd::grammar
