// PrefixCache::CheckInvariants finds planted damage. Every other test of the cache relies on it.
#include <gtest/gtest.h>

#include "cache/prefix_cache_impl.h"
#include "tests/cache/token_memory.h"

namespace prefixd {

struct PrefixCacheTestPeer {
  static auto& Inside(PrefixCache& cache) { return *cache.impl_; }
};

namespace {

// Blocks of two tokens: 0 and 1 leased, 2 computed and cached after 0, one private, a copy of 2 running.
class Damage {
 public:
  template <typename Plant>
  explicit Damage(Plant plant) {
    const std::vector<TokenId> long_prompt{1, 2, 3, 4, 5};
    const std::vector<TokenId> other_prompt{1, 2, 6, 7, 8};
    lease_ = Computed(long_prompt);
    Computed(other_prompt).Release();
    copying_ = cache_.Open(BlockKey{});
    EXPECT_EQ(cache_.Acquire(copying_, std::vector<TokenId>{1, 2, 6, 9, 9}, 4).state,
              PrefixCache::AcquireState::kCopying);
    claiming_ = cache_.Open(BlockKey{});
    EXPECT_EQ(cache_.Acquire(claiming_, std::vector<TokenId>{1, 2, 8, 8, 8}, 4).state,
              PrefixCache::AcquireState::kReady);
    plant(PrefixCacheTestPeer::Inside(cache_), lease_);
    cache_.CheckInvariants();
  }

 private:
  Lease Computed(const std::vector<TokenId>& tokens) {
    Lease lease = cache_.Open(BlockKey{});
    while (cache_.Acquire(lease, tokens, 4).state != PrefixCache::AcquireState::kReady) {
      memory_.FinishAll();
      cache_.Poll();
    }
    EXPECT_TRUE(cache_.Reserve(lease, 5));
    cache_.Commit(lease, tokens);
    return lease;
  }

  TokenMemory memory_{2, 8};
  PrefixCache cache_{{.block_tokens = 2, .blocks = 8}, &memory_};
  Lease lease_;
  Lease copying_;
  Lease claiming_;
};

TEST(PrefixCacheCheckDeathTest, FindsPlantedDamage) {
  Damage([](auto&, Lease&) {});
  EXPECT_DEATH(Damage([](auto& c, Lease& l) { c.pool.AddReference(l.blocks()[1]); }), "references");
  EXPECT_DEATH(Damage([](auto& c, Lease&) { c.pool.Allocate(); }), "references");
  EXPECT_DEATH(Damage([](auto& c, Lease& l) { c.pool.DropReference(l.blocks()[1], 0); }), "candidate");
  EXPECT_DEATH(Damage([](auto& c, Lease& l) { c.eviction->Add(l.blocks()[1], 0); }), "candidate");
  EXPECT_DEATH(Damage([](auto& c, Lease& l) { c.pool.Publish(l.blocks()[2]); }), "candidate|in_tree");
  EXPECT_DEATH(Damage([](auto& c, Lease&) { (*c.leases.begin())->ready += 2; }),
               "blocks in the tree|lease.ready");
  EXPECT_DEATH(Damage([](auto& c, Lease&) {
                 for (auto* lease : c.leases) lease->tip.low ^= 1;
               }),
               "lease.tip == ");
  EXPECT_DEATH(Damage([](auto& c, Lease&) {
                 for (auto* lease : c.leases) lease->at.block = kNoBlock;
               }),
               "the lease is after block");
  EXPECT_DEATH(Damage([](auto& c, Lease&) {
                 for (auto* lease : c.leases) {
                   if (lease->settled && lease->in_tree > 0) {
                     c.claims.TryClaim(lease->tip, &lease->claimant);
                   }
                 }
               }),
               "a claim on block . of the tree");
  EXPECT_DEATH(Damage([](auto& c, Lease&) {
                 for (auto* lease : c.leases) {
                   if (!lease->copy_tag) c.copies.begin()->second.lease = lease;
                 }
               }),
               "the copy of a lease is missing");
  EXPECT_DEATH(Damage([](auto& c, Lease&) { c.copies.clear(); }), "the copy of a lease is missing");
}

}  // namespace
}  // namespace prefixd
