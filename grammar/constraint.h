// Constraint: a grammar for the tokens of a model, and ConstraintState: where the answer of one sequence
// stands in it. What the other rooms use of this one.
//
// Threads: a Constraint is immutable but for the masks that it keeps; any thread. A ConstraintState has one
// owner.
//
// Invariants
//   1. The mask of a state has the tokens after which some answer still matches, and no others; the end
//      tokens exactly where the answer matches as it is. Of a text about which there is no choice it has the
//      tokens of forced_run.h alone. It is a function of the grammar and of the tokens so far.
//   2. Where the bounds of a match are met (match.h), such as by arrays that are nested deeply, it lacks
//      tokens, and may lack all. The answer so far is then the beginning of one that matches.
//   3. A state has no mask where that takes too much work (token_masks.h). It is a function of the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "grammar/forced_run.h"
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/token_masks.h"
#include "grammar/vocabulary.h"

namespace prefixd::grammar {

class Constraint {
 public:
  Constraint(Grammar grammar, std::shared_ptr<const Vocabulary> vocabulary, size_t most_mask_bytes);

  const Grammar& grammar() const { return grammar_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  // Makes the masks that are dear, so that the sequences find them. Returns false when the grammar is too
  // ambiguous to be used. Called once, before MaskOf.
  bool Prepare() const { return masks_.Prepare(); }
  std::shared_ptr<const TokenMask> MaskOf(const MatchState& state) const { return masks_.Of(state); }
  TokenMasks::Tried MaskWithin(uint64_t most_work, const MatchState& state) const {
    return masks_.Within(most_work, state);
  }
  MaskCounts counts() const { return masks_.counts(); }
  // What it takes at most.
  size_t most_bytes() const { return grammar_.bytes() + most_mask_bytes_; }

 private:
  const Grammar grammar_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
  const size_t most_mask_bytes_;
  mutable TokenMasks masks_;
};

class ConstraintState {
 public:
  explicit ConstraintState(std::shared_ptr<const Constraint> constraint);

  // Goes on by a token of the answer. A token whose text does not match makes the state dead.
  void Append(TokenId token);
  // The tokens that may come next. Null where the grammar is too ambiguous (invariant 3).
  std::shared_ptr<const TokenMask> Mask() const { return *MaskWithin(TokenMasks::kNoBudget).mask; }
  // The same, unless it takes more work than that now.
  TokenMasks::Tried MaskWithin(uint64_t most_work) const;
  // Whether an end token was appended.
  bool ended() const { return ended_; }
  // Whether the answer matches as it is.
  bool accepts() const { return state_.accepts(); }
  // Whether only the end can follow.
  bool complete() const { return state_.complete(); }
  const MatchState& state() const { return state_; }

 private:
  std::shared_ptr<const TokenMask> WithoutBeginnings(const TokenMask& all) const;

  std::shared_ptr<const Constraint> constraint_;
  MatchState state_;
  ForcedRun run_;
  size_t taken_ = 0;  // tokens of the run
  bool ended_ = false;
};

}  // namespace prefixd::grammar
