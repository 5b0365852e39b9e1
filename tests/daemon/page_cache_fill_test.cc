#include "daemon/page_cache_fill.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/page_cache.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

void WaitForTheEnd(const PageCacheFill& fill) {
  while (!fill.ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(PageCacheFill, BringsFilesIntoThePageCache) {
  const testing_support::TempDir dir;
  const auto path = dir.path() / "weights", large = dir.path() / "large";
  constexpr size_t kBytes = 5'000'000;
  for (const auto& file : {path, large}) std::ofstream(file, std::ios::binary) << std::string(kBytes, 'x');
  if (!testing_support::DropFromPageCache(path) || !testing_support::DropFromPageCache(large))
    GTEST_SKIP() << "the page cache keeps the file";
  const PageCacheFill fill({dir.path() / "not there", dir.path(), path}, kBytes);
  const PageCacheFill too_large({large}, kBytes - 1);
  WaitForTheEnd(fill);
  WaitForTheEnd(too_large);
  EXPECT_EQ(testing_support::CachedShare(path), 1);
  EXPECT_EQ(testing_support::CachedShare(large), 0);
}

// The file would take an hour.
TEST(PageCacheFill, EndsWithTheReadAtHand) {
  const testing_support::TempDir dir;
  const auto path = dir.path() / "weights";
  std::ofstream(path, std::ios::binary) << "x";
  std::filesystem::resize_file(path, uint64_t{1} << 42);
  PageCacheFill fill({path}, UINT64_MAX);
  EXPECT_FALSE(fill.ended());
  fill.Stop();
  WaitForTheEnd(fill);
}

}  // namespace
}  // namespace prefixd
