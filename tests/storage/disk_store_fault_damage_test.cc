// The disk store on a directory that was damaged while no store was open: flipped bits, files that are cut,
// zeroed, removed, swapped, or replaced by older ones or by those of another model. The store opens, gives no
// wrong payload, and counts every damaged record that is read. PREFIXD_FAULT_SEEDS=N tries N damages.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "storage/disk_store.h"
#include "storage/record.h"
#include "tests/support/allocations.h"
#include "tests/support/disk_usage.h"
#include "tests/support/rounds.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr BlockKey kModel{11, 12};
constexpr BlockKey kOtherModel{13, 14};
constexpr uint64_t kKeys = 24;
// The store needs less for these small files in one allocation. What asks for more has believed a damaged
// length; it fails here, and must not end the process.
constexpr size_t kMostBytes = 8 << 20;

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteFile(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::vector<fs::path> FilesBelow(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// The block of a key, with the payload that belongs to it.
struct Block {
  explicit Block(uint64_t n) : tokens{static_cast<TokenId>(n), 7, 8}, payload(1500 + 100 * n, '\0') {
    Prng random(n);
    for (char& byte : payload) byte = static_cast<char>(random.Next());
  }
  RecordIdentity Identity(const BlockKey& model) const {
    const BlockKey root = RootKey(model, "");
    // The keys of both models are the same here, as after a collision.
    const BlockKey key = ChildKey(RootKey(kModel, ""), tokens);
    return {.fingerprint = model, .root = root, .key = key, .parent = root, .tokens = tokens};
  }
  BlockKey Key() const { return Identity(kModel).key; }
  std::string Record(const BlockKey& model, uint64_t created) const {
    return EncodeRecord(Identity(model), created, RawPayload(std::as_bytes(std::span(payload))));
  }
  // What an engine does with a record.
  RecordDefect Check(const std::string& record, bool* right) const {
    const DecodedRecord decoded = DecodeRecord(std::as_bytes(std::span(record)));
    const RecordDefect defect = CompareRecord(decoded, Identity(kModel));
    if (defect != RecordDefect::kNone) return defect;
    std::string out(payload.size(), '\0');
    const RecordDefect read = ReadRecordPayload(decoded, std::as_writable_bytes(std::span(out)));
    *right = read != RecordDefect::kNone || out == payload;
    return read;
  }

  std::vector<TokenId> tokens;
  std::string payload;
};

class DamagedDisk : public testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
    // The allocator of ThreadSanitizer ends the process where operator new throws.
    if (!testing_support::ReplacesOperatorNew()) GTEST_SKIP() << "a damaged length ends this build";
    testing_support::RefuseAllocationsAbove(kMostBytes);
    for (uint64_t n = 0; n < kKeys; ++n) blocks_.emplace_back(n);
    Fill(Folder("whole"), kModel, 6);
    Fill(Folder("old"), kModel, 3);
    Fill(Folder("other"), kOtherModel, 6);
  }
  fs::path Folder(const std::string& name) { return folder_.path() / name; }

  std::unique_ptr<DiskStore> Open(const fs::path& path) {
    dropped_.clear();
    auto store = DiskStore::Open({.path = path.string(),
                                  .capacity = kMinDiskCapacity,
                                  .group = kModel,
                                  .clock = &clock_,
                                  .on_drop = [this](const BlockKey& key, DropReason reason) {
                                    if (reason == DropReason::kLost) ++dropped_[key];
                                  }});
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return store.ok() ? std::move(*store) : nullptr;
  }
  // A directory of `segments` segments. "old" is "whole" at an earlier time.
  void Fill(const fs::path& path, const BlockKey& model, uint64_t segments) {
    if (path.filename() == "whole") {
      FillOn(path, model, 0, 3);
      fs::copy(path, Folder("old"), fs::copy_options::recursive);
      FillOn(path, model, 3, segments);
    } else if (path.filename() == "other") {
      FillOn(path, model, 0, segments);
    }
  }
  void FillOn(const fs::path& path, const BlockKey& model, uint64_t begin, uint64_t end) {
    const auto store = Open(path);
    for (uint64_t segment = begin; segment < end; ++segment) {
      for (uint64_t n = segment * 4; n < segment * 4 + 4; ++n)
        ASSERT_TRUE(store->Put(blocks_[n].Key(), blocks_[n].Record(model, 1)).ok());
      // Later segments also replace records of earlier ones, and delete some.
      if (segment > 0) {
        ASSERT_TRUE(store->Put(blocks_[segment].Key(), blocks_[segment].Record(model, 2)).ok());
        ASSERT_TRUE(store->Delete(blocks_[segment * 4 - 1].Key()).ok());
      }
      ASSERT_TRUE(store->Sync().ok());
    }
  }

  void Damage(const fs::path& path, Prng* random);
  void DamageBytes(const fs::path& file, Prng* random);
  // Opens, reads everything, writes, opens again.
  void Use(const fs::path& path);
  void ReadAll(DiskStore* store);

  const testing_support::TempDir folder_{"/dev/shm"};
  const ManualClock clock_;
  std::vector<Block> blocks_;
  std::map<BlockKey, int> dropped_;  // told lost
  uint64_t lost_ = 0;
  uint64_t read_ = 0;
  uint64_t aside_ = 0;
  uint64_t segments_ = 0;
};

void DamagedDisk::DamageBytes(const fs::path& file, Prng* random) {
  std::string bytes = ReadFile(file);
  const uint64_t size = bytes.size();
  // Often near the end, where a table has its footer.
  const uint64_t window = size > 0 && random->Chance(0.3) ? std::min<uint64_t>(size, 64) : size;
  const auto at = [&] { return size - window + random->Below(window); };
  switch (size == 0 ? 5 : random->Below(7)) {
    case 0:
      for (uint64_t flips = 1 + random->Below(3); flips > 0; --flips) bytes[at()] ^= 1 << random->Below(8);
      break;
    case 1:
      bytes.resize(at());
      break;
    case 2:
      bytes.assign(size, '\0');
      break;
    case 3:
      for (uint64_t i = at(), end = std::min(size, i + random->Below(4096)); i < end; ++i) bytes[i] = '\0';
      break;
    case 4:
      for (uint64_t i = at(), end = std::min(size, i + random->Below(64)); i < end; ++i)
        bytes[i] = static_cast<char>(random->Next());
      break;
    case 5:
      bytes.append(1 + random->Below(100), static_cast<char>(random->Next()));
      break;
    default:
      bytes.clear();
  }
  WriteFile(file, bytes);
}

void DamagedDisk::Damage(const fs::path& path, Prng* random) {
  const auto any_of = [&](const fs::path& folder) {
    const std::vector<fs::path> files = FilesBelow(folder);
    return files[random->Below(files.size())];
  };
  const fs::path file = any_of(path);
  switch (random->Below(8)) {
    case 0:
      fs::remove(file);
      break;
    case 1: {
      const fs::path second = any_of(path);
      const std::string first = ReadFile(file);
      WriteFile(file, ReadFile(second));
      WriteFile(second, first);
      break;
    }
    case 2: {  // the same file, or all files of one kind, as they once were, or of another model
      const fs::path source = Folder(random->Chance(0.5) ? "old" : "other") / fs::relative(file, path);
      const bool same = fs::exists(source) && random->Chance(0.7);
      fs::copy_file(same ? source : any_of(Folder("other")), file, fs::copy_options::overwrite_existing);
      break;
    }
    case 3: {
      const fs::path from = Folder(random->Chance(0.5) ? "old" : "other");
      for (const fs::path& source : FilesBelow(from))
        if (random->Chance(0.5))
          fs::copy_file(source, path / fs::relative(source, from), fs::copy_options::overwrite_existing);
      break;
    }
    default:
      DamageBytes(file, random);
  }
}

void DamagedDisk::ReadAll(DiskStore* store) {
  std::set<BlockKey> seen;
  const Status scan = store->Scan([&](const BlockKey& key, std::string_view) {
    EXPECT_TRUE(seen.insert(key).second);
    return true;
  });
  EXPECT_TRUE(scan.ok()) << scan.ToString();
  for (const Block& block : blocks_) {
    const uint64_t before = store->stats().lost_records;
    const auto record = store->Get(block.Key());
    if (record.ok()) {
      bool right = true;
      const RecordDefect defect = block.Check(*record, &right);
      EXPECT_TRUE(right) << "a wrong payload";
      EXPECT_TRUE(defect == RecordDefect::kNone || defect == RecordDefect::kFingerprint)
          << RecordDefectName(defect);
      ++read_;
      continue;
    }
    EXPECT_TRUE(record.status().code() == Code::kNotFound || record.status().code() == Code::kCorrupt)
        << record.status().ToString();
    EXPECT_EQ(record.status().code() == Code::kCorrupt, seen.contains(block.Key()));
    if (record.status().code() == Code::kNotFound) continue;
    ++lost_;
    EXPECT_EQ(store->stats().lost_records, before + 1);
    EXPECT_EQ(dropped_[block.Key()], 1);
    EXPECT_EQ(store->Get(block.Key()).status().code(), Code::kNotFound);
  }
}

void DamagedDisk::Use(const fs::path& path) {
  auto store = Open(path);
  ASSERT_NE(store, nullptr);
  if (fs::exists(path.string() + ".damaged-1")) ++aside_;
  ReadAll(store.get());
  segments_ += store->stats().damaged_segments;
  for (uint64_t n = 0; n < kKeys; n += 5) {
    const std::string record = blocks_[n].Record(kModel, 3);
    ASSERT_TRUE(store->Put(blocks_[n].Key(), record).ok());
  }
  const Status sync = store->Sync();
  ASSERT_TRUE(sync.ok()) << sync.ToString();
  EXPECT_LE(testing_support::DiskUsage(path.string()), store->bytes());
  store->CheckInvariants();
  store = nullptr;
  store = Open(path);
  ASSERT_NE(store, nullptr);
  ReadAll(store.get());
  for (uint64_t n = 0; n < kKeys; n += 5) EXPECT_TRUE(store->Get(blocks_[n].Key()).ok()) << n;
  store->CheckInvariants();
}

// No checksum covers the end of a table, which says where its blocks are and how long. Here one bit of it is
// flipped, or a length of 2^56 is written over it.
TEST_F(DamagedDisk, TheFooterOfATableMayBeWrong) {
  constexpr size_t kFooter = 53;
  const std::string huge = std::string(8, '\xff') + '\x7f';
  for (size_t change = 0; change < 9 * kFooter; change += testing_support::kSanitized ? 15 : 2) {
    SCOPED_TRACE("change " + std::to_string(change));
    const fs::path path = Folder("cache");
    fs::copy(Folder("whole"), path, fs::copy_options::recursive);
    std::vector<fs::path> tables = FilesBelow(path);
    std::erase_if(tables, [](const fs::path& file) { return file.extension() != ".sst"; });
    const fs::path& table = tables[change % tables.size()];
    std::string bytes = ReadFile(table);
    const size_t at = bytes.size() - kFooter + change % kFooter;
    if (change / kFooter < 8) {
      bytes[at] ^= static_cast<char>(1 << change / kFooter);
    } else {
      bytes.replace(at, std::min(huge.size(), bytes.size() - at), huge, 0, bytes.size() - at);
    }
    WriteFile(table, bytes);
    Use(path);
    if (HasFailure()) return;
    fs::remove_all(path);
  }
  EXPECT_EQ(aside_, 0u) << "a damaged table costs one segment";
  EXPECT_GT(segments_, 0u);
}

TEST_F(DamagedDisk, OpensAndGivesNoWrongPayload) {
  const char* wanted = std::getenv("PREFIXD_FAULT_SEEDS");
  const uint64_t seeds =
      wanted == nullptr ? testing_support::Rounds(200) : std::strtoull(wanted, nullptr, 10);
  const char* from = std::getenv("PREFIXD_FAULT_FIRST");
  const uint64_t first = from == nullptr ? 1 : std::strtoull(from, nullptr, 10);
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    WriteFile(Folder("seed"), std::to_string(seed));
    const fs::path path = Folder("cache");
    fs::copy(Folder("whole"), path, fs::copy_options::recursive);
    Prng random(seed);
    for (uint64_t damages = 1 + random.Below(2); damages > 0; --damages) Damage(path, &random);
    Use(path);
    if (HasFailure()) return;
    fs::remove_all(path);
    for (int n = 1; n <= 3; ++n) fs::remove_all(path.string() + ".damaged-" + std::to_string(n));
  }
  std::printf("%llu seeds: %llu records read, %llu told lost, %llu damaged segments, %llu set aside\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(read_),
              static_cast<unsigned long long>(lost_), static_cast<unsigned long long>(segments_),
              static_cast<unsigned long long>(aside_));
  EXPECT_GT(read_, seeds);
  EXPECT_GT(lost_, 0u);
  EXPECT_GT(segments_, 0u);
  EXPECT_GT(aside_, 0u);
}

}  // namespace
}  // namespace prefixd
