#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <vector>

#include "base/prng.h"
#include "tests/support/rounds.h"

namespace prefixd {

// Plants what CheckInvariants must find.
struct BlockPoolTestPeer {
  static void SetState(BlockPool* pool, BlockId block, BlockState state) { pool->states_[block] = state; }
  static void List(BlockPool* pool, BlockId block) { pool->free_.Add(block); }
  static void LoseFree(BlockPool* pool) { (void)pool->free_.Take({}); }
  static void MiscountFree(FreeBlocks* free) { ++free->size_; }
  static void ClearSome(FreeBlocks* free) { free->some_[0] &= ~uint64_t{1}; }
  static void SetWhole(FreeBlocks* free) { free->whole_[0] |= 2; }
  static void MiscountCached(BlockPool* pool) { ++pool->cached_; }
};

namespace {

TEST(BlockPool, GoesThroughTheStatesOfABlock) {
  BlockPool pool(1);
  EXPECT_EQ(pool.state(0), BlockState::kFree);
  const BlockId block = pool.Allocate().value();
  EXPECT_EQ(pool.state(block), BlockState::kFilling);
  EXPECT_EQ(pool.leased_blocks(), 1u);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  pool.Publish(block);
  EXPECT_EQ(pool.state(block), BlockState::kLeased);
  EXPECT_EQ(pool.leased_blocks(), 1u);
  pool.SetLeased(block, false);
  EXPECT_EQ(pool.state(block), BlockState::kCached);
  EXPECT_EQ(pool.cached_blocks(), 1u);
  EXPECT_EQ(pool.Allocate(), std::nullopt);  // a cached block has to be evicted first
  pool.SetLeased(block, true);
  EXPECT_EQ(pool.state(block), BlockState::kLeased);
  EXPECT_EQ(pool.cached_blocks(), 0u);
  pool.SetLeased(block, false);
  pool.Evict(block);
  EXPECT_EQ(pool.free_blocks(), 1u);
  pool.Discard(pool.Allocate().value());
  EXPECT_EQ(pool.state(block), BlockState::kFree);
  EXPECT_EQ(pool.free_blocks(), 1u);
  pool.CheckInvariants();
}

TEST(BlockPool, GivesEveryBlockOnceAndThenNone) {
  for (const uint32_t capacity : {0u, 1u, 5u}) {
    SCOPED_TRACE(capacity);
    BlockPool pool(capacity);
    EXPECT_EQ(pool.capacity(), capacity);
    std::set<BlockId> blocks;
    for (uint32_t i = 0; i < capacity; ++i) blocks.insert(pool.Allocate().value());
    EXPECT_EQ(blocks.size(), capacity);
    EXPECT_EQ(pool.Allocate(), std::nullopt);
    EXPECT_EQ(pool.free_blocks(), 0u);
    pool.CheckInvariants();
  }
}

// --- Which free block is taken ---

constexpr BlockId kGroup = FreeBlocks::kGroup;

std::vector<BlockId> TakeRun(FreeBlocks* free, size_t blocks) {
  std::vector<BlockId> taken = {free->Take({.place = 0}).value()};
  while (taken.size() < blocks) taken.push_back(free->Take({.previous = taken.back(), .place = 0}).value());
  return taken;
}

std::vector<BlockId> Ids(BlockId first, size_t count) {
  std::vector<BlockId> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TEST(FreeBlocks, ASequenceGrowsInAGroupOfItsOwnWhileThereIsOne) {
  FreeBlocks free(5 * kGroup + 3);
  const auto first = TakeRun(&free, 3), second = TakeRun(&free, 2);
  EXPECT_EQ(first, Ids(0, 3));
  EXPECT_EQ(second, Ids(kGroup, 2));
  EXPECT_EQ(free.Take({.previous = 2, .place = 0}), 3u) << "beside the other one, it goes on";
  EXPECT_EQ(TakeRun(&free, 3 * kGroup), Ids(2 * kGroup, 3 * kGroup)) << "from group to group";
  EXPECT_EQ(TakeRun(&free, 2), Ids(4, 2)) << "no group is free as a whole: the first block that is";
  EXPECT_EQ(free.Take({}), 6u);
  free.CheckInvariants();
}

// As the host tier does, whose blocks lie apart in any case.
TEST(FreeBlocks, WithoutAWishTheFirstOneIsTaken) {
  FreeBlocks free(3 * kGroup);
  for (BlockId block = 0; block < kGroup + 2; ++block) EXPECT_EQ(free.Take({}), block);
  free.Add(4);
  EXPECT_EQ(free.Take({}), 4u);
}

TEST(FreeBlocks, WhatIsTakenFromItsEndLiesInOrderAndLeavesRoomBehindIt) {
  FreeBlocks free(4 * kGroup);
  EXPECT_EQ(free.Take({.place = 0}), 0u);
  std::vector<BlockId> taken(kGroup + 5);  // blocks 0, 1, ... of a sequence
  for (size_t i = taken.size(); i-- > 0;) {
    const BlockId next = i + 1 < taken.size() ? taken[i + 1] : kNoBlock;
    taken[i] = free.Take({.next = next, .place = static_cast<int>(i % kGroup)}).value();
  }
  EXPECT_EQ(std::vector(taken.begin() + kGroup, taken.end()), Ids(kGroup, 5));
  EXPECT_EQ(std::vector(taken.begin(), taken.begin() + kGroup), Ids(2 * kGroup, kGroup));
  EXPECT_EQ(free.Take({.previous = taken.back(), .next = 5, .place = 0}), taken.back() + 1)
      << "the block before counts first";
  EXPECT_EQ(free.Take({.next = 5, .place = 0}), 4u);
  EXPECT_EQ(free.Take({.previous = 0, .next = kGroup, .place = 3}), 1u);
  EXPECT_EQ(free.Take({.next = kGroup, .place = 3}), 3 * kGroup + 3) << "another group gains nothing";
}

// Against the rule in its simplest form.
TEST(FreeBlocks, TakesWhatTheRuleSaysUntilNoneIsFree) {
  for (const uint32_t capacity : {1u, kGroup - 1, kGroup, kGroup + 1, 64 * kGroup, 300 * kGroup + 7}) {
    SCOPED_TRACE(capacity);
    Prng random(capacity);
    FreeBlocks free(capacity);
    std::set<BlockId> left;
    for (BlockId block = 0; block < capacity; ++block) left.insert(block);
    const auto rule = [&](const BlockWish& wish) {
      const BlockId after = wish.previous + 1, before = wish.next - 1;
      if (wish.previous != kNoBlock && after % kGroup != 0 && left.contains(after)) return after;
      if (wish.next != kNoBlock && wish.next % kGroup != 0 && left.contains(before)) return before;
      for (BlockId first = 0; wish.place >= 0 && first + kGroup <= capacity; first += kGroup) {
        const auto begin = left.lower_bound(first), end = left.lower_bound(first + kGroup);
        if (std::distance(begin, end) == kGroup) return first + static_cast<BlockId>(wish.place);
      }
      return *left.begin();
    };
    const int events = static_cast<int>(std::min(2 * capacity, 3000u));
    for (int i = 0; i < events; ++i) {
      const auto any = [&] { return static_cast<BlockId>(random.Below(capacity)); };
      if (const BlockId given = any(); random.Chance(0.3) && left.insert(given).second) free.Add(given);
      BlockWish wish;
      if (random.Chance(0.5)) wish.previous = any();
      if (random.Chance(0.5)) wish.next = any();
      if (random.Chance(0.7)) wish.place = static_cast<int>(random.Below(kGroup));
      const std::optional<BlockId> taken = free.Take(wish);
      ASSERT_EQ(taken, left.empty() ? std::nullopt : std::optional(rule(wish)));
      if (taken) left.erase(*taken);
      ASSERT_EQ(free.size(), left.size());
      if (i % 64 == 0) free.CheckInvariants();
    }
    for (BlockId block = 0; block < capacity; ++block) ASSERT_EQ(free.Contains(block), left.contains(block));
  }
}

TEST(FreeBlocksDeathTest, CheckInvariantsFindsPlantedDamage) {
  const auto with = [](auto damage) {
    FreeBlocks free(128);
    for (const BlockId block : {64u, 80u, 96u, 112u}) EXPECT_EQ(free.Take({.previous = block}), block + 1);
    damage(&free);
    free.CheckInvariants();
  };
  using Peer = BlockPoolTestPeer;
  with([](FreeBlocks*) {});
  EXPECT_DEATH(with([](FreeBlocks* free) { free->Add(0); }), "block 0 of 128");
  EXPECT_DEATH(with([](FreeBlocks* free) { free->Add(128); }), "block 128 of 128");
  EXPECT_DEATH(with([](FreeBlocks* free) { Peer::ClearSome(free); }), "some of word 0");
  EXPECT_DEATH(with([](FreeBlocks* free) { Peer::SetWhole(free); }), "groups of word 1");
  EXPECT_DEATH(with([](FreeBlocks* free) { Peer::MiscountFree(free); }), "124 blocks are free, not 125");
}

// The model: a state for every block, and nothing else.
class ModelledPool {
 public:
  explicit ModelledPool(uint64_t seed)
      : random_(seed),
        model_(static_cast<size_t>(random_.Between(1, 9)), BlockState::kFree),
        pool_(static_cast<uint32_t>(model_.size())) {}

  void Step() {
    const auto block = static_cast<BlockId>(random_.Below(model_.size()));
    const bool heads = random_.Chance(0.5);
    BlockState& state = model_[block];
    switch (state) {
      case BlockState::kFree:
        return Allocate();
      case BlockState::kFilling:
        heads ? pool_.Discard(block) : pool_.Publish(block);
        state = heads ? BlockState::kFree : BlockState::kLeased;
        return;
      case BlockState::kLeased:
        pool_.SetLeased(block, false);
        state = BlockState::kCached;
        return;
      case BlockState::kCached:
        heads ? pool_.Evict(block) : pool_.SetLeased(block, true);
        state = heads ? BlockState::kFree : BlockState::kLeased;
    }
  }

  void Check() const {
    pool_.CheckInvariants();
    for (BlockId block = 0; block < model_.size(); ++block) ASSERT_EQ(pool_.state(block), model_[block]);
    ASSERT_EQ(pool_.capacity(), model_.size());
    ASSERT_EQ(pool_.free_blocks(), Count(BlockState::kFree));
    ASSERT_EQ(pool_.cached_blocks(), Count(BlockState::kCached));
    ASSERT_EQ(pool_.leased_blocks(), Count(BlockState::kFilling) + Count(BlockState::kLeased));
  }

 private:
  size_t Count(BlockState state) const { return static_cast<size_t>(std::ranges::count(model_, state)); }
  void Allocate() {
    const BlockId block = pool_.Allocate().value();  // the step has found a free block
    ASSERT_EQ(model_.at(block), BlockState::kFree);
    model_[block] = BlockState::kFilling;
  }

  Prng random_;
  std::vector<BlockState> model_;
  BlockPool pool_;
};

TEST(BlockPool, DoesWhatTheModelDoes) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(50));
  for (uint64_t seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    ModelledPool pool(seed);
    for (int event = 0; event < 300 && !testing::Test::HasFailure(); ++event) {
      pool.Step();
      pool.Check();
    }
  }
}

// Every transition from every state from which it does not start.
TEST(BlockPoolDeathTest, RefusesEdgesThatDoNotExist) {
  BlockPool pool(4);
  const BlockId cached = pool.Allocate().value();
  const BlockId leased = pool.Allocate().value();
  const BlockId filling = pool.Allocate().value();
  const BlockId free = 3;
  pool.Publish(cached);
  pool.SetLeased(cached, false);
  pool.Publish(leased);
  ASSERT_EQ(pool.state(free), BlockState::kFree);
  for (const BlockId block : {free, leased, cached}) {
    EXPECT_DEATH(pool.Discard(block), "is in state [023], not 1");
    EXPECT_DEATH(pool.Publish(block), "is in state [023], not 1");
  }
  for (const BlockId block : {free, filling, leased}) {
    EXPECT_DEATH(pool.SetLeased(block, true), "is in state [012], not 3");
    EXPECT_DEATH(pool.Evict(block), "is in state [012], not 3");
  }
  for (const BlockId block : {free, filling, cached}) {
    EXPECT_DEATH(pool.SetLeased(block, false), "is in state [013], not 2");
  }
  EXPECT_DEATH(pool.Publish(4), "block 4 of 4");
  EXPECT_DEATH(pool.state(kNoBlock), "of 4");
}

TEST(BlockPoolDeathTest, CheckInvariantsFindsPlantedDamage) {
  struct Blocks {
    BlockId cached, leased, filling;
  };
  const auto with = [](auto damage) {
    BlockPool pool(5);
    Blocks blocks{pool.Allocate().value(), pool.Allocate().value(), pool.Allocate().value()};
    pool.Publish(blocks.cached);
    pool.SetLeased(blocks.cached, false);
    pool.Publish(blocks.leased);
    damage(&pool, blocks);
    pool.CheckInvariants();
  };
  using Peer = BlockPoolTestPeer;
  with([](BlockPool*, const Blocks&) {});
  // Invariant 1: the free blocks.
  EXPECT_DEATH(with([](BlockPool* p, const Blocks&) { Peer::LoseFree(p); }),
               "block 3 is not among the free blocks");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::List(p, b.filling); }),
               "block 2 is among the free blocks");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::List(p, b.cached); }),
               "block 0 is among the free blocks");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::SetState(p, b.leased, BlockState::kFree); }),
               "block 1 is not among the free blocks");
  // Invariant 2: the counts.
  EXPECT_DEATH(with([](BlockPool* p, const Blocks&) { Peer::MiscountCached(p); }),
               "1 blocks are cached, not 2");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::SetState(p, b.cached, BlockState::kLeased); }),
               "0 blocks are cached, not 1");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::SetState(p, b.leased, BlockState::kCached); }),
               "2 blocks are cached, not 1");
}

}  // namespace
}  // namespace prefixd
