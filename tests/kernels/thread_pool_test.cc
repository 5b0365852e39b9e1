// Tests the invariants of ThreadPool and the waking of sleeping workers.
#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <vector>

namespace prefixd {
namespace {

TEST(ThreadPool, RunsEveryUnitOnceAndPublishesItsWrites) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 300; ++round) {
      const int units = round % 23;
      std::vector<int> runs(units, 0);  // not atomic: the pool orders the writes before the reads below
      pool.Run(units, [&](int unit, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        ++runs[unit];
      });
      EXPECT_EQ(runs, std::vector<int>(units, 1)) << threads << " threads, round " << round;
    }
  }
}

TEST(ThreadPool, NoTwoUnitsShareAWorkerNumberAtOnce) {
  ThreadPool pool(4);
  std::atomic<int> busy[4] = {};
  std::atomic<int> clashes{0};
  for (int round = 0; round < 200; ++round) {
    pool.Run(16, [&](int, int worker) {
      if (busy[worker].fetch_add(1) != 0) clashes.fetch_add(1);
      busy[worker].fetch_sub(1);
    });
  }
  EXPECT_EQ(clashes.load(), 0);
}

TEST(ThreadPool, WakesWorkersThatFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 3; ++round) {
    // Each unit waits for the others. The test hangs unless three threads take part.
    std::atomic<int> arrived{0};
    pool.Run(3, [&](int, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 3) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 3);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than a worker spins
  }
}

TEST(ThreadPool, AWorkerSpinsForABoundedNumberOfTimesAndThenSleeps) {
  constexpr int kWorkers = 2, kRounds = 5;
  ThreadPool pool(1 + kWorkers);
  for (int round = 0; round < kRounds; ++round) pool.Run(6, [](int, int) {});
  // The test hangs unless all workers fall asleep and then spin no more.
  uint64_t spins;
  do {
    spins = pool.spins();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  } while (pool.sleeping() < kWorkers || pool.spins() != spins);
  EXPECT_GT(spins, 0u);
  // A worker sleeps at the start and once after each round, at most.
  EXPECT_LE(spins, static_cast<uint64_t>(kWorkers * (kRounds + 1) * ThreadPool::kMostSpins));
}

TEST(ThreadPool, TheCallerSleepsWhileAWorkerIsStillAtWork) {
  ThreadPool pool(2);
  std::atomic<int> arrived{0};
  pool.Run(2, [&](int, int worker) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
    // The worker ends only when the caller sleeps, so the test hangs if the caller spins on.
    while (worker == 1 && pool.sleeping() == 0) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 2);
  EXPECT_EQ(pool.spins() % ThreadPool::kMostSpins, 0u);
  EXPECT_GE(pool.spins(), static_cast<uint64_t>(ThreadPool::kMostSpins)) << "the caller did not sleep";
}

}  // namespace
}  // namespace prefixd
