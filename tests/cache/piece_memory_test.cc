#include "cache/piece_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace prefixd {
namespace {

TEST(PieceMemory, APieceIsUsedAgain) {
  constexpr size_t kOfChunk = PieceMemory::kChunkBytes / 40;
  PieceMemory memory(40);
  std::vector<void*> pieces;
  std::set<void*> distinct;
  const auto take = [&](size_t count) {
    for (size_t i = 0; i < count; ++i) pieces.push_back(memory.allocate(40, 8));
  };
  const auto give = [&] {
    for (void* const piece : pieces) memory.deallocate(piece, 40, 8);
    pieces.clear();
  };
  take(kOfChunk + 1);
  EXPECT_EQ(memory.used(), kOfChunk + 1);
  EXPECT_EQ(memory.bytes(), 2 * PieceMemory::kChunkBytes);
  for (void* const piece : pieces) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(piece) % alignof(void*), 0u);
    *static_cast<uint64_t*>(piece) = 1;  // all of it is ours
    EXPECT_TRUE(distinct.insert(piece).second);
  }
  give();
  EXPECT_EQ(memory.used(), 0u);
  take(2 * kOfChunk);
  EXPECT_EQ(memory.bytes(), 2 * PieceMemory::kChunkBytes) << "what came back is enough";
  give();
  EXPECT_EQ(memory.bytes(), 2 * PieceMemory::kChunkBytes) << "nothing goes to the heap";
}

TEST(PieceMemory, WhatIsLargerComesFromTheHeap) {
  PieceMemory memory(24);
  void* const large = memory.allocate(32, 8);
  void* const aligned = memory.allocate(16, 64);
  void* const small = memory.allocate(16, 8);
  EXPECT_EQ(memory.used(), 1u);
  memory.deallocate(large, 32, 8);
  memory.deallocate(aligned, 16, 64);
  memory.deallocate(small, 16, 8);
  EXPECT_EQ(memory.used(), 0u);
}

TEST(PieceMemory, ServesTheNodesOfContainers) {
  PieceMemory memory(64);
  std::pmr::map<uint64_t, uint64_t> map(&memory);
  for (uint64_t round = 0; round < 3; ++round) {
    for (uint64_t i = 0; i < 1000; ++i) map[i] = i;
    EXPECT_EQ(memory.used(), 1000u);
    for (uint64_t i = 0; i < 1000; ++i) map.erase(i);
  }
  EXPECT_EQ(memory.used(), 0u);
}

TEST(PieceMemoryDeathTest, OutlivesItsPieces) {
  EXPECT_DEATH(
      {
        PieceMemory memory(8);
        (void)memory.allocate(8, 8);
      },
      "1 pieces are in use");
}

}  // namespace
}  // namespace prefixd
