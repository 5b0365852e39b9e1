#include "kernels/host_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

namespace prefixd {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(HostArena, PartsAreZeroedAlignedAndApart) {
  HostArena arena;
  const size_t sizes[] = {1, 64, 65, 1000, kMiB, 3 * kMiB + 1, 20 * kMiB};
  std::vector<std::pair<HostMemory, size_t>> parts;
  for (int i = 0; i < 60; ++i) {  // more than a chunk
    const size_t bytes = sizes[static_cast<size_t>(i) % std::size(sizes)];
    parts.emplace_back(*arena.Allocate(bytes), bytes);
    std::byte* const data = parts.back().first.data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    EXPECT_TRUE(std::all_of(data, data + bytes, [](std::byte byte) { return byte == std::byte{0}; })) << i;
    std::memset(data, i + 1, bytes);
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::byte* const data = parts[i].first.data();
    EXPECT_TRUE(
        std::all_of(data, data + parts[i].second, [i](std::byte byte) { return byte == std::byte(i + 1); }))
        << "part " << i << " was written to";
  }
}

TEST(HostArena, PartsOutliveIt) {
  auto arena = std::make_unique<HostArena>();
  HostMemory first = *arena->Allocate(kMiB);
  HostMemory second = *arena->Allocate(kMiB);
  arena.reset();
  first = HostMemory();
  std::memset(second.data(), 1, kMiB);
  EXPECT_EQ(second.data()[kMiB - 1], std::byte{1});
}

TEST(HostArena, WhatIsNotThereIsAnError) {
  HostArena arena;
  EXPECT_EQ(arena.Allocate(SIZE_MAX).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(arena.Allocate(SIZE_MAX / 2).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(arena.Allocate(1).ok()) << "a failure changes nothing";
}

// --- Pools of KV ---

constexpr KvLayout kLayout = {3, 2, 4, 4, DType::kF16};
constexpr uint32_t kBlocks = 2 * kKvGroup + 5;

std::unique_ptr<KvPool> PoolOf(KvOrder order, uint32_t blocks = kBlocks) {
  return *AllocateHostKv(kLayout, blocks, order);
}

// A block of which every number tells the seed.
std::vector<std::byte> BlockOf(size_t seed) {
  std::vector<std::byte> block(kLayout.BlockBytes());
  for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(i * 7 + seed);
  return block;
}

TEST(HostKvPool, ItsOrderSaysWhereTheLayersOfABlockLie) {
  const auto blocks = PoolOf(KvOrder::kBlocks), groups = PoolOf(KvOrder::kGroups);
  const auto layer_bytes = static_cast<std::ptrdiff_t>(kLayout.LayerBytes());
  const auto at = [&](const auto& pool, BlockId id, int layer) {
    return (pool->layer(id, layer) - pool->layer(0, 0)) / layer_bytes;
  };
  EXPECT_EQ(kLayout.BlockBytes(), 3 * kLayout.LayerBytes());
  EXPECT_EQ(blocks->block(2), blocks->layer(2, 0));
  EXPECT_EQ(at(blocks, 2, 1), 2 * 3 + 1);
  EXPECT_EQ(at(groups, 2, 1), 16 + 2);
  EXPECT_EQ(at(groups, 15, 2), 2 * 16 + 15);
  EXPECT_EQ(at(groups, 16, 0), 3 * 16) << "the second group";
  EXPECT_EQ(at(groups, 32, 2), 6 * 16 + 2 * 5) << "the last one has five blocks";
  EXPECT_DEATH((void)groups->block(2), "the layers of block 2 lie apart");
  EXPECT_DEATH((void)groups->layer(37, 0), "block 37 of 37");
  EXPECT_DEATH((void)groups->layer(0, 3), "layer 3 of 3");
}

TEST(HostKvPool, HasEveryLayerOfEveryBlockOnce) {
  for (const uint32_t blocks : {1u, 15u, 16u, 17u, 37u}) {
    for (const KvOrder order : {KvOrder::kBlocks, KvOrder::kGroups}) {
      const auto pool = PoolOf(order, blocks);
      std::set<std::ptrdiff_t> places;
      for (BlockId id = 0; id < blocks; ++id)
        for (int layer = 0; layer < kLayout.layers; ++layer)
          places.insert(pool->layer(id, layer) - pool->layer(0, 0));
      ASSERT_EQ(places.size(), blocks * 3u);
      EXPECT_EQ(*places.begin(), 0);
      EXPECT_EQ(static_cast<size_t>(*places.rbegin()), blocks * kLayout.BlockBytes() - kLayout.LayerBytes());
    }
  }
}

// What a record has does not depend on the order of the pool.
TEST(HostKvCopier, MovesABlockBetweenPoolsOfBothOrders) {
  const auto copier = *CreateHostKvCopier(kLayout);
  const auto blocks = PoolOf(KvOrder::kBlocks), groups = PoolOf(KvOrder::kGroups);
  const std::shared_ptr<std::byte> staged = copier->Stage();
  const std::span<std::byte> buffer(staged.get(), kLayout.BlockBytes());
  for (KvPool* const pool : {groups.get(), blocks.get()}) {
    for (BlockId id = 0; id < kBlocks; ++id) {
      std::ranges::copy(BlockOf(id), buffer.begin());
      ASSERT_TRUE(copier->Write(buffer, *pool, id).ok());
    }
    CopyHostBlock(*pool, 33, 1);
    for (BlockId id = 0; id < kBlocks; ++id) {
      std::ranges::fill(buffer, std::byte{0});
      ASSERT_TRUE(copier->Read(*pool, id, buffer).ok());
      EXPECT_TRUE(std::ranges::equal(buffer, BlockOf(id == 1 ? 33 : id))) << id;
    }
  }
  for (int layer = 0; layer < kLayout.layers; ++layer)
    EXPECT_EQ(std::memcmp(groups->layer(1, layer), blocks->layer(1, layer), kLayout.LayerBytes()), 0)
        << layer;
  EXPECT_DEATH((void)copier->Read(*groups, 0, buffer.subspan(1)), "bytes of a block");
}

TEST(HostKvCopier, LendsSoManyBuffersAndWaitsForTheNext) {
  auto copier = *CreateHostKvCopier(kLayout);
  std::vector<std::shared_ptr<std::byte>> lent;
  for (size_t i = 0; i < KvCopier::kMostBuffers; ++i) {
    lent.push_back(copier->Stage());
    std::memset(lent.back().get(), static_cast<int>(i), kLayout.BlockBytes());
  }
  for (size_t i = 0; i < lent.size(); ++i) EXPECT_EQ(lent[i].get()[kLayout.BlockBytes() - 1], std::byte(i));
  std::byte* const third = lent[3].get();
  std::atomic<std::byte*> next = nullptr;
  std::thread waits([&] { next = copier->Stage().get(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(next, nullptr) << "all are lent";
  lent[3] = nullptr;
  waits.join();
  EXPECT_EQ(next, third);
  EXPECT_DEATH(copier = nullptr, "7 buffers are lent");
}

}  // namespace
}  // namespace prefixd
