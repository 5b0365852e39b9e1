#include "grammar/constraint.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd::grammar {

Constraint::Constraint(Grammar grammar, std::shared_ptr<const Vocabulary> vocabulary, size_t most_mask_bytes)
    : grammar_(std::move(grammar)),
      vocabulary_(std::move(vocabulary)),
      most_mask_bytes_(most_mask_bytes),
      masks_(&grammar_, vocabulary_.get(), most_mask_bytes) {}

ConstraintState::ConstraintState(std::shared_ptr<const Constraint> constraint)
    : constraint_(std::move(constraint)) {
  PREFIXD_CHECK(constraint_ != nullptr);
  state_ = Matcher(&constraint_->grammar()).Start();
  run_ = FindForcedRun(constraint_->grammar(), constraint_->vocabulary(), state_);
}

// After an end token nothing but end tokens follows.
void ConstraintState::Append(TokenId token) {
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
  run_ = FindForcedRun(constraint_->grammar(), vocabulary, state_);
  taken_ = 0;
}

TokenMasks::Tried ConstraintState::MaskWithin(uint64_t most_work) const {
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
    for (const TokenId id : vocabulary.tokens(n, n + 1))
      (*mask)[static_cast<size_t>(id) / 32] &= ~(1u << (static_cast<size_t>(id) % 32));
    ++depth;
    ++n;
  }
  return mask;
}

}  // namespace prefixd::grammar
