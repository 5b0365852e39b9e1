#include "grammar/token_masks.h"

#include <algorithm>
#include <utility>

namespace prefixd::grammar {
namespace {

constexpr size_t kMostLazyStates = 1024;  // 1 KiB each

void Allow(TokenId id, TokenMask* mask) {
  (*mask)[static_cast<size_t>(id) / 32] |= 1u << (static_cast<size_t>(id) % 32);
}

}  // namespace

size_t TokenMasks::PartHash::operator()(const std::vector<Frame>& part) const {
  return MatchState(part).Hash();
}

TokenMasks::TokenMasks(const Grammar* grammar, const Vocabulary* vocabulary, size_t most_bytes)
    : grammar_(grammar),
      vocabulary_(vocabulary),
      most_bytes_(most_bytes),
      matcher_(grammar),
      states_(&matcher_) {}

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

// All but those of the path.
void TokenMasks::ForgetStates(std::span<Place> path) {
  std::vector<MatchState> kept;
  for (const Place& place : path) kept.push_back(states_.StateOf(place.id));
  states_.Clear();
  for (size_t i = 0; i < path.size(); ++i) path[i].id = states_.IdOf(kept[i]);
}

void TokenMasks::Walk(const std::vector<Frame>& part, LocalMask* mask) {
  std::vector<Place> path(vocabulary_->longest() + 1);
  path[0].id = states_.IdOf(MatchState(part));
  const auto nodes = vocabulary_->nodes();
  for (size_t n = 1; n < nodes.size();) {
    ++counts_.nodes;
    const Vocabulary::Node& node = nodes[n];
    if (states_.size() > kMostLazyStates) ForgetStates(std::span(path).first(node.depth));
    const Place& above = path[node.depth - 1u];
    const bool open = above.open || states_.Accepts(above.id);
    const LazyStates::Id id = states_.Next(above.id, node.byte);
    if (id == LazyStates::kDead) {
      const auto below = vocabulary_->tokens(n, node.end);
      if (open) mask->open.insert(mask->open.end(), below.begin(), below.end());
      n = node.end;
      continue;
    }
    path[node.depth] = {id, open};
    const auto here = vocabulary_->tokens(n, n + 1);
    mask->tokens.insert(mask->tokens.end(), here.begin(), here.end());
    ++n;
  }
}

const TokenMasks::LocalMask& TokenMasks::Local(const std::vector<Frame>& part) {
  if (const auto at = local_.find(part); at != local_.end()) return at->second;
  LocalMask mask;
  Walk(part, &mask);
  ++counts_.local_masks;
  if (mask.tokens.size() > vocabulary_->mask_words()) {
    mask.bits.assign(vocabulary_->mask_words(), 0);
    for (const TokenId id : mask.tokens) Allow(id, &mask.bits);
    mask.tokens.clear();
  }
  mask.tokens.shrink_to_fit();
  mask.open.shrink_to_fit();
  Keep(mask.bytes() + part.size() * sizeof(Frame) + sizeof(mask));
  return local_.emplace(part, std::move(mask)).first->second;
}

// Makes room for a mask by forgetting all others.
void TokenMasks::Keep(size_t bytes) {
  if (bytes_ + bytes > most_bytes_) {
    local_.clear();
    whole_.clear();
    bytes_ = 0;
  }
  bytes_ += bytes;
}

// Tokens that begin with the same bytes as the one before go on from there.
void TokenMasks::TryOpen(std::span<const Frame> stack, const LocalMask& local, TokenMask* mask) {
  path_.resize(vocabulary_->longest() + 1);
  path_[0] = MatchState(stack);
  std::string_view before;
  size_t alive = 0;  // bytes of `before` that match
  for (const TokenId id : local.open) {
    const std::string_view text = vocabulary_->text(id);
    const auto differ = std::mismatch(text.begin(), text.end(), before.begin(), before.end());
    const auto common = static_cast<size_t>(differ.first - text.begin());
    before = text;
    if (common > alive) continue;
    ++counts_.tried;
    alive = common;
    while (alive < text.size()) {
      matcher_.Advance(path_[alive], static_cast<uint8_t>(text[alive]), &path_[alive + 1]);
      if (path_[alive + 1].dead()) break;
      ++alive;
    }
    if (alive == text.size()) Allow(id, mask);
  }
}

std::shared_ptr<const TokenMask> TokenMasks::Of(const MatchState& state) {
  MutexLock lock(mutex_);
  ++counts_.masks;
  if (const auto at = whole_.find(state); at != whole_.end()) return at->second;
  ++counts_.computed;
  auto mask = std::make_shared<TokenMask>(vocabulary_->mask_words(), 0);
  for (size_t i = 0; i < state.stacks(); ++i) {
    const std::span<const Frame> stack = state.stack(i);
    const std::vector<Frame> part = LocalPart(stack);
    const LocalMask& local = Local(part);
    for (size_t word = 0; word < local.bits.size(); ++word) (*mask)[word] |= local.bits[word];
    for (const TokenId id : local.tokens) Allow(id, mask.get());
    if (part.size() < stack.size()) TryOpen(stack, local, mask.get());
  }
  if (state.accepts())
    for (const TokenId id : vocabulary_->end()) Allow(id, mask.get());
  Keep(mask->size() * sizeof(uint32_t) + state.bytes() + sizeof(state));
  whole_.emplace(state, mask);
  return mask;
}

bool TokenMasks::Prepare(uint64_t nodes, uint64_t visits) {
  MutexLock lock(mutex_);
  const uint64_t until = counts_.nodes + nodes, most_visits = matcher_.visits() + visits;
  for (StateId state = 0; state < grammar_->states() && counts_.nodes < until; ++state) {
    if (bytes_ > most_bytes_ / 2) break;
    if (matcher_.visits() > most_visits) return false;
    if (const Grammar::Loop* loop = grammar_->loop(state)) {
      const Frame at{state, loop->min < loop->max ? loop->min : 0};
      const MatchState inside = matcher_.Settled({&at, 1});
      for (size_t i = 0; i < inside.stacks(); ++i) Local(LocalPart(inside.stack(i)));
    } else if (!grammar_->edges(state).empty()) {
      Local({Frame{state}});
    }
  }
  return matcher_.visits() <= most_visits;
}

MaskCounts TokenMasks::counts() const {
  MutexLock lock(mutex_);
  return counts_;
}

size_t TokenMasks::kept_bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace prefixd::grammar
