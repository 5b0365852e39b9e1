// EvictionQueues: the order of the candidates, the memory of the heaps, and the damage that it finds.
#include "cache/eviction_queues.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace prefixd {

struct EvictionQueuesTestPeer {
  static void Forget(EvictionQueues* queues) { queues->places_[queues->First()->node] = queues->kNoPlace; }
  static auto& Heap(EvictionQueues* queues) {
    return *std::ranges::find_if(queues->heaps_, [](const auto& heap) { return heap.size() >= 2; });
  }
  static void Misplace(EvictionQueues* queues) { std::swap(Heap(queues)[0], Heap(queues)[1]); }
  static void Age(EvictionQueues* queues) { Heap(queues)[0].last_use += 100; }
  static void Waste(EvictionQueues* queues) { (void)queues->memory_.allocate(1, 1); }
  static size_t Bytes(const EvictionQueues& queues) { return queues.memory_.bytes(); }
  static void Miscount(EvictionQueues* queues) { ++queues->sizes_[1]; }
};

namespace {

TEST(EvictionQueues, OrderByLastUseThenDepthThenId) {
  EvictionQueues queues;
  EXPECT_EQ(queues.First(), nullptr);
  const auto add = [&](NodeId node, int queue, uint64_t last_use, uint32_t depth) {
    queues.Insert(node, queue);
    queues.AddCandidate(node, {.last_use = last_use, .depth = depth});
  };
  add(1, 0, 9, 0);
  add(6, 0, 5, 2);
  add(5, 0, 5, 2);
  add(4, 0, 5, 1);
  add(3, 1, 7, 0);
  add(2, 1, 4, 0);
  std::vector<NodeId> order;
  for (const int queue : {0, 1}) {
    while (const auto* first = queues.First(queue)) {
      order.push_back(first->node);
      queues.RemoveCandidate(first->node);
      queues.CheckInvariants();
    }
  }
  EXPECT_EQ(order, (std::vector<NodeId>{5, 6, 4, 1, 2, 3}));
  EXPECT_EQ(queues.size(0), 4u);
  queues.Move(1, 1);
  EXPECT_EQ(queues.size(1), 3u);
  EXPECT_EQ(queues.queue(1), 1);
}

// A copied candidate goes first when it has waited for a quarter of the time of the other.
TEST(EvictionQueues, CopiedCandidatesGoEarlier) {
  EvictionQueues queues;
  queues.SetCopyCost(0.25);
  const auto add = [&](NodeId node, int queue, uint64_t last_use, bool copied) {
    queues.Insert(node, queue);
    queues.AddCandidate(node, {.last_use = last_use, .copied = copied});
  };
  add(1, 0, 81, false);  // age 20
  add(2, 0, 97, true);   // 4
  add(3, 1, 90, false);  // 11
  add(4, 1, 95, true);   // 6
  add(5, 0, 100, true);  // 1
  EXPECT_EQ(queues.First(0)->node, 1u);
  EXPECT_EQ(queues.First(1)->node, 4u);
  EXPECT_EQ(queues.First()->node, 4u);
  queues.RemoveCandidate(1);
  EXPECT_EQ(queues.First(0)->node, 2u);
  EXPECT_EQ(queues.FirstOfQueueOrCopied(0)->node, 4u);
  queues.RemoveCandidate(4);
  EXPECT_EQ(queues.FirstOfQueueOrCopied(1)->node, 2u);
  queues.SetCopyCost(1);
  queues.CheckInvariants();
  EXPECT_EQ(queues.First()->node, 3u);
  EXPECT_EQ(queues.queue(2), 0);
}

// A candidate of a group worth a quarter goes first when it has waited for a quarter of the time of the
// other.
TEST(EvictionQueues, CandidatesOfLittleWorthGoEarlier) {
  EvictionQueues queues;
  queues.SetWorth(3, 0.25);
  queues.SetCopyCost(0.5);
  const auto add = [&](NodeId node, uint64_t last_use, bool copied, uint8_t group) {
    queues.Insert(node, 0);
    queues.AddCandidate(node, {.last_use = last_use, .copied = copied}, group);
  };
  add(1, 81, false, 0);   // 20
  add(2, 96, false, 3);   // 5, which counts as 20: it is the newer one
  add(3, 99, true, 3);    // 2, which counts as 16
  add(4, 100, false, 0);  // the newest: 1
  EXPECT_EQ(queues.First()->node, 1u);
  queues.SetWorth(3, 0.2);
  EXPECT_EQ(queues.First()->node, 2u);
  queues.SetWorth(3, 0.25);
  queues.SetCopyCost(0.25);
  EXPECT_EQ(queues.First()->node, 3u);
  queues.CheckInvariants();
}

// All candidates are in each heap once.
TEST(EvictionQueues, HeapsShareTheMemoryOfCandidatesThatMove) {
  constexpr NodeId kNodes = 10'000;
  EvictionQueues queues;
  for (NodeId node = 0; node < kNodes; ++node) queues.Insert(node, 0);
  for (uint8_t group = 0; group < EvictionQueues::kGroups; ++group) {
    for (const bool copied : {false, true}) {
      for (NodeId node = 0; node < kNodes; ++node) {
        if (queues.IsCandidate(node)) queues.RemoveCandidate(node);
        queues.AddCandidate(node, {.last_use = node, .copied = copied}, group);
        if (node % 1000 == 0) queues.CheckInvariants();
      }
    }
  }
  queues.CheckInvariants();
  EXPECT_LE(EvictionQueuesTestPeer::Bytes(queues),
            kNodes * sizeof(EvictionQueues::Candidate) + PieceMemory::kChunkBytes);
}

TEST(EvictionQueuesDeathTest, FindsPlantedDamage) {
  EvictionQueues queues;
  for (const NodeId node : {1u, 2u, 3u}) {
    queues.Insert(node, 0);
    queues.AddCandidate(node, {.last_use = node});
  }
  using Peer = EvictionQueuesTestPeer;
  EXPECT_DEATH((Peer::Forget(&queues), queues.CheckInvariants()), "2 candidates in 3 places");
  EXPECT_DEATH((Peer::Misplace(&queues), queues.CheckInvariants()), "lost its place");
  EXPECT_DEATH((Peer::Age(&queues), queues.CheckInvariants()), "out of order");
  EXPECT_DEATH((Peer::Waste(&queues), queues.CheckInvariants()), "the heaps have 2 pieces, not 1");
  EXPECT_DEATH((Peer::Miscount(&queues), queues.CheckInvariants()), "queue 1 has 0 nodes and counts 1");
}

}  // namespace
}  // namespace prefixd
