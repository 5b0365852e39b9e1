#include "daemon/page_cache_fill.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/clock.h"
#include "tests/support/page_cache.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

TEST(PageCacheFill, BringsFilesIntoThePageCache) {
  const testing_support::TempDir dir;
  const auto path = dir.path() / "weights";
  constexpr size_t kBytes = 5'000'000;
  std::ofstream(path, std::ios::binary) << std::string(kBytes, 'x');
  testing_support::DropFromPageCache(path);
  if (testing_support::CachedShare(path) > 0) GTEST_SKIP() << "the page cache keeps the file";
  const SystemClock clock;
  const PageCacheFill fill({dir.path() / "not there", dir.path(), path}, &clock);
  while (!fill.done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(testing_support::CachedShare(path), 1);
}

// The file would take an hour.
TEST(PageCacheFill, EndsWithTheReadAtHand) {
  const testing_support::TempDir dir;
  const auto path = dir.path() / "weights";
  std::ofstream(path, std::ios::binary) << "x";
  std::filesystem::resize_file(path, uint64_t{1} << 42);
  const SystemClock clock;
  const PageCacheFill fill({path}, &clock);
  EXPECT_FALSE(fill.done());
}

}  // namespace
}  // namespace prefixd
