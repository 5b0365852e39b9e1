// The small components of the cache: eviction order, keys of evicted blocks, claims.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"
#include "cache/claims.h"
#include "cache/eviction.h"
#include "cache/ghost_index.h"

namespace prefixd {

struct LruEvictionTestPeer {
  static void Forget(LruEviction* lru) { lru->times_.at(*lru->Victim()).reset(); }
  static void Misplace(LruEviction* lru) { ++*lru->times_.at(*lru->Victim()); }
};
struct GhostIndexTestPeer {
  static void Overwrite(GhostIndex* ghosts) { ghosts->ring_[0] = BlockKey{99, 99}; }
  static void Age(GhostIndex* ghosts) { ghosts->adds_ += 100; }
};
struct ClaimsTestPeer {
  static void Steal(Claims* claims, const BlockKey& key, Claims::Claimant* by) {
    claims->claims_.at(key) = by;
  }
};

namespace {

BlockKey Key(uint64_t n) { return {.low = n, .high = ~n}; }

TEST(LruEviction, GivesTheOldestOfEqualsTheLowest) {
  LruEviction lru(4);
  EXPECT_EQ(lru.Victim(), std::nullopt);
  lru.Add(3, 5);
  lru.Add(2, 5);
  lru.Add(1, 9);
  EXPECT_EQ(lru.Victim(), 2u);
  lru.Remove(2);
  EXPECT_EQ(lru.Victim(), 3u);
  lru.Remove(3);
  EXPECT_EQ(lru.Victim(), 1u);
  EXPECT_FALSE(lru.Contains(3));
  lru.CheckInvariants();
}

TEST(LruEvictionDeathTest, FindsMisuseAndPlantedDamage) {
  LruEviction lru(3);
  lru.Add(1, 1);
  lru.Add(2, 2);
  EXPECT_DEATH(lru.Add(1, 3), "candidate already");
  EXPECT_DEATH(lru.Remove(0), "no candidate");
  EXPECT_DEATH((LruEvictionTestPeer::Forget(&lru), lru.CheckInvariants()), "1 candidates in 2 places");
  EXPECT_DEATH((LruEvictionTestPeer::Misplace(&lru), lru.CheckInvariants()), "lost its place");
}

// The model: all keys ever added, in order; those of the last `capacity` adds are remembered.
TEST(GhostIndex, RemembersTheLastOnes) {
  for (const uint32_t capacity : {0u, 1u, 2u, 7u}) {
    SCOPED_TRACE(capacity);
    Prng random(capacity);
    GhostIndex ghosts(capacity);
    std::vector<uint64_t> added;
    for (int event = 0; event < 500; ++event) {
      added.push_back(random.Below(12));
      ghosts.Add(Key(added.back()));
      ghosts.CheckInvariants();
      ASSERT_LE(ghosts.size(), capacity);
      const auto recent = added.end() - std::min<ptrdiff_t>(capacity, static_cast<ptrdiff_t>(added.size()));
      for (uint64_t n = 0; n < 12; ++n) {
        ASSERT_EQ(ghosts.Contains(Key(n)), std::find(recent, added.end(), n) != added.end());
      }
    }
  }
}

TEST(GhostIndexDeathTest, FindsPlantedDamage) {
  GhostIndex ghosts(2);
  ghosts.Add(Key(1));
  EXPECT_DEATH((GhostIndexTestPeer::Overwrite(&ghosts), ghosts.CheckInvariants()), "lost its place");
  EXPECT_DEATH((GhostIndexTestPeer::Age(&ghosts), ghosts.CheckInvariants()), "too old");
}

TEST(Claims, BelongToWhoAskedFirst) {
  Claims claims;
  Claims::Claimant first;
  Claims::Claimant second;
  EXPECT_TRUE(claims.TryClaim(Key(1), &first));
  EXPECT_FALSE(claims.TryClaim(Key(1), &second));
  EXPECT_TRUE(claims.TryClaim(Key(2), &second));
  EXPECT_EQ(claims.Find(Key(1)), &first);
  EXPECT_EQ(claims.Find(Key(3)), nullptr);
  claims.End(Key(1));
  EXPECT_TRUE(claims.TryClaim(Key(1), &second));
  claims.EndAll(&first);  // had lost it: the claim of the second stays
  EXPECT_EQ(claims.size(), 2u);
  claims.CheckInvariants();
  claims.EndAll(&second);
  EXPECT_EQ(claims.size(), 0u);
}

TEST(ClaimsDeathTest, FindsAClaimItsClaimantDoesNotKnow) {
  Claims claims;
  Claims::Claimant first;
  Claims::Claimant second;
  claims.TryClaim(Key(1), &first);
  EXPECT_DEATH((ClaimsTestPeer::Steal(&claims, Key(1), &second), claims.CheckInvariants()),
               "not in its claimant's list");
  claims.EndAll(&first);
}

TEST(ClaimsDeathTest, AClaimantEndsItsClaimsBeforeItIsDestroyed) {
  Claims claims;
  const auto forget = [&] {
    Claims::Claimant claimant;
    claims.TryClaim(Key(1), &claimant);
  };
  EXPECT_DEATH(forget(), "1 claims outlive their claimant");
}

}  // namespace
}  // namespace prefixd
