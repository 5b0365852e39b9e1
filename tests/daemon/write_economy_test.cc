// Whether what is written to a shared store is read often enough.
#include "daemon/write_economy.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(WriteEconomy, NothingIsSaidBeforeAWindowOfTraffic) {
  WriteEconomy economy;
  economy.Add(50 * kGiB, 0);  // what was before it began
  economy.Add(51 * kGiB - 1, 0);
  EXPECT_FALSE(economy.ratio());
  EXPECT_FALSE(economy.IsLow());
  economy.Add(51 * kGiB, 0);
  EXPECT_EQ(economy.ratio(), 0);
  EXPECT_TRUE(economy.IsLow());
}

TEST(WriteEconomy, TheLastWindowCounts) {
  WriteEconomy economy;
  economy.Add(0, 0);
  economy.Add(10 * kGiB, kGiB / 2);
  EXPECT_TRUE(economy.IsLow());
  economy.Add(10 * kGiB + kGiB / 2, 2 * kGiB);
  EXPECT_EQ(economy.ratio(), 3);
  EXPECT_FALSE(economy.IsLow());
  economy.Add(20 * kGiB + kGiB / 2, 3 * kGiB);
  EXPECT_FALSE(economy.IsLow()) << "a tenth is enough";
  economy.Add(20 * kGiB + kGiB / 2, 5 * kGiB);
  EXPECT_FALSE(economy.IsLow()) << "nothing was written";
}

TEST(WriteEconomy, AServerThatStartsAgainBeginsAWindow) {
  WriteEconomy economy;
  economy.Add(100 * kGiB, 100 * kGiB);
  economy.Add(1, 1);
  EXPECT_FALSE(economy.ratio());
  economy.Add(2 * kGiB + 1, 1);
  EXPECT_TRUE(economy.IsLow());
}

}  // namespace
}  // namespace prefixd
