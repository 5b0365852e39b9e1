// Random sequences on a small cache of one tier. They acquire, wait, copy, reserve, compute in chunks,
// generate, and are released at any moment. Some steps fail. After every event the invariants hold and every
// lease has the KV of its own tokens. Where no keys collide, every result and every gauge equals that of
// CacheModel.
#include <gtest/gtest.h>

#include <memory>

#include "base/prng.h"
#include "tests/cache/cache_model.h"
#include "tests/cache/token_memory.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using State = PrefixCache::AcquireState;
using Tokens = std::vector<TokenId>;

// Counts of events over all seeds. A simulation in which an event never occurs does not test it.
struct Seen {
  uint64_t waits = 0, shared = 0, copies = 0, failed_copies = 0, evictions = 0, dedups = 0, refusals = 0,
           bypasses = 0, bypass_dedups = 0;
  uint64_t hits = 0, collisions = 0, explained_evicted = 0;
};

class Simulation {
 public:
  Simulation(uint64_t seed, const KeyFunction& key, bool with_model)
      : random_(seed),
        block_tokens_(1 << random_.Below(3)),
        blocks_(static_cast<uint32_t>(random_.Between(2, 20))),
        with_model_(with_model),
        key_(key),
        memory_(block_tokens_, blocks_),
        cache_({.block_tokens = block_tokens_, .blocks = blocks_, .eviction = "lru", .key = key}, &memory_),
        model_(block_tokens_, blocks_) {}

  void Run(int events, Seen* seen) {
    seen_ = seen;
    for (int i = 0; i < events && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(testing::Message() << "event " << i);
      Step();
      Check();
    }
    while (!running_.empty()) Release(0);
    Check();
    EXPECT_EQ(cache_.leased_blocks(), 0u);
    EXPECT_EQ(cache_.free_blocks() + cache_.cached_blocks(), cache_.capacity());
    const PrefixCacheStats& stats = cache_.stats();
    seen->copies += stats.partial_copies;
    seen->failed_copies += stats.failed_copies;
    seen->evictions += stats.evicted_blocks[0];
    seen->dedups += stats.deduplicated_blocks;
    seen->hits += stats.hit_tokens;
    seen->collisions += stats.key_collisions;
  }

 private:
  struct Running {
    Tokens tokens;
    int limit;
    std::unique_ptr<BlockKeys> keys;
    Lease lease;
    bool reads;
    CacheModel::Sequence model;
    bool ready = false;
  };

  void Step() {
    const uint64_t dice = random_.Below(100);
    if (running_.empty() || (dice < 12 && running_.size() < 6)) return Open();
    const size_t who = random_.Below(running_.size());
    if (dice < 20) return Release(who);
    if (dice < 25) return EndStep(random_.Chance(0.7));
    if (!running_[who].ready) return Acquire(running_[who]);
    Compute(running_[who]);
  }

  // Two token ids and reuse of earlier prompts make equal prefixes frequent.
  void Open() {
    Tokens tokens;
    if (!past_.empty() && random_.Chance(0.7)) {
      tokens = past_[random_.Below(past_.size())];
      tokens.resize(random_.Below(tokens.size() + 1));
    }
    const size_t extra = random_.Below(static_cast<uint64_t>(3 * block_tokens_)) + 1;
    for (size_t i = 0; i < extra; ++i) tokens.push_back(static_cast<TokenId>(random_.Below(2)));
    if (past_.size() < 12) {
      past_.push_back(tokens);
    } else {
      past_[random_.Below(past_.size())] = tokens;
    }
    const TokenId root = random_.Chance(0.2) ? 1 : 0;
    const bool reads = random_.Chance(0.8);
    const int size = static_cast<int>(tokens.size());
    running_.push_back({.tokens = std::move(tokens),
                        .limit = random_.Chance(0.8) ? size - 1 : static_cast<int>(random_.Below(size + 1)),
                        .keys = std::make_unique<BlockKeys>(BlockKey{.low = static_cast<uint64_t>(root)},
                                                            block_tokens_, key_),
                        .lease = {},
                        .reads = reads,
                        .model = {.id = next_id_++, .root = root, .reads = reads}});
    running_.back().lease =
        cache_.Open(running_.back().keys.get(), reads ? PrefixCache::Reads::kYes : PrefixCache::Reads::kNo);
    seen_->bypasses += reads ? 0 : 1;
  }

  void Acquire(Running& seq) {
    memory_.TakeLastSource();
    const PrefixCache::Acquired got = cache_.Acquire(seq.lease, seq.tokens, seq.limit);
    const std::optional<Tokens> source = memory_.TakeLastSource();
    if (with_model_) {
      const CacheModel::Acquired want = model_.Acquire(seq.model, seq.tokens, seq.limit, source);
      EXPECT_EQ(got.state, want.state);
      EXPECT_EQ(got.tier_tokens[0], want.device_tokens);
      EXPECT_EQ(got.shared_tokens, want.shared_tokens);
    }
    EXPECT_TRUE(seq.lease.ready() <= seq.limit);
    if (!seq.reads) {
      EXPECT_EQ(got.state, State::kReady);
      EXPECT_EQ(seq.lease.ready(), 0) << "a lease opened with kNo took a cached block";
    }
    seen_->waits += got.state == State::kWaiting ? 1 : 0;
    seen_->shared += static_cast<uint64_t>(got.shared_tokens);
    seq.ready = got.state == State::kReady;
    if (seq.ready) Explain(seq);
  }

  void Explain(const Running& seq) {
    std::vector<MissReason> got;
    for (const PrefixCache::MissRun& run : cache_.ExplainMisses(seq.lease, seq.tokens)) {
      EXPECT_GT(run.tokens, 0);
      got.insert(got.end(), static_cast<size_t>(run.tokens), run.reason);
    }
    EXPECT_EQ(got.size(), seq.tokens.size() - static_cast<size_t>(seq.lease.ready()));
    seen_->explained_evicted += static_cast<uint64_t>(std::ranges::count(got, MissReason::kEvictedDevice));
    if (with_model_) {
      EXPECT_EQ(got, model_.Explain(seq.model, seq.tokens));
    }
  }

  // One chunk of the prompt, or one generated token.
  void Compute(Running& seq) {
    if (seq.lease.ready() == static_cast<int>(seq.tokens.size())) {
      seq.tokens.push_back(static_cast<TokenId>(random_.Below(2)));
    }
    const int until =
        static_cast<int>(random_.Between(seq.lease.ready() + 1, static_cast<int64_t>(seq.tokens.size())));
    const std::vector<BlockId> before(seq.lease.blocks().begin(), seq.lease.blocks().end());
    const bool reserved = cache_.Reserve(seq.lease, until);
    if (with_model_) {
      EXPECT_EQ(reserved, model_.Reserve(seq.model, until));
    }
    if (!reserved) {
      ++seen_->refusals;
      EXPECT_TRUE(std::ranges::equal(before, seq.lease.blocks()));
      return;
    }
    if (random_.Chance(0.2)) return EndStep(false);
    EndStep(true);
    memory_.Compute(seq.lease, seq.tokens, until, seq.model.root);
    const Tokens done(seq.tokens.begin(), seq.tokens.begin() + until);
    const uint64_t dedups = cache_.stats().deduplicated_blocks;
    cache_.Commit(seq.lease, done);
    if (!seq.reads) seen_->bypass_dedups += cache_.stats().deduplicated_blocks - dedups;
    if (with_model_) model_.Commit(seq.model, done);
    EXPECT_EQ(seq.lease.ready(), until);
  }

  void Release(size_t who) {
    Running& seq = running_[who];
    if (with_model_) model_.Release(seq.model, seq.tokens);
    seq.lease.Release();
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(who));
  }

  void EndStep(bool ok) {
    cache_.EndStep(ok);
    if (!with_model_) return;
    for (Running& seq : running_) model_.EndStep(seq.model, ok);
  }

  void Check() {
    cache_.CheckInvariants();
    for (const Running& seq : running_) memory_.ExpectHolds(seq.lease, seq.tokens, seq.model.root);
    EXPECT_EQ(cache_.free_blocks() + cache_.cached_blocks() + cache_.leased_blocks(), blocks_);
    if (!with_model_) return;
    EXPECT_EQ(cache_.free_blocks(), model_.free_blocks());
    EXPECT_EQ(cache_.cached_blocks(), model_.cached_blocks());
    EXPECT_EQ(cache_.stats().committed_blocks, model_.committed);
    EXPECT_EQ(cache_.stats().deduplicated_blocks, model_.deduplicated);
    EXPECT_EQ(cache_.stats().evicted_blocks[0], model_.evicted);
    for (const Running& seq : running_) {
      EXPECT_EQ(seq.lease.ready(), seq.model.ready);
      EXPECT_EQ(seq.lease.blocks().size(), static_cast<size_t>(seq.model.table));
    }
  }

  Prng random_;
  const int block_tokens_;
  const uint32_t blocks_;
  const bool with_model_;
  const KeyFunction key_;
  TokenMemory memory_;
  PrefixCache cache_;
  CacheModel model_;
  std::vector<Running> running_;
  std::vector<Tokens> past_;
  int next_id_ = 0;
  Seen* seen_ = nullptr;
};

Seen RunSeeds(int seeds, int events, const KeyFunction& key, bool with_model) {
  Seen seen;
  for (int seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Simulation(static_cast<uint64_t>(seed), key, with_model).Run(events, &seen);
  }
  EXPECT_GT(seen.waits, 0u);
  EXPECT_GT(seen.shared, 0u);
  EXPECT_GT(seen.copies, seen.failed_copies);
  EXPECT_GT(seen.failed_copies, 0u);
  EXPECT_GT(seen.evictions, 0u);
  EXPECT_GT(seen.dedups, 0u);
  EXPECT_GT(seen.refusals, 0u);
  EXPECT_GT(seen.hits, 0u);
  EXPECT_GT(seen.explained_evicted, 0u);
  EXPECT_GT(seen.bypasses, 0u);
  EXPECT_GT(seen.bypass_dedups, 0u);
  return seen;
}

TEST(PrefixCacheSimulation, DoesWhatTheModelDoes) {
  const Seen seen = RunSeeds(testing_support::Rounds(150), 500, ChildKey, true);
  EXPECT_EQ(seen.collisions, 0u);
}

// Keys take only a few values, so blocks with different tokens, parents or namespaces often have equal keys.
TEST(PrefixCacheSimulation, CollidingKeysNeverGiveWrongKv) {
  for (const uint64_t values : {1, 3, 17}) {
    SCOPED_TRACE(testing::Message() << values << " values");
    const auto few = [values](const BlockKey& parent, std::span<const TokenId> tokens) {
      return BlockKey{.low = ChildKey(parent, tokens).low % values};
    };
    EXPECT_GT(RunSeeds(testing_support::Rounds(240), 500, few, false).collisions, 0u);
  }
}

}  // namespace
}  // namespace prefixd
