#include "base/duration.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

TEST(Duration, IsParsed) {
  EXPECT_EQ(*ParseDuration("0s"), 0);
  EXPECT_EQ(*ParseDuration("90s"), 90);
  EXPECT_EQ(*ParseDuration("15m"), 900);
  EXPECT_EQ(*ParseDuration("12h"), 43'200);
  EXPECT_EQ(*ParseDuration("7d"), 604'800);
  EXPECT_EQ(*ParseDuration("2w"), 1'209'600);
  for (const char* text : {"", "7", "d", "-7d", "7 d", "7dd", "1.5h", "7D", "99999999999999999999d",
                           "9223372036854775807w", "366000d", "0x7d", "+7d"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), Code::kInvalidArgument) << text;
  }
}

TEST(Duration, IsFormatted) {
  EXPECT_EQ(FormatDuration(0), "0 s");
  EXPECT_EQ(FormatDuration(119), "119 s");
  EXPECT_EQ(FormatDuration(120), "2 min");
  EXPECT_EQ(FormatDuration(93'600), "26 h");
  EXPECT_EQ(FormatDuration(30 * 86'400), "30 d");
  EXPECT_EQ(FormatUtc(0), "1970-01-01 00:00:00");
  EXPECT_EQ(FormatUtc(1'795'762'800), "2026-11-27 07:00:00");
  EXPECT_EQ(FormatUtc(253'402'300'799), "9999-12-31 23:59:59");
  EXPECT_EQ(FormatUtc(UINT64_MAX), "after the year 9999");
}

}  // namespace
}  // namespace prefixd
