#include "daemon/watchdog.h"

#include <gtest/gtest.h>

#include <optional>

namespace prefixd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Watchdog, NotifiesWhileProgressChanges) {
  Watchdog watchdog(seconds(30));
  uint64_t progress = 0;
  int notified = 0;
  for (int tick = 0; tick < 10; ++tick) notified += watchdog.Tick(progress += tick % 3 + 1) ? 1 : 0;
  EXPECT_EQ(notified, 10);
}

TEST(Watchdog, IsSilentWhenAStepHangsAndResumesWithIt) {
  Watchdog watchdog(seconds(30));
  EXPECT_TRUE(watchdog.Tick(7));
  for (int tick = 0; tick < 5; ++tick) EXPECT_FALSE(watchdog.Tick(7)) << tick;
  EXPECT_TRUE(watchdog.Tick(8));
  EXPECT_FALSE(watchdog.Tick(8));
}

TEST(Watchdog, TicksOftenEnoughForTheServiceManager) {
  EXPECT_EQ(Watchdog(seconds(30)).tick(), seconds(1));
  EXPECT_EQ(Watchdog(seconds(3600)).tick(), seconds(1));
  EXPECT_EQ(Watchdog(milliseconds(1500)).tick(), milliseconds(500));
  EXPECT_EQ(Watchdog(microseconds(10)).tick(), milliseconds(100));
}

TEST(Watchdog, NeverNotifiesWithoutAServiceManager) {
  Watchdog watchdog(std::nullopt);
  EXPECT_GE(watchdog.tick(), seconds(60));
  EXPECT_FALSE(watchdog.Tick(1));
  EXPECT_FALSE(watchdog.Tick(2));
}

}  // namespace
}  // namespace prefixd
