#include "daemon/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kSecond = 1'000'000'000;

// What a load of 10 seconds reports, in parts of a hundredth.
struct Reported {
  std::vector<std::string> lines;  // "percent=30"
  std::string drawn;
};
Reported Load(bool draws) {
  Reported reported;
  SetLogSink([&](LogLevel, std::string_view message, std::initializer_list<LogField> fields) {
    EXPECT_EQ(message, "loading weights");
    reported.lines.push_back(std::string(fields.begin()->key) + "=" + fields.begin()->value);
  });
  SetLogLevel(LogLevel::kInfo);
  ManualClock clock;
  ::testing::internal::CaptureStderr();
  {
    const LoadProgress progress = ReportLoad(uint64_t{1} << 30, draws, &clock);
    for (int part = 1; part <= 100; ++part) {
      clock.Advance(kSecond / 10);
      progress(part / 100.0);
    }
    reported.drawn = ::testing::internal::GetCapturedStderr();
  }
  SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  return reported;
}

TEST(LoadReport, IsALogLineEveryThreeSeconds) {
  const Reported reported = Load(false);
  EXPECT_THAT(reported.lines, ElementsAre("percent=30", "percent=60", "percent=90"));
  EXPECT_THAT(reported.drawn, IsEmpty());
}

TEST(LoadReport, IsABarOnATerminalThatEndsWithTheLoad) {
  const Reported reported = Load(true);
  EXPECT_THAT(reported.lines, IsEmpty());
  EXPECT_THAT(reported.drawn,
              HasSubstr("[##########          ]  50 %  512.0 MiB of 1.0 GiB, 102.4 MiB/s, 5 s"));
  EXPECT_THAT(reported.drawn, EndsWith("\r\x1b[K"));
  EXPECT_THAT(reported.drawn, Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace prefixd
