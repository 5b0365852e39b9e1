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
}

TokenMasks::Tried ConstraintState::MaskWithin(uint64_t most_work) const {
  return constraint_->MaskWithin(most_work, ended_ ? Matcher::Accepting() : state_);
}

}  // namespace prefixd::grammar
