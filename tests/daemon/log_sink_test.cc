#include "daemon/log_sink.h"

#include <gtest/gtest.h>

#include <limits>

namespace prefixd {
namespace {

TEST(LogText, QuotesValuesThatWouldBreakTheLine) {
  EXPECT_EQ(FormatLogText("model loaded", {{"path", "a b"}, {"bytes", 42}, {"name", "x"}, {"empty", ""}}),
            "model loaded path=\"a b\" bytes=42 name=x empty=\"\"");
  EXPECT_EQ(FormatLogText("two\nlines", {{"k", "a\nb"}}), "two lines k=\"a\\u000ab\"");
}

TEST(LogJson, IsOneObjectWithNumbersAsNumbers) {
  EXPECT_EQ(FormatLogJson("2026-01-01T00:00:00.000Z", LogLevel::kWarning, "say \"hi\"\n",
                          {{"n", 3}, {"s", "x\\y"}}),
            R"({"time":"2026-01-01T00:00:00.000Z","level":"warning","message":"say \"hi\"\u000a","n":3,)"
            R"("s":"x\\y"})");
  EXPECT_EQ(FormatLogJson("t", LogLevel::kInfo, "m", {{"x", std::numeric_limits<double>::infinity()}}),
            R"({"time":"t","level":"info","message":"m","x":"inf"})");
}

TEST(LogSink, LevelFiltersBeforeFormatting) {
  InstallLogSink("warning", LogFormat::kText);
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_TRUE(LogEnabled(LogLevel::kWarning));
  ::testing::internal::CaptureStderr();
  Log(LogLevel::kInfo, "quiet");
  Log(LogLevel::kError, "loud", {{"n", 1}});
  const std::string written = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(written.find("quiet"), std::string::npos);
  EXPECT_NE(written.find("error   loud n=1\n"), std::string::npos) << written;
}

}  // namespace
}  // namespace prefixd
