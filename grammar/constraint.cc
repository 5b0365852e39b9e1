#include "grammar/constraint.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "grammar/code_points.h"

namespace prefixd::grammar {
namespace {

// A code point at the end of the context may have tokens of its own.
constexpr size_t kMostFollowing = 16, kMostWays = 8;  // bytes, and first ones of them
constexpr size_t kMostBefore = Vocabulary::kMostContext + 4;

void Forbid(TokenId id, TokenMask* mask) {
  (*mask)[static_cast<size_t>(id) / 32] &= ~(1u << (static_cast<size_t>(id) % 32));
}

bool IsAllowed(TokenId id, const TokenMask& mask) {
  return (mask[static_cast<size_t>(id) / 32] >> (static_cast<size_t>(id) % 32) & 1) != 0;
}

size_t CountOf(const TokenMask& mask) {
  size_t count = 0;
  for (const uint32_t word : mask) count += static_cast<size_t>(std::popcount(word));
  return count;
}

}  // namespace

Constraint::Constraint(Grammar grammar, std::shared_ptr<const Vocabulary> vocabulary, size_t most_mask_bytes,
                       std::shared_ptr<ByteAccount> account)
    : grammar_(std::move(grammar)),
      vocabulary_(std::move(vocabulary)),
      masks_(&grammar_, vocabulary_.get(), most_mask_bytes, std::move(account)) {}

ConstraintState::ConstraintState(std::shared_ptr<const Constraint> constraint,
                                 std::span<const TokenId> prompt)
    : constraint_(std::move(constraint)) {
  PREFIXD_CHECK(constraint_ != nullptr);
  const auto last = prompt.last(std::min(prompt.size(), kMostBefore));
  before_.assign(last.begin(), last.end());
  state_ = Matcher(&constraint_->grammar()).Start();
  run_ = FindForcedRun(constraint_->grammar(), constraint_->vocabulary(), state_, before_);
}

void ConstraintState::Remember(TokenId token) {
  refused_.clear();
  refusals_ = 0;
  tries_others_ = false;
  if (before_.size() >= kMostBefore) before_.erase(before_.begin());
  before_.push_back(token);
}

// A token after which the grammar leaves little choice is judged with what may follow it.
bool ConstraintState::EncodesBack(TokenId token) const {
  const Vocabulary& vocabulary = constraint_->vocabulary();
  const Grammar& grammar = constraint_->grammar();
  if (!vocabulary.EncodesBack(before_, token)) return false;
  Matcher matcher(&grammar);
  MatchState at = state_, next;
  for (const char c : vocabulary.text(token)) {
    matcher.Advance(at, static_cast<uint8_t>(c), &next);
    std::swap(at, next);
  }
  const std::string bytes = NextBytes(grammar, at, kMostWays);
  if (bytes.empty()) return true;
  return std::ranges::any_of(bytes, [&](char byte) {
    matcher.Advance(at, static_cast<uint8_t>(byte), &next);
    std::string follows = byte + TakeForcedText(grammar, kMostFollowing, &next);
    follows.resize(CompleteBytes(follows.substr(0, follows.find(Vocabulary::kMark))));
    return follows.empty() || vocabulary.EncodesBack(before_, token, follows);
  });
}

bool ConstraintState::Refuses(TokenId token) {
  if (ended_ || refusals_ >= kMostRefused || EncodesBack(token)) return false;
  refused_.push_back(token);
  tries_others_ = ++refusals_ == kMostAlone;
  return true;
}

// Where many tokens are refused, all that are allowed are tried at once, if these are not too many.
void ConstraintState::RefuseOthers(const TokenMask& allowed) {
  const auto end = constraint_->vocabulary().end();
  for (size_t id = 0; id < allowed.size() * 32; ++id) {
    const auto token = static_cast<TokenId>(id);
    if (!IsAllowed(token, allowed) || std::ranges::find(end, token) != end.end()) continue;
    if (!EncodesBack(token)) refused_.push_back(token);
  }
}

// After an end token nothing but end tokens follows.
void ConstraintState::Append(TokenId token) {
  Remember(token);
  const Vocabulary& vocabulary = constraint_->vocabulary();
  if (std::ranges::find(vocabulary.end(), token) != vocabulary.end().end()) {
    ended_ = true;
    return;
  }
  Matcher matcher(&constraint_->grammar());
  MatchState next;
  const std::string_view text = vocabulary.text(token);
  if (text.empty() || ended_) state_ = MatchState();
  for (const char c : text) {
    matcher.Advance(state_, static_cast<uint8_t>(c), &next);
    std::swap(state_, next);
  }
  if (taken_ < run_.tokens.size() && run_.tokens[taken_] == token && ++taken_ < run_.tokens.size()) return;
  run_ = FindForcedRun(constraint_->grammar(), vocabulary, state_, before_);
  taken_ = 0;
}

TokenMasks::Tried ConstraintState::MaskWithin(uint64_t most_work) {
  TokenMasks::Tried tried = FullMaskWithin(most_work);
  if (refused_.empty() || !tried.mask || *tried.mask == nullptr) return tried;
  const TokenMask& all = **tried.mask;
  if (const size_t allowed = CountOf(all); tries_others_ && allowed <= kMostTried) {
    tried.work += allowed * kWorkOfTrying;
    if (tried.work > most_work) return {.mask = std::nullopt, .work = 0};
    RefuseOthers(all);
  }
  tries_others_ = false;
  auto rest = std::make_shared<TokenMask>(all);
  for (const TokenId id : refused_) Forbid(id, rest.get());
  if (CountOf(*rest) == 0) {
    refused_.clear();
    refusals_ = kMostRefused;
  } else {
    tried.mask = std::move(rest);
  }
  return tried;
}

TokenMasks::Tried ConstraintState::FullMaskWithin(uint64_t most_work) const {
  if (!ended_ && taken_ < run_.tokens.size()) {
    const auto id = static_cast<size_t>(run_.tokens[taken_]);
    auto one = std::make_shared<TokenMask>(constraint_->vocabulary().mask_words(), 0);
    (*one)[id / 32] |= 1u << (id % 32);
    return {.mask = std::move(one)};
  }
  TokenMasks::Tried tried = constraint_->MaskWithin(most_work, ended_ ? Matcher::Accepting() : state_);
  if (!ended_ && !run_.rest.empty() && tried.mask && *tried.mask != nullptr)
    tried.mask = WithoutBeginnings(**tried.mask);
  return tried;
}

// Without the tokens that are beginnings of the rest.
std::shared_ptr<const TokenMask> ConstraintState::WithoutBeginnings(const TokenMask& all) const {
  const Vocabulary& vocabulary = constraint_->vocabulary();
  auto mask = std::make_shared<TokenMask>(all);
  const auto nodes = vocabulary.nodes();
  size_t n = 1, depth = 0;  // the node of the rest's first `depth` + 1 bytes is among n and its siblings
  while (depth + 1 < run_.rest.size() && n < nodes.size() && nodes[n].depth == depth + 1) {
    if (nodes[n].byte != static_cast<uint8_t>(run_.rest[depth])) {
      n = nodes[n].end;
      continue;
    }
    for (const TokenId id : vocabulary.tokens(n, n + 1)) Forbid(id, mask.get());
    ++depth;
    ++n;
  }
  return mask;
}

}  // namespace prefixd::grammar
