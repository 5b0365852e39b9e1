#include "daemon/disk_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "daemon/progress_bar.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(DiskReport, SaysWhatAnOperatorMustKnow) {
  DiskReport report{.folder = {.path = "/cache", .in_use = true}, .bytes = 3 << 20};
  report.set_aside.push_back({"/cache.damaged-2", 2 << 20});
  report.catalog.segments[1].state = SegmentState::kGone;
  report.catalog.segments[2].state = SegmentState::kOtherFormat;
  report.catalog.segments[3].state = SegmentState::kDamaged;
  std::string text = DiskReportAsText(report, 0);
  EXPECT_THAT(text, HasSubstr("used by       process (unknown)"));
  EXPECT_THAT(text, HasSubstr("3.0 MiB in 3 segments"));
  EXPECT_THAT(text, HasSubstr("segments      1 that the daemon has dropped meanwhile"));
  EXPECT_THAT(text, HasSubstr("segments      1 of another format version"));
  EXPECT_THAT(text, HasSubstr("segments      1 damaged, whose records are lost"));
  EXPECT_THAT(text, HasSubstr("set aside     /cache.damaged-2, 2.0 MiB: a damaged database"));
  EXPECT_THAT(text, HasSubstr("There are no records."));
  report.folder.in_use = false;
  text = DiskReportAsText(report, 0);
  EXPECT_THAT(text, HasSubstr("used by       no process"));
  EXPECT_THAT(text, HasSubstr("segments      1 whose file is gone"));
  EXPECT_THAT(DiskReportAsJson(report), HasSubstr("\"segments_gone\":1,"));
}

TEST(DiskReport, ShowsAnyNumbersOfAHostileRecord) {
  CatalogModel model{.roots = {{1, 2}}};
  model.records.push_back({.key = {3, 4}, .bytes = UINT32_MAX, .tokens = UINT32_MAX});
  model.raw_bytes = model.stored_bytes = UINT64_MAX;
  model.newest = UINT64_MAX;
  model.tokens = UINT64_MAX;
  DiskReport report{.folder = {.path = "/cache"}};
  report.models.push_back({.model = &model});
  report.models.back().prefixes.push_back({.summary = {.records = 1}, .tokens = {INT32_MIN}});
  const std::string text = DiskReportAsText(report, -5);
  EXPECT_THAT(text, HasSubstr("1 with 18,446,744,073,709,551,615 tokens"));
  EXPECT_THAT(text, HasSubstr("to after the year 9999 UTC (in the future)"));
  EXPECT_THAT(text, HasSubstr(" ... -2147483648 ..."));
  EXPECT_THAT(DiskReportAsJson(report), HasSubstr("\"newest\":18446744073709551615"));
}

TEST(ProgressBar, ShowsShareRateAndTimeLeft) {
  EXPECT_EQ(ProgressBar::Line(0, 1 << 30, 0), "[                    ]   0 %  0 B of 1.0 GiB");
  EXPECT_EQ(ProgressBar::Line(256 << 20, 1 << 30, 2),
            "[#####               ]  25 %  256.0 MiB of 1.0 GiB, 128.0 MiB/s, 6 s left");
  EXPECT_EQ(ProgressBar::Line(10, 5, 1), "[####################] 100 %  10 B of 5 B, 10 B/s, 0 s left");
  EXPECT_THAT(ProgressBar::Line(0, 0, 1), HasSubstr("100 %"));
  EXPECT_THAT(ProgressBar::Line(UINT64_MAX / 2, UINT64_MAX, 1e-300), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace prefixd
