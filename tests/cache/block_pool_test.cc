#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/prng.h"
#include "tests/support/rounds.h"

namespace prefixd {

// Plants what CheckInvariants must find.
struct BlockPoolTestPeer {
  static void SetState(BlockPool* pool, BlockId block, BlockState state) { pool->states_[block] = state; }
  static void ListAgain(BlockPool* pool) { pool->free_.push_back(pool->free_.back()); }
  static void List(BlockPool* pool, BlockId block) { pool->free_.push_back(block); }
  static void LoseFree(BlockPool* pool) { pool->free_.pop_back(); }
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

// A block that was freed last is likely to be in a cache of the processor.
TEST(BlockPool, GivesTheBlockThatWasFreedLast) {
  BlockPool pool(3);
  const BlockId first = pool.Allocate().value();
  const BlockId second = pool.Allocate().value();
  pool.Discard(second);
  pool.Discard(first);
  EXPECT_EQ(pool.Allocate(), first);
  EXPECT_EQ(pool.Allocate(), second);
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
  // Invariant 1: the free list.
  EXPECT_DEATH(with([](BlockPool* p, const Blocks&) { Peer::ListAgain(p); }), "in the free list twice");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks&) { Peer::LoseFree(p); }), "listed");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::List(p, b.filling); }), "is in the free list");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::List(p, b.cached); }), "is in the free list");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks&) { Peer::List(p, 5); }), "block 5 of 5");
  EXPECT_DEATH(with([](BlockPool* p, const Blocks& b) { Peer::SetState(p, b.leased, BlockState::kFree); }),
               "listed");
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
