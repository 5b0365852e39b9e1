#include "grammar/lazy_states.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "grammar/vocabulary.h"

namespace prefixd::grammar {

LazyStates::Id LazyStates::IdOf(const MatchState& state) {
  if (state.dead()) return kDead;
  const auto [at, is_new] = ids_.try_emplace(state, static_cast<Id>(entries_.size()));
  if (is_new) {
    Entry& entry = entries_.emplace_back();
    entry.state = &at->first;
    entry.next.fill(kUnknown);
    bytes_ += sizeof(entry) + sizeof(MatchState) + state.bytes();
  }
  return at->second;
}

LazyStates::Id LazyStates::Find(Id id, uint8_t byte) {
  matcher_->Advance(*entries_[static_cast<size_t>(id)].state, byte, &scratch_);
  const Id next = IdOf(scratch_);
  const Grammar::Alike alike = matcher_->grammar().AlikeTo(byte);
  std::array<Id, 256>& known = entries_[static_cast<size_t>(id)].next;
  std::fill(known.begin() + alike.first, known.begin() + alike.last + 1, next);
  return next;
}

LazyStates::Step LazyStates::FindStep(Id id) {
  Step step;
  std::array<std::optional<Id>, Vocabulary::kClasses> to;  // nothing yet, one state, or kDead: several
  for (unsigned byte = 0; byte < 256; ++byte) {
    const Id next = Next(id, static_cast<uint8_t>(byte));
    std::optional<Id>& known =
        to[static_cast<size_t>(std::countr_zero(Vocabulary::ClassOf(static_cast<uint8_t>(byte))))];
    known = !known || *known == next ? next : kDead;
  }
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i] == kDead || (step.classes != 0 && to[i] != step.to)) continue;
    step.to = *to[i];
    step.classes |= static_cast<uint8_t>(1u << i);
  }
  return step;
}

void LazyStates::Clear() {
  entries_.clear();
  ids_.clear();
  bytes_ = 0;
}

}  // namespace prefixd::grammar
