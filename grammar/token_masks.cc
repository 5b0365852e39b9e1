#include "grammar/token_masks.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace prefixd::grammar {
namespace {

constexpr size_t kMostLazyBytes = 2 << 20;
constexpr size_t kEntryBytes = 128;  // of a hash table, and what the heap adds to its parts

void Allow(TokenId id, TokenMask* mask) {
  (*mask)[static_cast<size_t>(id) / 32] |= 1u << (static_cast<size_t>(id) % 32);
}

// All but those of the path.
template <typename Place>
void ForgetStates(std::span<Place> path, LazyStates* states) {
  std::vector<MatchState> kept;
  for (const Place& place : path) kept.push_back(states->StateOf(place.id));
  states->Clear();
  for (size_t i = 0; i < path.size(); ++i) path[i].id = states->IdOf(kept[i]);
}

// Whether every text of a node and the nodes below it is taken, which holds if all of their bytes lead from
// state to state alike.
bool TakesAll(const Vocabulary::Node& node, LazyStates::Id at, LazyStates* states) {
  for (unsigned bytes = 0; bytes <= node.height; ++bytes) {
    const LazyStates::Step step = states->StepOf(at);
    if ((node.classes & ~step.classes) != 0) return false;
    if (step.to == at) return true;
    at = step.to;
  }
  return true;
}

}  // namespace

size_t TokenMasks::PartHash::operator()(const std::vector<Frame>& part) const {
  return MatchState(part).Hash();
}

TokenMasks::TokenMasks(const Grammar* grammar, const Vocabulary* vocabulary, size_t most_bytes,
                       std::shared_ptr<ByteAccount> account)
    : grammar_(grammar),
      vocabulary_(vocabulary),
      most_bytes_(most_bytes),
      matcher_(grammar),
      share_(std::move(account)) {}

// The top of a stack and the loops right below it. A loop that is far from its bounds is the same as any
// other that is: no token has as many bytes.
std::vector<Frame> TokenMasks::LocalPart(std::span<const Frame> stack) const {
  size_t first = stack.size() - 1;
  while (first > 0 && grammar_->loop(stack[first - 1].state) != nullptr) --first;
  std::vector<Frame> part(stack.begin() + static_cast<ptrdiff_t>(first), stack.end());
  const auto far = static_cast<uint32_t>(vocabulary_->longest() + 1);
  for (Frame& frame : part) {
    const Grammar::Loop* loop = grammar_->loop(frame.state);
    if (loop == nullptr || loop->max - frame.count <= far) continue;
    if (frame.count >= loop->min) {
      frame.count = loop->min;
    } else if (loop->min - frame.count > far) {
      frame.count = 0;
    }
  }
  return part;
}

// The states that a walk remembers are its own, so that what it costs is a function of where it begins.
void TokenMasks::Walk(const MatchState& from, LocalMask* mask) {
  LazyStates states(&matcher_);
  std::vector<Place> path(vocabulary_->longest() + 1);
  path[0].id = states.IdOf(from);
  const uint64_t begun = matcher_.work();
  uint64_t looked_at = 0;
  const auto nodes = vocabulary_->nodes();
  const auto take = [&](std::vector<TokenId>* to, size_t node, size_t end) {
    const auto ids = vocabulary_->tokens(node, end);
    to->insert(to->end(), ids.begin(), ids.end());
  };
  for (size_t n = 1; n < nodes.size() && mask->work <= kMostWork && !GivesUp();) {
    ++looked_at;
    ++looked_at_;
    const Vocabulary::Node& node = nodes[n];
    if (states.bytes() > kMostLazyBytes) ForgetStates(std::span(path).first(node.depth), &states);
    const Place& above = path[node.depth - 1u];
    if (TakesAll(node, above.id, &states)) {
      take(&mask->tokens, n, node.end);
      n = node.end;
      continue;
    }
    const bool open = above.open || states.Accepts(above.id);
    const LazyStates::Id id = states.Next(above.id, node.byte);
    mask->work = matcher_.work() - begun + looked_at / kNodesOfWork;
    if (id == LazyStates::kDead) {
      if (open) take(&mask->open, n, node.end);
      n = node.end;
      continue;
    }
    path[node.depth] = {id, open};
    take(&mask->tokens, n, n + 1);
    ++n;
  }
  counts_.nodes += looked_at;
}

TokenMasks::LocalMask TokenMasks::MakeLocal(const std::vector<Frame>& part) {
  LocalMask mask;
  Walk(MatchState(part), &mask);
  ++counts_.local_masks;
  if (mask.work > kMostWork) return {.work = mask.work};
  if (mask.tokens.size() > vocabulary_->mask_words()) {
    mask.bits.assign(vocabulary_->mask_words(), 0);
    for (const TokenId id : mask.tokens) Allow(id, &mask.bits);
    mask.tokens = {};
  }
  mask.tokens.shrink_to_fit();
  mask.open.shrink_to_fit();
  return mask;
}

// Adds to *work what the mask takes, unless it was made ahead. Null when the call gives up. The result is
// valid until the next call.
const TokenMasks::LocalMask* TokenMasks::Local(const std::vector<Frame>& part, uint64_t* work) {
  if (const auto at = ahead_.find(part); at != ahead_.end()) return &at->second;
  const auto at = local_.find(part);
  if (at == local_.end()) {
    LocalMask mask = MakeLocal(part);
    if (GivesUp()) return nullptr;
    *work += mask.work;
    if (!Keep(mask.bytes() + part.size() * sizeof(Frame) + sizeof(mask) + kEntryBytes))
      return &(unkept_ = std::move(mask));
    return &local_.emplace(part, std::move(mask)).first->second;
  }
  *work += at->second.work;
  return &at->second;
}

// Makes room for a mask, if need be by forgetting all others that were not made ahead. False: there is none.
bool TokenMasks::Keep(size_t bytes) {
  if (TryKeep(bytes)) return true;
  local_.clear();
  whole_.clear();
  share_.Shrink(0);
  return TryKeep(bytes);
}

bool TokenMasks::TryKeep(size_t bytes) {
  return ahead_bytes_ + share_.bytes() + bytes <= most_bytes_ && share_.TryGrow(bytes);
}

// Tokens that begin with the same bytes as the one before go on from there.
void TokenMasks::TryOpen(std::span<const Frame> stack, const LocalMask& local, uint64_t* work,
                         TokenMask* mask) {
  LazyStates states(&matcher_);
  std::vector<Place> path(vocabulary_->longest() + 1);
  path[0].id = states.IdOf(MatchState(stack));
  const uint64_t begun = matcher_.work(), before_it = *work;
  uint64_t tried = 0;
  std::string_view before;
  size_t alive = 0;  // bytes of `before` that match
  for (const TokenId id : local.open) {
    const std::string_view text = vocabulary_->text(id);
    const auto differ = std::mismatch(text.begin(), text.end(), before.begin(), before.end());
    const auto common = static_cast<size_t>(differ.first - text.begin());
    before = text;
    if (common > alive) continue;
    ++tried;
    ++looked_at_;
    alive = common;
    if (states.bytes() > kMostLazyBytes) ForgetStates(std::span(path).first(alive + 1), &states);
    while (alive < text.size()) {
      path[alive + 1].id = states.Next(path[alive].id, static_cast<uint8_t>(text[alive]));
      if (path[alive + 1].id == LazyStates::kDead) break;
      ++alive;
    }
    if (alive == text.size()) Allow(id, mask);
    *work = before_it + matcher_.work() - begun + tried / kNodesOfWork;
    if (*work > kMostWork || GivesUp()) break;
  }
  counts_.tried += tried;
}

// A function of the state and of what was made ahead, which is what the grammar and the vocabulary say.
bool TokenMasks::IsWalkedWhole(const MatchState& state) const {
  size_t apart = 0;
  for (size_t i = 0; i < state.stacks() && apart <= kMostApart; ++i)
    apart += ahead_.contains(LocalPart(state.stack(i))) ? 0 : 1;
  return apart > kMostApart;
}

std::shared_ptr<const TokenMask> TokenMasks::Compose(const MatchState& state) {
  auto mask = std::make_shared<TokenMask>(vocabulary_->mask_words(), 0);
  uint64_t work = 0;
  const bool is_whole = IsWalkedWhole(state);
  if (is_whole) {
    LocalMask walked;
    Walk(state, &walked);
    if (walked.work > kMostWork) return nullptr;
    for (const TokenId id : walked.tokens) Allow(id, mask.get());
  }
  for (size_t i = 0; i < state.stacks() && !is_whole; ++i) {
    const std::span<const Frame> stack = state.stack(i);
    const std::vector<Frame> part = LocalPart(stack);
    const LocalMask* const local = Local(part, &work);
    if (local == nullptr || work > kMostWork) return nullptr;
    for (size_t word = 0; word < local->bits.size(); ++word) (*mask)[word] |= local->bits[word];
    for (const TokenId id : local->tokens) Allow(id, mask.get());
    if (part.size() < stack.size() && !local->open.empty()) TryOpen(stack, *local, &work, mask.get());
    if (work > kMostWork || GivesUp()) return nullptr;
  }
  if (state.accepts())
    for (const TokenId id : vocabulary_->end()) Allow(id, mask.get());
  return mask;
}

TokenMasks::Tried TokenMasks::Within(uint64_t most, const MatchState& state) {
  if (most == kNoBudget) {
    mutex_.Lock();
  } else if (!mutex_.TryLock()) {
    return {};
  }
  Tried tried = Find(most, state);
  mutex_.Unlock();
  return tried;
}

TokenMasks::Tried TokenMasks::Find(uint64_t most, const MatchState& state) {
  ++counts_.masks;
  if (const auto at = whole_.find(state); at != whole_.end()) return {at->second, 0};
  ++counts_.computed;
  const uint64_t before = Spent();
  most_spent_ = most > kNoBudget - before ? kNoBudget : before + most;
  std::shared_ptr<const TokenMask> mask = Compose(state);
  const bool gave_up = GivesUp();
  most_spent_ = kNoBudget;
  if (gave_up) return {std::nullopt, Spent() - before};
  const size_t bytes = mask == nullptr ? 0 : mask->size() * sizeof(uint32_t);
  if (Keep(bytes + state.bytes() + sizeof(state) + kEntryBytes)) whole_.emplace(state, mask);
  return {mask, Spent() - before};
}

bool TokenMasks::MakeAhead(const std::vector<Frame>& part, uint64_t* work) {
  if (ahead_.contains(part)) return true;
  LocalMask mask = MakeLocal(part);
  *work += mask.work;
  if (mask.work > kMostWork) return false;
  ahead_bytes_ += mask.bytes() + part.size() * sizeof(Frame) + sizeof(mask) + kEntryBytes;
  ahead_.emplace(part, std::move(mask));
  return true;
}

// The masks where a loop stands at this count.
bool TokenMasks::MakeLoopAhead(const Frame& at, uint64_t* work) {
  const MatchState inside = matcher_.Settled({&at, 1});
  for (size_t i = 0; i < inside.stacks(); ++i)
    if (!HasEnough(*work) && !MakeAhead(LocalPart(inside.stack(i)), work)) return false;
  return true;
}

bool TokenMasks::Prepare() {
  MutexLock lock(mutex_);
  uint64_t work = 0;
  for (StateId state = 0; state < grammar_->states() && !HasEnough(work); ++state) {
    const Grammar::Loop* loop = grammar_->loop(state);
    if (loop != nullptr && !MakeLoopAhead({state, loop->min < loop->max ? loop->min : 0}, &work))
      return false;
    if (!grammar_->edges(state).empty() && !MakeAhead({Frame{state}}, &work)) return false;
  }
  const auto close = static_cast<uint32_t>(vocabulary_->longest() + 1);
  for (StateId state = 0; state < grammar_->states() && !HasEnough(work); ++state) {
    const Grammar::Loop* loop = grammar_->loop(state);
    if (loop == nullptr) continue;
    // What is made already is found again at once.
    for (uint32_t count = loop->max - std::min(loop->max, close); count < loop->max; ++count)
      if (!MakeLoopAhead({state, count}, &work)) return false;
  }
  counts_.ahead = ahead_.size();
  return true;
}

MaskCounts TokenMasks::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

size_t TokenMasks::kept_bytes() const {
  MutexLock lock(mutex_);
  return ahead_bytes_ + share_.bytes();
}

size_t TokenMasks::ahead_bytes() const {
  MutexLock lock(mutex_);
  return ahead_bytes_;
}

}  // namespace prefixd::grammar
