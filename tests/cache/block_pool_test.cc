#include "cache/block_pool.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"

namespace prefixd {

// Plants what CheckInvariants must find.
struct BlockPoolTestPeer {
  static void SetReferences(BlockPool* pool, BlockId block, uint32_t n) {
    pool->blocks_[block].references = n;
  }
  static void SetState(BlockPool* pool, BlockId block, BlockState state) {
    pool->blocks_[block].state = state;
  }
  static void ListAgain(BlockPool* pool) { pool->free_.push_back(pool->free_.back()); }
  static void LoseFree(BlockPool* pool) { pool->free_.pop_back(); }
  static void MiscountCached(BlockPool* pool) { ++pool->cached_; }
};

namespace {

TEST(BlockPool, GoesThroughTheStatesOfABlock) {
  BlockPool pool(1);
  const BlockId block = pool.Allocate().value();
  EXPECT_EQ(pool.state(block), BlockState::kFilling);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  pool.Publish(block);
  EXPECT_EQ(pool.references(block), 1u);
  pool.AddReference(block);
  EXPECT_FALSE(pool.DropReference(block, 7));
  EXPECT_EQ(pool.leased_blocks(), 1u);
  EXPECT_TRUE(pool.DropReference(block, 8));
  EXPECT_EQ(pool.last_used(block), 8u);
  EXPECT_EQ(pool.cached_blocks(), 1u);
  pool.Evict(block);
  EXPECT_EQ(pool.free_blocks(), 1u);
  pool.Discard(pool.Allocate().value());
  EXPECT_EQ(pool.free_blocks(), 1u);
  pool.CheckInvariants();
}

// The model: for every block a state and a count, and nothing else.
TEST(BlockPool, DoesWhatTheModelDoes) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    const auto capacity = static_cast<uint32_t>(random.Between(1, 9));
    BlockPool pool(capacity);
    std::vector<std::pair<BlockState, uint32_t>> model(capacity, {BlockState::kFree, 0});
    for (int event = 0; event < 300; ++event) {
      const auto block = static_cast<BlockId>(random.Below(capacity));
      auto& [state, references] = model[block];
      const uint64_t dice = random.Below(3);
      if (state == BlockState::kFilling) {
        if (dice == 0) {
          pool.Discard(block);
          model[block] = {BlockState::kFree, 0};
        } else {
          pool.Publish(block);
          state = BlockState::kDevice;
        }
      } else if (state == BlockState::kDevice && references == 0 && dice == 0) {
        pool.Evict(block);
        state = BlockState::kFree;
      } else if (state == BlockState::kDevice && references > 0 && dice < 2) {
        EXPECT_EQ(pool.DropReference(block, static_cast<uint64_t>(event)), --references == 0);
        EXPECT_EQ(pool.last_used(block), static_cast<uint64_t>(event));
      } else if (state == BlockState::kDevice) {
        pool.AddReference(block);
        ++references;
      } else if (const auto got = pool.Allocate()) {
        ASSERT_EQ(model[*got].first, BlockState::kFree);
        model[*got] = {BlockState::kFilling, 1};
      }
      pool.CheckInvariants();
      for (BlockId b = 0; b < capacity; ++b) {
        ASSERT_EQ(pool.state(b), model[b].first);
        ASSERT_EQ(pool.references(b), model[b].second);
      }
      const auto free = std::ranges::count(model, BlockState::kFree, [](const auto& m) { return m.first; });
      const auto leased = std::ranges::count_if(model, [](const auto& m) { return m.second > 0; });
      ASSERT_EQ(pool.free_blocks(), free);
      ASSERT_EQ(pool.leased_blocks(), leased);
      ASSERT_EQ(pool.cached_blocks(), capacity - free - leased);
    }
  }
}

TEST(BlockPoolDeathTest, RefusesEdgesThatDoNotExist) {
  BlockPool pool(2);
  const BlockId block = pool.Allocate().value();
  EXPECT_DEATH(pool.Evict(block), "state 1, not 2");
  EXPECT_DEATH(pool.AddReference(block), "state 1, not 2");
  pool.Publish(block);
  EXPECT_DEATH(pool.Evict(block), "leased 1 times");
  EXPECT_DEATH(pool.Discard(block), "state 2, not 1");
  pool.DropReference(block, 0);
  EXPECT_DEATH(pool.DropReference(block, 0), "references > 0");
  EXPECT_DEATH(pool.Publish(2), "block 2 of 2");
}

TEST(BlockPoolDeathTest, CheckInvariantsFindsPlantedDamage) {
  const auto with = [](auto damage) {
    BlockPool pool(3);
    const BlockId block = pool.Allocate().value();
    pool.Publish(block);
    pool.DropReference(block, 0);
    const BlockId filling = pool.Allocate().value();
    damage(&pool, block, filling);
    pool.CheckInvariants();
  };
  with([](BlockPool*, BlockId, BlockId) {});
  using Peer = BlockPoolTestPeer;
  EXPECT_DEATH(with([](BlockPool* p, BlockId, BlockId) { Peer::MiscountCached(p); }), "blocks are cached");
  EXPECT_DEATH(with([](BlockPool* p, BlockId, BlockId) { Peer::ListAgain(p); }), "twice");
  EXPECT_DEATH(with([](BlockPool* p, BlockId, BlockId) { Peer::LoseFree(p); }), "listed");
  EXPECT_DEATH(with([](BlockPool* p, BlockId b, BlockId) { Peer::SetReferences(p, b, 1); }),
               "blocks are cached");
  EXPECT_DEATH(with([](BlockPool* p, BlockId, BlockId f) { Peer::SetReferences(p, f, 2); }),
               "references == 1");
  EXPECT_DEATH(with([](BlockPool* p, BlockId b, BlockId) { Peer::SetState(p, b, BlockState::kFree); }),
               "listed");
}

}  // namespace
}  // namespace prefixd
