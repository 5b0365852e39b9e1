#include "daemon/running_calls.h"

#include <gtest/gtest.h>

#include <optional>

namespace prefixd {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(RunningCalls, TheOldestThatRunsCounts) {
  ManualClock clock;
  RunningCalls calls(&clock);
  EXPECT_EQ(calls.SlowerThan(0, 0), "");
  std::optional<RunningCalls::Call> write(std::in_place, &calls, RunningCalls::Kind::kWrite);
  clock.Advance(kSecond);
  std::optional<RunningCalls::Call> read(std::in_place, &calls, RunningCalls::Kind::kRead);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 2 * kSecond), "");
  clock.Advance(kSecond);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 2 * kSecond), "a write has taken 2 s");
  write.reset();
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 2 * kSecond), "");
  clock.Advance(5 * kSecond);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 2 * kSecond), "a read has taken 6 s");
  read.reset();
  EXPECT_EQ(calls.SlowerThan(0, 0), "");
}

TEST(RunningCalls, AWriteMayHaveMoreTime) {
  ManualClock clock;
  RunningCalls calls(&clock);
  const RunningCalls::Call write(&calls, RunningCalls::Kind::kWrite);
  clock.Advance(kSecond);
  std::optional<RunningCalls::Call> read(std::in_place, &calls, RunningCalls::Kind::kRead);
  clock.Advance(2 * kSecond);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 10 * kSecond), "a read has taken 2 s") << "behind an older write";
  read.reset();
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 10 * kSecond), "");
  clock.Advance(7 * kSecond);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond, 10 * kSecond), "a write has taken 10 s");
}

}  // namespace
}  // namespace prefixd
