// LazyStates: the match states of a grammar as numbers, with the states after each byte remembered, so that a
// walk over many texts costs one look-up for a byte. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <unordered_map>

#include "grammar/match.h"

namespace prefixd::grammar {

class LazyStates {
 public:
  using Id = int32_t;
  static constexpr Id kDead = -1;

  // `matcher` outlives it.
  explicit LazyStates(Matcher* matcher) : matcher_(matcher) {}

  // kDead for a dead state. An id is valid until Clear.
  Id IdOf(const MatchState& state);
  Id Next(Id id, uint8_t byte) {
    const Id known = entries_[static_cast<size_t>(id)].next[byte];
    return known != kUnknown ? known : Find(id, byte);
  }
  bool Accepts(Id id) const { return entries_[static_cast<size_t>(id)].state->accepts(); }
  const MatchState& StateOf(Id id) const { return *entries_[static_cast<size_t>(id)].state; }
  // Bytes of these classes (Vocabulary::ClassOf) all lead to the state `to`. Known for states that are asked
  // for often.
  struct Step {
    uint8_t classes = 0;
    Id to = kDead;
  };
  Step StepOf(Id id) {
    Entry& entry = entries_[static_cast<size_t>(id)];
    if (entry.asked < kOften && ++entry.asked == kOften) entry.step = FindStep(id);
    return entry.step;
  }
  size_t bytes() const { return bytes_; }
  void Clear();

 private:
  static constexpr Id kUnknown = -2;
  struct Entry {
    const MatchState* state;
    std::array<Id, 256> next;
    uint32_t asked = 0;
    Step step;
  };
  static constexpr uint32_t kOften = 64;
  Id Find(Id id, uint8_t byte);
  Step FindStep(Id id);

  Matcher* const matcher_;
  std::unordered_map<MatchState, Id, MatchStateHash> ids_;
  std::deque<Entry> entries_;
  MatchState scratch_;
  size_t bytes_ = 0;
};

}  // namespace prefixd::grammar
