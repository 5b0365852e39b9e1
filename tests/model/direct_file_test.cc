#include "model/direct_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/page_cache.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

constexpr size_t kBytes = 100'003;

std::string Content() {
  std::string text(kBytes, 0);
  for (size_t i = 0; i < kBytes; ++i) text[i] = static_cast<char>(i * 2654435761u >> 7);
  return text;
}

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class DirectFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(path_, std::ios::binary) << Content();
    if (!DirectFile::Open(Mapped())) GTEST_SKIP() << "no O_DIRECT here";
  }
  MappedFile Mapped() const { return *MappedFile::Open(path_); }

  const testing_support::TempDir dir_;
  const std::filesystem::path path_ = dir_.path() / "weights";
};

TEST_F(DirectFileTest, ReadsPartsAtAllPlaces) {
  const DirectFile file = *DirectFile::Open(Mapped());
  const std::string content = Content();
  DirectBuffer buffer(kBytes);
  for (const size_t begin : {0u, 1u, 4095u, 4096u, 4097u, 8191u, 98'304u, 100'002u}) {
    for (const size_t bytes : {1u, 2u, 4095u, 4096u, 4097u, 50'000u, 100'003u}) {
      const std::span<const std::byte> read = file.Read(begin, bytes, buffer);
      if (begin + bytes <= kBytes) {
        EXPECT_EQ(Text(read), content.substr(begin, bytes)) << begin << ", " << bytes;
      } else {
        EXPECT_TRUE(read.empty()) << begin << ", " << bytes;
      }
    }
  }
}

TEST_F(DirectFileTest, ReadsWhatWasWrittenAndIsNotOnTheDisk) {
  std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'n');
  const DirectFile file = *DirectFile::Open(Mapped());
  DirectBuffer buffer(kBytes);
  EXPECT_EQ(Text(file.Read(0, kBytes, buffer)), std::string(kBytes, 'n'));
}

TEST_F(DirectFileTest, KnowsWhetherThePageCacheHasTheFile) {
  for (int i = 0; i < 40; ++i) std::ofstream(path_, std::ios::binary | std::ios::app) << Content();
  const MappedFile mapped = Mapped();
  const DirectFile file = *DirectFile::Open(mapped);
  mapped.DropPages(mapped.bytes());  // a page that is mapped stays
  if (!testing_support::DropFromPageCache(path_)) GTEST_SKIP() << "the page cache keeps the file";
  DirectBuffer buffer(kBytes);
  EXPECT_EQ(file.Read(0, kBytes, buffer).size(), kBytes);
  EXPECT_LT(testing_support::CachedShare(path_), .1) << "a read past the page cache fills it";
  EXPECT_TRUE(testing_support::DropFromPageCache(path_));
  EXPECT_FALSE(file.IsCached(mapped));
  EXPECT_LT(testing_support::CachedShare(path_), .1) << "looks fill it";
  testing_support::ReadIntoPageCache(path_);
  EXPECT_TRUE(file.IsCached(mapped));
}

// Such a user learns nothing from mincore.
TEST_F(DirectFileTest, KnowsItWithoutTheRightToWrite) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be another user";
  for (int i = 0; i < 40; ++i) std::ofstream(path_, std::ios::binary | std::ios::app) << Content();
  const MappedFile mapped = Mapped();
  const DirectFile file = *DirectFile::Open(mapped);
  mapped.DropPages(mapped.bytes());
  if (!testing_support::DropFromPageCache(path_)) GTEST_SKIP() << "the page cache keeps the file";
  // 0: not cached, though IsResident says so of every page.
  EXPECT_EXIT(
      {
        const bool other = ::seteuid(65534) == 0;
        _exit(!other || !mapped.IsResident(2'000'000) ? 1 : file.IsCached(mapped) ? 2 : 0);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(DirectFileTest, IsNotAnotherFileThanTheMappedOne) {
  const MappedFile mapped = Mapped();
  EXPECT_TRUE(DirectFile::Open(mapped).has_value());
  const std::filesystem::path other = dir_.path() / "other";
  std::ofstream(other, std::ios::binary) << Content();
  std::filesystem::rename(other, path_);
  EXPECT_FALSE(DirectFile::Open(mapped).has_value());
  const MappedFile longer = Mapped();
  std::ofstream(path_, std::ios::app) << "more";
  EXPECT_FALSE(DirectFile::Open(longer).has_value());
  std::filesystem::remove(path_);
  EXPECT_FALSE(DirectFile::Open(longer).has_value());
}

TEST_F(DirectFileTest, ABufferThatIsTooSmallIsAMistake) {
  const DirectFile file = *DirectFile::Open(Mapped());
  DirectBuffer buffer(10);
  EXPECT_DEATH((void)file.Read(0, 11, buffer), "11 bytes, room for 10");
}

}  // namespace
}  // namespace prefixd
