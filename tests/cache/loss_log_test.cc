#include "cache/loss_log.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

BlockKey Key(uint64_t number) { return {.low = number, .high = number >> 20}; }

TEST(LossLog, TellsTheLastLossOfAKey) {
  LossLog log(100);
  EXPECT_FALSE(log.Find(Key(1)));
  log.Add(Key(1), MissReason::kEvictedDevice, 10);
  log.Add(Key(2), MissReason::kNeverSeen, 11);
  log.Add(Key(1), MissReason::kEvictedDisk, 20.25);
  ASSERT_TRUE(log.Find(Key(1)));
  EXPECT_EQ(log.Find(Key(1))->reason, MissReason::kEvictedDisk);
  EXPECT_EQ(log.Find(Key(1))->seconds, 20.25);
  EXPECT_EQ(log.Find(Key(2))->reason, MissReason::kNeverSeen) << "any reason can be told";
  log.Forget(Key(1));
  EXPECT_FALSE(log.Find(Key(1)));
  EXPECT_TRUE(log.Find(Key(2)));
  log.Clear();
  EXPECT_FALSE(log.Find(Key(2)));
}

TEST(LossLog, KeysWithEqualHalvesAreTold) {
  LossLog log(1);
  log.Add({.low = 1, .high = 2}, MissReason::kExpired, 0);
  EXPECT_FALSE(log.Find({.low = 1, .high = 3}));
  EXPECT_FALSE(log.Find({.low = 2, .high = 2}));
  EXPECT_FALSE(log.Find({.low = 2, .high = 1}));
}

// What is added again counts as new, and takes no second place.
TEST(LossLog, ForgetsWhatWasAddedTheLongestAgo) {
  LossLog log(1);  // a bucket of 8
  for (uint64_t i = 0; i < 8; ++i) log.Add(Key(i), MissReason::kEvictedDevice, 0);
  log.Add(Key(0), MissReason::kEvictedHost, 0);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_TRUE(log.Find(Key(i))) << i;
  log.Add(Key(8), MissReason::kEvictedDevice, 0);
  EXPECT_FALSE(log.Find(Key(1)));
  EXPECT_EQ(log.Find(Key(0))->reason, MissReason::kEvictedHost);
  log.Forget(Key(0));
  log.Add(Key(9), MissReason::kEvictedDevice, 0);
  for (uint64_t i = 2; i < 10; ++i) EXPECT_TRUE(log.Find(Key(i))) << "in the place of what was forgotten";
}

TEST(LossLog, RemembersNearlyAllOfItsCapacityInBoundedMemory) {
  constexpr uint64_t kCapacity = 10'000;
  LossLog log(kCapacity);
  for (uint64_t i = 0; i < 10 * kCapacity; ++i) log.Add(Key(i), MissReason::kEvictedDevice, 0);
  uint64_t found = 0, wrong = 0;
  const uint64_t end = 10 * kCapacity;
  for (uint64_t i = end - kCapacity / 2; i < end; ++i) found += log.Find(Key(i)) ? 1 : 0;
  for (uint64_t i = 10 * kCapacity; i < 20 * kCapacity; ++i) wrong += log.Find(Key(i)) ? 1 : 0;
  EXPECT_GE(found * 100, kCapacity / 2 * 97);
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(log.MemoryBytes(), LossLog::MaxMemoryBytes(kCapacity));
  EXPECT_LE(log.MemoryBytes(), kCapacity * 8 + 64);
}

TEST(LossLog, TimesBeyondEightYearsAreThatOld) {
  LossLog log(1);
  log.Add(Key(1), MissReason::kEvictedDevice, 1e12);
  EXPECT_GT(log.Find(Key(1))->seconds, 8.0 * 365 * 86400);
}

}  // namespace
}  // namespace prefixd
