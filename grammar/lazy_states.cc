#include "grammar/lazy_states.h"

namespace prefixd::grammar {

LazyStates::Id LazyStates::IdOf(const MatchState& state) {
  if (state.dead()) return kDead;
  const auto [at, is_new] = ids_.try_emplace(state, static_cast<Id>(entries_.size()));
  if (is_new) {
    Entry& entry = entries_.emplace_back();
    entry.state = &at->first;
    entry.next.fill(kUnknown);
  }
  return at->second;
}

LazyStates::Id LazyStates::Find(Id id, uint8_t byte) {
  matcher_->Advance(*entries_[static_cast<size_t>(id)].state, byte, &scratch_);
  const Id next = IdOf(scratch_);
  entries_[static_cast<size_t>(id)].next[byte] = next;
  return next;
}

void LazyStates::Clear() {
  entries_.clear();
  ids_.clear();
}

}  // namespace prefixd::grammar
