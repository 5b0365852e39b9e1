#include "model/weight_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/mutex.h"
#include "model/direct_file.h"
#include "model/truncation_guard.h"
#include "tests/support/page_cache.h"
#include "tests/support/present_pages.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Le;

// A file with tensors of bytes, in the order of their data.
void WriteFile(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, std::string>>& tensors) {
  std::string header = "{", data;
  for (const auto& [name, bytes] : tensors) {
    header += (header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"U8","shape":[)" +
              std::to_string(bytes.size()) + R"(],"data_offsets":[)" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + bytes.size()) + "]}";
    data += bytes;
  }
  header += "}";
  std::string file;
  PutLittle<uint64_t>(&file, header.size());
  std::ofstream(path, std::ios::binary) << file << header << data;
}

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What a WeightWork saw. Its functions take pieces of `piece` bytes.
struct Seen {
  explicit Seen(size_t piece) : piece_bytes(piece) {}
  WeightWork Work() {
    return {.piece_bytes = [this](const TensorView&) { return piece_bytes; },
            .in_order =
                [this](const WeightPiece& piece) {
                  EXPECT_EQ(running.exchange(true), false) << "two at a time";
                  in_order += piece.begin == 0 ? "<" + piece.tensor->name + ">" : "";
                  in_order += Text(piece.bytes);
                  taken[piece.bytes.data()] = std::this_thread::get_id();
                  running = false;
                },
            .at_once =
                [this](const WeightPiece& piece) {
                  MutexLock lock(mutex);
                  at_once[piece.tensor->name][piece.begin] = Text(piece.bytes);
                  ++pieces;
                  return Status::Ok();
                },
            .done =
                [this](size_t bytes) {
                  EXPECT_EQ(std::this_thread::get_id(), caller);
                  done += bytes;
                }};
  }
  const size_t piece_bytes;
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> running{false};
  std::string in_order;
  std::map<const std::byte*, std::thread::id> taken;
  Mutex mutex;
  std::map<std::string, std::map<size_t, std::string>> at_once;
  size_t pieces = 0, done = 0;
};

TEST(WeightReader, HandsOutEveryByteOnceInTheOrderOfTheFiles) {
  const testing_support::TempDir dir;
  WriteFile(dir.path() / "a.safetensors", {{"z", "0123456789"}, {"m", ""}, {"b", "abc"}});
  WriteFile(dir.path() / "b.safetensors", {{"c", "ABCDEFG"}, {"a", "xy"}, {"n", ""}});
  const WeightFiles files = *WeightFiles::Open(dir.path());
  for (const int threads : {1, 2, 5}) {
    for (const size_t read_ahead : {1, 8, 1000}) {
      Seen seen(4);
      ASSERT_TRUE(ReadWeights(files, threads, seen.Work(), read_ahead).ok());
      // Of two tensors at one place, the one without bytes comes first.
      EXPECT_EQ(seen.in_order, "<z>0123456789<m><b>abc<c>ABCDEFG<a>xy<n>");
      const std::map<std::string, std::map<size_t, std::string>> want = {
          {"z", {{0, "0123"}, {4, "4567"}, {8, "89"}}},
          {"m", {{0, ""}}},
          {"b", {{0, "abc"}}},
          {"c", {{0, "ABCD"}, {4, "EFG"}}},
          {"a", {{0, "xy"}}},
          {"n", {{0, ""}}}};
      EXPECT_EQ(seen.at_once, want);
      EXPECT_EQ(seen.pieces, 9u);
      EXPECT_EQ(seen.done, files.total_bytes());
    }
  }
}

TEST(WeightReader, BothStepsOfAPieceAreOnOneThread) {
  const testing_support::TempDir dir;
  WriteFile(dir.path() / "a.safetensors", {{"a", std::string(1000, 'x')}});
  const WeightFiles files = *WeightFiles::Open(dir.path());
  Seen seen(10);
  WeightWork work = seen.Work();
  std::map<const std::byte*, std::thread::id> stored;
  work.at_once = [&](const WeightPiece& piece) {
    MutexLock lock(seen.mutex);
    stored[piece.bytes.data()] = std::this_thread::get_id();
    return Status::Ok();
  };
  ASSERT_TRUE(ReadWeights(files, 3, work).ok());
  EXPECT_EQ(stored.size(), 100u);
  EXPECT_EQ(stored, seen.taken);
}

// Every piece from the fourth on fails. The first of them may be the last to do so.
TEST(WeightReader, ReturnsTheErrorOfTheFirstPieceAndTakesNoMore) {
  const testing_support::TempDir dir;
  WriteFile(dir.path() / "a.safetensors", {{"a", std::string(400, 'x')}});
  const WeightFiles files = *WeightFiles::Open(dir.path());
  constexpr size_t kFirst = 30;
  for (const int threads : {1, 2, 4}) {
    Seen seen(10);
    WeightWork work = seen.Work();
    std::set<size_t> failed;
    work.at_once = [&](const WeightPiece& piece) {
      if (piece.begin < kFirst) return Status::Ok();
      MutexLock lock(seen.mutex);
      failed.insert(piece.begin);
      return Corrupt("at " + std::to_string(piece.begin));
    };
    EXPECT_EQ(ReadWeights(files, threads, work, 20).status().message(), "at 30") << threads;
    EXPECT_EQ(*failed.begin(), kFirst);
    EXPECT_LE(failed.size(), static_cast<size_t>(threads)) << "a thread with an error takes no further piece";
  }
}

TEST(WeightReader, HasOnlyAWindowOfTheFilesInMemory) {
  const testing_support::TempDir dir;
  constexpr size_t kPage = 4096, kBytes = 8000 * kPage, kPiece = 100 * kPage, kWindow = 400 * kPage;
  if (static_cast<size_t>(::sysconf(_SC_PAGESIZE)) != kPage) GTEST_SKIP() << "pages of another size";
  WriteFile(dir.path() / "a.safetensors", {{"a", std::string(kBytes, 'x')}});
  const WeightFiles files = *WeightFiles::Open(dir.path());
  const std::span<const std::byte> all = files.tensors().front().bytes;
  files.DropPages(all);
  Seen seen(kPiece);
  WeightWork work = seen.Work();
  std::vector<size_t> present;
  work.at_once = [&](const WeightPiece& piece) {
    EXPECT_EQ(Text(piece.bytes), std::string(piece.bytes.size(), 'x'));
    MutexLock lock(seen.mutex);
    present.push_back(testing_support::PresentPages(all));
    return Status::Ok();
  };
  ASSERT_TRUE(ReadWeights(files, 2, work, kWindow).ok());
  EXPECT_EQ(present.size(), 80u);
  // The window, a piece, and a page between each two pieces. The kernel may map 2 MiB at a time where the
  // window and the two threads are.
  EXPECT_THAT(present, Each(Le(400u + 100 + 80 + 4 * 512)));
}

// Pieces begin at all places of a page, and a later one may be read before an earlier one.
TEST(WeightReader, ReadsPastThePageCacheWhatItDoesNotHave) {
  const testing_support::TempDir dir;
  std::string numbers;
  while (numbers.size() < 600'000) numbers += std::to_string(numbers.size()) + " ";
  const auto a = dir.path() / "a.safetensors", b = dir.path() / "b.safetensors";
  WriteFile(a, {{"a", numbers}, {"empty", ""}, {"small", "12345"}, {"z", numbers.substr(17)}});
  WriteFile(b, {{"b", numbers.substr(99)}});
  const std::string want =
      "<a>" + numbers + "<empty><small>12345<z>" + numbers.substr(17) + "<b>" + numbers.substr(99);
  for (const int threads : {1, 3}) {
    for (const size_t piece : {1000u, 9999u, 300'000u}) {
      for (const size_t read_ahead : {size_t{1}, size_t{50'000}, kReadAheadBytes}) {
        const WeightFiles files = *WeightFiles::Open(dir.path());
        for (const MappedFile& file : files.files()) file.DropPages(file.bytes());  // a mapped page stays
        const bool dropped = testing_support::DropFromPageCache(a);
        testing_support::ReadIntoPageCache(b);
        if (!DirectFile::Open(files.files()[0]) || !dropped)
          GTEST_SKIP() << "no O_DIRECT here, or the page cache keeps the file";
        Seen seen(piece);
        const auto uncached = ReadWeights(files, threads, seen.Work(), read_ahead);
        ASSERT_TRUE(uncached.ok());
        EXPECT_EQ(seen.in_order, want) << threads << ", " << piece << ", " << read_ahead;
        EXPECT_EQ(seen.done, files.total_bytes());
        EXPECT_THAT(*uncached, ElementsAre(a)) << "the other one was in the page cache";
        EXPECT_LT(testing_support::CachedShare(a), .3) << "more than the looks at it";
      }
    }
  }
}

// The pages that are read ahead are gone as well.
TEST(WeightReaderDeathTest, AFileThatWasCutIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const testing_support::TempDir dir;
  const auto path = dir.path() / "a.safetensors";
  WriteFile(path, {{"a", std::string(100'000, 'x')}});
  EXPECT_EXIT(
      {
        InstallTruncationGuard(7);
        const WeightFiles files = *WeightFiles::Open(dir.path());
        std::filesystem::resize_file(path, 5000);
        Seen seen(1000);
        (void)ReadWeights(files, 2, seen.Work());
      },
      testing::ExitedWithCode(7), "a.safetensors: was cut short while it was read");
}

// Reads past the page cache then end early, and the mapping is asked.
TEST(WeightReaderDeathTest, AFileThatIsCutWhileItIsReadIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const testing_support::TempDir dir;
  const auto path = dir.path() / "a.safetensors";
  WriteFile(path, {{"a", std::string(400'000, 'x')}});
  EXPECT_EXIT(
      {
        InstallTruncationGuard(7);
        const WeightFiles files = *WeightFiles::Open(dir.path());
        files.files()[0].DropPages(files.files()[0].bytes());
        (void)testing_support::DropFromPageCache(path);
        Seen seen(20'000);
        WeightWork work = seen.Work();
        const auto in_order = work.in_order;
        work.in_order = [&](const WeightPiece& piece) {
          in_order(piece);
          if (piece.begin == 40'000) std::filesystem::resize_file(path, 5000);
        };
        (void)ReadWeights(files, 1, work, 1);
      },
      testing::ExitedWithCode(7), "a.safetensors: was cut short while it was read");
}

}  // namespace
}  // namespace prefixd
