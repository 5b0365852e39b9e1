#include "daemon/running_calls.h"

#include <gtest/gtest.h>

#include <optional>

namespace prefixd {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(RunningCalls, TheOldestThatRunsCounts) {
  ManualClock clock;
  RunningCalls calls(&clock);
  EXPECT_EQ(calls.SlowerThan(0), "");
  std::optional<RunningCalls::Call> write(std::in_place, &calls, RunningCalls::Kind::kWrite);
  clock.Advance(kSecond);
  std::optional<RunningCalls::Call> read(std::in_place, &calls, RunningCalls::Kind::kRead);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond), "");
  clock.Advance(kSecond);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond), "a write has taken 2 s");
  write.reset();
  EXPECT_EQ(calls.SlowerThan(2 * kSecond), "");
  clock.Advance(5 * kSecond);
  EXPECT_EQ(calls.SlowerThan(2 * kSecond), "a read has taken 6 s");
  read.reset();
  EXPECT_EQ(calls.SlowerThan(0), "");
}

}  // namespace
}  // namespace prefixd
