// TokenMasks: which tokens may come next, for the states of one grammar and one vocabulary.
//
// The mask of a state is the union over its stacks. For the top of a stack most tokens are decided without
// what is below it: their bytes match, or do not, before the rule of the top ends. Such a LocalMask is made
// once for each top. The few tokens that go beyond the end of the rule are tried on the whole stack. The
// masks of whole states are kept, too.
//
// Threads: any; calls take turns. A mask stays valid as long as its pointer.
//
// Invariants
//   1. A mask has exactly the tokens after whose bytes the state is not dead, and the end tokens exactly if
//      the state accepts.
//   2. What is kept takes at most `most_bytes`, beside the masks that others hold. A mask does not depend on
//      what is kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
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
  uint64_t local_masks = 0;  // made
  uint64_t nodes = 0;        // of the vocabulary's tree that local masks looked at
  uint64_t tried = 0;        // tokens that were tried on a whole stack
};

class TokenMasks {
 public:
  // Both outlive it.
  TokenMasks(const Grammar* grammar, const Vocabulary* vocabulary, size_t most_bytes = size_t{16} << 20);

  std::shared_ptr<const TokenMask> Of(const MatchState& state);
  // Makes local masks for the states of the grammar, until about `nodes` nodes have been looked at. Returns
  // false when that takes more than about `visits` visits of states (Matcher::visits): the grammar is too
  // ambiguous to be used beside others.
  bool Prepare(uint64_t nodes, uint64_t visits);
  MaskCounts counts() const;
  size_t kept_bytes() const;

 private:
  struct LocalMask {
    std::vector<TokenId> tokens;  // allowed; empty where `bits` has them
    TokenMask bits;
    std::vector<TokenId> open;  // decided by what is below; in the order of their bytes
    size_t bytes() const {
      return (tokens.capacity() + open.capacity()) * sizeof(TokenId) + bits.capacity() * sizeof(uint32_t);
    }
  };
  std::vector<Frame> LocalPart(std::span<const Frame> stack) const;
  const LocalMask& Local(const std::vector<Frame>& part) REQUIRES(mutex_);
  struct Place {
    LazyStates::Id id = LazyStates::kDead;
    bool open = false;  // the rule may have ended before
  };
  void Walk(const std::vector<Frame>& part, LocalMask* mask) REQUIRES(mutex_);
  void ForgetStates(std::span<Place> path) REQUIRES(mutex_);
  void TryOpen(std::span<const Frame> stack, const LocalMask& local, TokenMask* mask) REQUIRES(mutex_);
  void Keep(size_t bytes) REQUIRES(mutex_);

  struct PartHash {
    size_t operator()(const std::vector<Frame>& part) const;
  };
  const Grammar* const grammar_;
  const Vocabulary* const vocabulary_;
  const size_t most_bytes_;
  mutable Mutex mutex_;
  Matcher matcher_ GUARDED_BY(mutex_);
  LazyStates states_ GUARDED_BY(mutex_);
  std::unordered_map<std::vector<Frame>, LocalMask, PartHash> local_ GUARDED_BY(mutex_);
  std::unordered_map<MatchState, std::shared_ptr<const TokenMask>, MatchStateHash> whole_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<MatchState> path_ GUARDED_BY(mutex_);  // of TryOpen, by depth
  MaskCounts counts_ GUARDED_BY(mutex_);
};

}  // namespace prefixd::grammar
