#include "events/residency_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

constexpr BlockKey kShared{.low = 1}, kOther{.low = 2};

class ResidencyQueueTest : public testing::Test {
 protected:
  void Store(uint64_t number, const BlockKey& root = kShared) {
    const std::vector<TokenId> tokens = {static_cast<TokenId>(number)};
    queue_.OnStored({.key = {.low = number}, .parent = root, .root = root, .tokens = tokens}, Tier::kHost);
  }
  static std::vector<uint64_t> Numbers(const ResidencyQueue::Taken& taken) {
    std::vector<uint64_t> numbers;
    for (const ResidencyChange& change : taken.changes) numbers.push_back(change.key.low);
    return numbers;
  }
  int filled_ = 0;
  ResidencyQueue queue_{4, kShared, [this] { ++filled_; }};
};

TEST_F(ResidencyQueueTest, CarriesChangesInOrder) {
  Store(10);
  queue_.OnRemoved(kShared, {.low = 11}, Tier::kDevice);
  queue_.OnDropped({.low = 12});
  EXPECT_EQ(filled_, 1) << "only when it was empty";
  const ResidencyQueue::Taken taken = queue_.Take();
  EXPECT_FALSE(taken.lost);
  EXPECT_THAT(Numbers(taken), testing::ElementsAre(10, 11, 12));
  EXPECT_EQ(taken.changes[0].kind, ResidencyChange::Kind::kStored);
  EXPECT_EQ(taken.changes[0].tier, Tier::kHost);
  EXPECT_THAT(taken.changes[0].tokens, testing::ElementsAre(10));
  EXPECT_EQ(taken.changes[1].kind, ResidencyChange::Kind::kRemoved);
  EXPECT_EQ(taken.changes[2].tier, Tier::kDisk);
  EXPECT_TRUE(queue_.Take().changes.empty());
}

TEST_F(ResidencyQueueTest, LeavesOtherNamespacesOut) {
  Store(10, kOther);
  queue_.OnRemoved(kOther, {.low = 10}, Tier::kHost);
  EXPECT_TRUE(queue_.Take().changes.empty());
  EXPECT_EQ(filled_, 0);
}

TEST_F(ResidencyQueueTest, WhatIsLostIsToldOnceAndCounted) {
  for (uint64_t i = 0; i < 7; ++i) Store(i);
  EXPECT_EQ(queue_.lost(), 7u);
  EXPECT_EQ(filled_, 2) << "filled, then lost";
  ResidencyQueue::Taken taken = queue_.Take();
  EXPECT_TRUE(taken.lost);
  EXPECT_TRUE(taken.changes.empty());
  Store(8);
  taken = queue_.Take();
  EXPECT_FALSE(taken.lost);
  EXPECT_THAT(Numbers(taken), testing::ElementsAre(8));
}

TEST_F(ResidencyQueueTest, DropsThatWereNotToldAreALoss) {
  Store(1);
  queue_.OnLost();
  EXPECT_EQ(filled_, 2);
  const ResidencyQueue::Taken taken = queue_.Take();
  EXPECT_TRUE(taken.lost);
  EXPECT_TRUE(taken.changes.empty());
  EXPECT_EQ(queue_.lost(), 2u);
}

TEST_F(ResidencyQueueTest, AReportIsWantedUntilItIsCompleteAndWhileThereIsRoom) {
  EXPECT_EQ(queue_.WantedReport(), 0u);
  const uint64_t first = queue_.WantReport();
  EXPECT_EQ(queue_.WantedReport(), first);
  for (uint64_t i = 0; i < 3; ++i) Store(i);
  EXPECT_EQ(queue_.WantedReport(), 0u) << "more than half full";
  (void)queue_.Take();
  EXPECT_EQ(queue_.WantedReport(), first);
  const uint64_t second = queue_.WantReport();
  EXPECT_NE(second, first);
  queue_.OnReported(first);
  EXPECT_TRUE(queue_.Take().changes.empty()) << "nobody waits for it any more";
  queue_.OnReported(second);
  EXPECT_EQ(queue_.WantedReport(), 0u);
  const ResidencyQueue::Taken taken = queue_.Take();
  ASSERT_EQ(taken.changes.size(), 1u);
  EXPECT_EQ(taken.changes[0].kind, ResidencyChange::Kind::kReported);
  EXPECT_EQ(taken.changes[0].report, second);
}

}  // namespace
}  // namespace prefixd
