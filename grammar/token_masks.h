// TokenMasks: which tokens may come next, for the states of one grammar and one vocabulary.
//
// The mask of a state is the union over its stacks. For the top of a stack most tokens are decided without
// what is below it: their bytes match, or do not, before the rule of the top ends. Such a LocalMask is made
// once for each top, most of them ahead. The few tokens that go beyond the end of the rule are tried on the
// whole stack. Where there are many stacks whose local masks were not made ahead, one walk over the tree with
// all of them costs less than one for each. The masks of whole states are kept, too.
//
// Work is counted in what Matcher::work() counts; kNodesOfWork nodes of the vocabulary's tree count as one.
//
// Threads: any; calls take turns. A mask stays valid as long as its pointer.
//
// Invariants
//   1. A mask has exactly the tokens after whose bytes the state is not dead, and the end tokens exactly if
//      the state accepts.
//   2. What is kept takes at most `most_bytes`, beside the masks that others hold. What was made ahead takes
//      about half of that at most and is never forgotten. The rest is taken from the account: where that has
//      no room, less is kept.
//   3. A mask takes at most about kMostWork beside the local masks that were made ahead. A state whose mask
//      takes more has none: its grammar is too ambiguous to be used beside others. Whether it has one does
//      not depend on what is kept, and neither does the mask.
//   4. A call with a budget takes at most about that budget. What it takes depends on what is kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "grammar/byte_account.h"
#include "grammar/grammar.h"
#include "grammar/lazy_states.h"
#include "grammar/match.h"
#include "grammar/vocabulary.h"

namespace prefixd::grammar {

// Bit i % 32 of word i / 32 says whether token i is allowed.
using TokenMask = std::vector<uint32_t>;

struct MaskCounts {
  uint64_t masks = 0;        // asked for
  uint64_t computed = 0;     // of these, not kept from before
  uint64_t ahead = 0;        // local masks made by Prepare
  uint64_t local_masks = 0;  // made, with those
  uint64_t nodes = 0;        // of the vocabulary's tree that local masks looked at
  uint64_t tried = 0;        // tokens that were tried on a whole stack
};

class TokenMasks {
 public:
  static constexpr uint64_t kMostWork = 1 << 18, kNodesOfWork = 8;
  // What a thread that others wait for may take at once: about half a millisecond.
  static constexpr uint64_t kMostWorkNow = 1 << 13;
  // Stacks that are looked at one by one although their local masks were not made ahead.
  static constexpr size_t kMostApart = 4;
  // Of Prepare, which is to take some tens of milliseconds.
  static constexpr uint64_t kMostWorkAhead = 1 << 20;

  // Both outlive it.
  TokenMasks(const Grammar* grammar, const Vocabulary* vocabulary, size_t most_bytes = size_t{16} << 20,
             std::shared_ptr<ByteAccount> account = nullptr);

  // Null: the state has none (invariant 3).
  std::shared_ptr<const TokenMask> Of(const MatchState& state) { return *Within(kNoBudget, state).mask; }
  // Gives up, and has no mask, when the work is above `most`, or, with a budget, when it is another call's
  // turn.
  struct Tried {
    std::optional<std::shared_ptr<const TokenMask>> mask;
    uint64_t work = 0;  // that it took
  };
  static constexpr uint64_t kNoBudget = ~uint64_t{0};
  Tried Within(uint64_t most, const MatchState& state);
  // Makes local masks ahead: of the states of the grammar, then of loops close to their bounds, until about
  // kMostWorkAhead of work, or half of the bytes. The others are made when they are asked for. Returns false
  // when one of them takes more than kMostWork. Called once, before Of.
  bool Prepare();
  MaskCounts counts() const;
  size_t kept_bytes() const;
  size_t ahead_bytes() const;  // of these, not of the account

 private:
  struct LocalMask {
    std::vector<TokenId> tokens;  // allowed; empty where `bits` has them
    TokenMask bits;
    std::vector<TokenId> open;  // decided by what is below; in the order of their bytes
    uint64_t work = 0;          // that it took; above kMostWork: it is not complete, and not used
    size_t bytes() const {
      return (tokens.capacity() + open.capacity()) * sizeof(TokenId) + bits.capacity() * sizeof(uint32_t);
    }
  };
  std::vector<Frame> LocalPart(std::span<const Frame> stack) const;
  struct PartHash {
    size_t operator()(const std::vector<Frame>& part) const;
  };
  using LocalMasks = std::unordered_map<std::vector<Frame>, LocalMask, PartHash>;
  LocalMask MakeLocal(const std::vector<Frame>& part) REQUIRES(mutex_);
  const LocalMask* Local(const std::vector<Frame>& part, uint64_t* work) REQUIRES(mutex_);
  bool MakeAhead(const std::vector<Frame>& part, uint64_t* work) REQUIRES(mutex_);
  bool MakeLoopAhead(const Frame& at, uint64_t* work) REQUIRES(mutex_);
  // Whether this is enough of masks ahead.
  bool HasEnough(uint64_t work) const REQUIRES(mutex_) {
    return work > kMostWorkAhead || ahead_bytes_ > most_bytes_ / 2;
  }
  struct Place {
    LazyStates::Id id = LazyStates::kDead;
    bool open = false;  // the rule may have ended before
  };
  void Walk(const MatchState& from, LocalMask* mask) REQUIRES(mutex_);
  bool IsWalkedWhole(const MatchState& state) const REQUIRES(mutex_);
  void TryOpen(std::span<const Frame> stack, const LocalMask& local, uint64_t* work, TokenMask* mask)
      REQUIRES(mutex_);
  Tried Find(uint64_t most, const MatchState& state) REQUIRES(mutex_);
  std::shared_ptr<const TokenMask> Compose(const MatchState& state) REQUIRES(mutex_);
  bool Keep(size_t bytes) REQUIRES(mutex_);
  bool TryKeep(size_t bytes) REQUIRES(mutex_);
  // All work so far, and whether it is more than the call may take.
  uint64_t Spent() const REQUIRES(mutex_) { return matcher_.work() + looked_at_ / kNodesOfWork; }
  bool GivesUp() const REQUIRES(mutex_) { return Spent() > most_spent_; }

  const Grammar* const grammar_;
  const Vocabulary* const vocabulary_;
  const size_t most_bytes_;
  mutable Mutex mutex_;
  Matcher matcher_ GUARDED_BY(mutex_);
  LocalMasks ahead_ GUARDED_BY(mutex_), local_ GUARDED_BY(mutex_);
  std::unordered_map<MatchState, std::shared_ptr<const TokenMask>, MatchStateHash> whole_ GUARDED_BY(mutex_);
  LocalMask unkept_ GUARDED_BY(mutex_);  // the last one for which there was no room
  size_t ahead_bytes_ GUARDED_BY(mutex_) = 0;
  ByteShare share_ GUARDED_BY(mutex_);  // what is kept beside those made ahead
  MaskCounts counts_ GUARDED_BY(mutex_);
  uint64_t looked_at_ GUARDED_BY(mutex_) = 0;           // nodes of the tree, and tokens that were tried
  uint64_t most_spent_ GUARDED_BY(mutex_) = kNoBudget;  // after this call
};

}  // namespace prefixd::grammar
