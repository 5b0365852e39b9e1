// How long a wait for another daemon goes on, and what it costs at most.
#include "cache/another_wait.h"

#include <gtest/gtest.h>

#include "base/prng.h"

namespace prefixd {
namespace {

// To compute all takes 8 seconds, in steps of half a second: a wait costs 2.5 seconds.
AnotherWait Begun() {
  AnotherWait wait;
  EXPECT_FALSE(wait.is_on() || wait.has_ended());
  wait.Begin(100, 8, 0.5);
  return wait;
}

TEST(AnotherWait, FromNobodyNothingIsWaitedForLong) {
  AnotherWait wait = Begun();
  EXPECT_TRUE(wait.MayWait(102.4, 8));
  EXPECT_FALSE(wait.MayWait(102.6, 8));
  EXPECT_TRUE(wait.has_ended());
  EXPECT_FALSE(wait.MayWait(102.6, 0)) << "it is over";
}

TEST(AnotherWait, WhoIsFasterIsWaitedForToTheEnd) {
  AnotherWait wait = Begun();
  for (double now = 100; now < 104; now += 0.1) EXPECT_TRUE(wait.MayWait(now, 8 - 2 * (now - 100)));
}

TEST(AnotherWait, WhoIsAsFastButBeganLaterIsWaitedForToTheEnd) {
  AnotherWait wait = Begun();
  for (double late = 0; late < 2.4; late += 0.1) EXPECT_TRUE(wait.MayWait(100 + late, 8));
  for (double now = 102.4; now < 110.4; now += 0.1) EXPECT_TRUE(wait.MayWait(now, 110.4 - now)) << now;
}

TEST(AnotherWait, WhoStopsIsWaitedForAsShortlyWhereverItIs) {
  for (const double came : {1.0, 4.0, 7.5}) {
    AnotherWait wait = Begun();
    ASSERT_TRUE(wait.MayWait(100.5, 8 - came));
    EXPECT_TRUE(wait.MayWait(102.9, 8 - came)) << came;
    EXPECT_FALSE(wait.MayWait(103.1, 8 - came)) << came;
  }
}

TEST(AnotherWait, ThatComputingBecomesSlowerHereEndsNothing) {
  AnotherWait wait = Begun();
  EXPECT_TRUE(wait.MayWait(101, 30));
  EXPECT_TRUE(wait.MayWait(102.4, 30));
  EXPECT_FALSE(wait.MayWait(102.6, 30));
}

TEST(AnotherWait, WhateverComesAllIsThereInTime) {
  Prng prng(1);
  for (int run = 0; run < 1000; ++run) {
    AnotherWait wait = Begun();
    double now = 100, rest = 8;
    while (wait.MayWait(now, rest) && rest > 0) {
      now += 0.01 * static_cast<double>(prng.Below(100));
      if (prng.Below(3) == 0) rest = std::max(0.0, rest - 0.01 * static_cast<double>(prng.Below(150)));
    }
    EXPECT_LE(now + rest, 100 + 8 + 2.5 + 1) << "with what lies between two looks";
  }
}

}  // namespace
}  // namespace prefixd
