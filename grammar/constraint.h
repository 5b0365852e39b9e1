// Constraint: a grammar for the tokens of a model, and ConstraintState: where the answer of one sequence
// stands in it. What the other rooms use of this one.
//
// Threads: a Constraint is immutable but for the masks that it keeps; any thread. A ConstraintState has one
// owner.
//
// Invariants
//   1. The mask of a state has the tokens after which some answer still matches, and no others; the end
//      tokens exactly where the answer matches as it is. Of a text about which there is no choice it has the
//      tokens of forced_run.h alone. It is a function of the grammar and of the tokens so far. Tokens that
//      were refused are not in it.
//   2. Where the bounds of a match are met (match.h), such as by arrays that are nested deeply, it lacks
//      tokens, and may lack all. The answer so far is then the beginning of one that matches.
//   3. Drawing on until no token is refused gives the tokens that a prompt with the same text has, so that
//      its KV is found in the cache: as if the mask had only such tokens, but only those are tried that are
//      drawn. Where there is no such way, or it was not found kMostRefused times, another token is taken.
//   4. A state has no mask where that takes too much work (token_masks.h). It is a function of the same.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "grammar/byte_account.h"
#include "grammar/forced_run.h"
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/token_masks.h"
#include "grammar/vocabulary.h"

namespace prefixd::grammar {

class Constraint {
 public:
  // What it keeps beside bytes() is taken from the account; null: it has no other bound than most_mask_bytes.
  Constraint(Grammar grammar, std::shared_ptr<const Vocabulary> vocabulary, size_t most_mask_bytes,
             std::shared_ptr<ByteAccount> account = nullptr);

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
  // What it takes as long as it is there: the grammar, and the masks that were made ahead.
  size_t bytes() const { return grammar_.bytes() + masks_.ahead_bytes(); }

 private:
  const Grammar grammar_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
  mutable TokenMasks masks_;
};

class ConstraintState {
 public:
  // `prompt` are the tokens before the answer; the last ones count (Vocabulary::kMostContext).
  explicit ConstraintState(std::shared_ptr<const Constraint> constraint,
                           std::span<const TokenId> prompt = {});

  // Whether a token that was drawn from the mask is refused (invariant 3). The mask lacks it from now on, up
  // to the next Append, unless it would have no token then: it has all again, and none is refused.
  bool Refuses(TokenId token);
  // Goes on by a token of the answer. A token whose text does not match makes the state dead.
  void Append(TokenId token);
  // The tokens that may come next. Null where the grammar is too ambiguous (invariant 3).
  std::shared_ptr<const TokenMask> Mask() { return *MaskWithin(TokenMasks::kNoBudget).mask; }
  // The same, unless it takes more work than that now, or another call has the masks of the constraint.
  TokenMasks::Tried MaskWithin(uint64_t most_work);
  static constexpr size_t kMostRefused = 32, kMostAlone = 3;
  static constexpr size_t kMostTried = 2048;      // tokens of a mask, after kMostAlone have been refused
  static constexpr uint64_t kWorkOfTrying = 256;  // each of them
  // Whether an end token was appended.
  bool ended() const { return ended_; }
  // Whether the answer matches as it is.
  bool accepts() const { return state_.accepts(); }
  // Whether only the end can follow.
  bool complete() const { return state_.complete(); }
  const MatchState& state() const { return state_; }

 private:
  TokenMasks::Tried FullMaskWithin(uint64_t most_work) const;
  std::shared_ptr<const TokenMask> WithoutBeginnings(const TokenMask& all) const;
  void Remember(TokenId token);
  bool EncodesBack(TokenId token) const;
  void RefuseOthers(const TokenMask& allowed);

  std::shared_ptr<const Constraint> constraint_;
  MatchState state_;
  ForcedRun run_;
  size_t taken_ = 0;              // tokens of the run
  std::vector<TokenId> before_;   // the last tokens of the prompt and the answer
  std::vector<TokenId> refused_;  // as the next one
  size_t refusals_ = 0;           // of them, drawn
  bool tries_others_ = false;     // the next mask also lacks all others that are refused
  bool ended_ = false;
};

}  // namespace prefixd::grammar
