// The catalog of a disk cache, its summary and the verification of its records.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "storage/disk_summary.h"
#include "storage/disk_verify.h"
#include "tests/storage/disk_tools_fixture.h"

namespace prefixd {
namespace {

// Every file and folder with its size and the times of its last change.
std::map<std::string, std::tuple<uint64_t, int64_t, int64_t>> Snapshot(const std::string& path) {
  std::map<std::string, std::tuple<uint64_t, int64_t, int64_t>> files;
  const auto add = [&](const std::string& name) {
    struct stat info {};
    ASSERT_EQ(::lstat(name.c_str(), &info), 0) << name;
    files[name] = {info.st_size, info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec,
                   info.st_ctim.tv_sec * 1'000'000'000 + info.st_ctim.tv_nsec};
  };
  add(path);
  for (const auto& entry : fs::recursive_directory_iterator(path)) add(entry.path().string());
  return files;
}

TEST_F(DiskToolsTest, ACatalogHasWhatAStoreFinds) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(seed);
    fs::remove_all(path_);
    Prng random(seed);
    auto store = Open(seed % 2 == 0 ? kModel : kOther);
    const BlockKey group = seed % 2 == 0 ? kModel : kOther;
    for (int event = 0; event < 200; ++event) {
      RecordChain chain(group, "tenant");
      const auto tokens = TokensFrom(static_cast<TokenId>(random.Below(40)), 4);
      if (random.Chance(0.7)) {
        Put(store.get(), chain.Next(tokens, 10'000 + random.Below(50'000)));
      } else {
        ASSERT_TRUE(store->Delete(ChildKey(chain.root(), tokens)).ok());
      }
      if (random.Chance(0.2)) {
        ASSERT_TRUE(store->Sync().ok());
      }
      if (random.Chance(0.1)) {
        ASSERT_TRUE(store->Maintain().ok());
      }
    }
    ASSERT_TRUE(store->Sync().ok());
    const DiskCatalog beside = Catalog();
    EXPECT_EQ(Keys(beside, group), Scanned(store.get()));
    store = nullptr;
    const DiskCatalog after = Catalog();
    store = Open(group);
    EXPECT_EQ(Keys(after, group), Scanned(store.get()));
    const CatalogModel& model = after.models.at(group);
    EXPECT_EQ(model.roots, std::vector<BlockKey>{RootKey(group, "tenant")});
    EXPECT_GT(model.dead_bytes, 0u);
    for (size_t i = 0; i < model.records.size(); ++i) {
      EXPECT_EQ(model.Find(model.records[i].key), static_cast<int64_t>(i));
      EXPECT_EQ(store->Get(model.records[i].key)->size(), model.records[i].bytes);
    }
  }
}

TEST_F(DiskToolsTest, AReaderChangesNothing) {
  auto store = Open();
  RecordChain chain(kModel, "");
  for (int i = 0; i < 20; ++i) Put(store.get(), chain.Next(TokensFrom(i, 4), 100'000));
  ASSERT_TRUE(store->Sync().ok());
  const auto before = Snapshot(path_);
  const DiskCatalog catalog = Catalog();
  EXPECT_EQ(VerifyDisk(Reader().get(), catalog, nullptr).records, 20u);
  EXPECT_TRUE(LookIntoDiskFolder(path_)->in_use);
  EXPECT_EQ(Snapshot(path_), before) << "beside a store";
  store = nullptr;
  const auto closed = Snapshot(path_);
  EXPECT_EQ(VerifyDisk(Reader().get(), Catalog(), nullptr).records, 20u);
  EXPECT_FALSE(LookIntoDiskFolder(path_)->in_use);
  EXPECT_EQ(Snapshot(path_), closed);
}

TEST_F(DiskToolsTest, SegmentsMayVanish) {
  auto store = Open();
  RecordChain chain(kModel, "");
  for (int i = 0; i < 10; ++i) {
    Put(store.get(), chain.Next(TokensFrom(i, 4), 100'000));
    ASSERT_TRUE(store->Sync().ok());
  }
  const std::vector<fs::path> tables = Tables();
  ASSERT_EQ(tables.size(), 10u);
  fs::remove(tables[2]);
  const auto reader = Reader();
  fs::remove(tables[4]);  // the reader has it open
  const DiskCatalog catalog = ReadDiskCatalog(reader.get());
  EXPECT_EQ(catalog.models.at(kModel).records.size(), 9u);
  size_t gone = 0;
  for (const auto& [number, segment] : catalog.segments)
    gone += segment.state == SegmentState::kGone && segment.physical_bytes == 0;
  EXPECT_EQ(gone, 1u);
  EXPECT_EQ(VerifyDisk(reader.get(), catalog, nullptr).records, 9u);
  const VerifyReport report = VerifyDisk(Reader().get(), catalog, nullptr);
  EXPECT_EQ(report.records, 8u);
  EXPECT_EQ(report.gone, 1u);
  EXPECT_TRUE(report.defects.empty());
}

// A store that evicts all the time, and readers beside it.
TEST_F(DiskToolsTest, AReaderBesideABusyStoreFindsNoDamage) {
  auto store = Open();
  std::atomic<bool> stop = false;
  std::atomic<int> puts = 0;
  std::thread writer([&] {
    Prng random(1);
    std::string raw(100'000, '\0');
    for (int i = 0; !stop; ++i) {
      for (size_t at = 0; at < raw.size(); at += 8) {
        const uint64_t number = random.Next();
        std::memcpy(&raw[at], &number, sizeof number);
      }
      RecordChain chain(kModel, "");
      Put(store.get(), chain.Next(TokensFrom(i, 4), 0, RawPayload(std::as_bytes(std::span(raw)))));
      ++puts;
    }
  });
  const auto filled = [&] { return store->stats().evicted_records > 0; };
  while (!filled()) std::this_thread::yield();
  uint64_t read = 0;
  for (int round = 0; round < 6; ++round) {
    const int before = puts;
    const auto reader = Reader();
    const DiskCatalog catalog = ReadDiskCatalog(reader.get());
    for (const auto& [number, segment] : catalog.segments) {
      EXPECT_TRUE(segment.state == SegmentState::kKnown || segment.state == SegmentState::kGone)
          << segment.error;
    }
    while (puts < before + 12) std::this_thread::yield();  // some segments are dropped
    const VerifyReport report = VerifyDisk(reader.get(), catalog, nullptr);
    EXPECT_EQ(report.defects, (std::map<std::string, uint64_t>()));
    read += report.records;
  }
  stop = true;
  writer.join();
  EXPECT_GT(read, 300u);
  store->CheckInvariants();
}

TEST_F(DiskToolsTest, ASummaryNamesTenantsAndPrefixes) {
  auto store = Open();
  RecordChain system(kModel, "a");
  Put(store.get(), system.Next(TokensFrom(0, 16), 50'000));
  Put(store.get(), system.Next(TokensFrom(16, 16), 50'000));
  for (int i = 0; i < 5; ++i) {
    RecordChain question = system;
    Put(store.get(), question.Next(TokensFrom(100 * i, 8), 50'000));
  }
  RecordChain alone(kModel, "b");
  Put(store.get(), alone.Next(TokensFrom(7, 16), 50'000));
  RecordChain beheaded(kModel, "b");
  (void)beheaded.Next(TokensFrom(900, 16), 50'000);
  Put(store.get(), beheaded.Next(TokensFrom(916, 16), 50'000));
  store = nullptr;

  const DiskCatalog catalog = Catalog();
  const CatalogModel& model = catalog.models.at(kModel);
  EXPECT_EQ(model.tokens, 16u * 4 + 8 * 5);
  EXPECT_GT(2 * model.raw_bytes, 3 * model.stored_bytes);
  const ModelUsage summary = SummarizeModel(model, 2);
  ASSERT_EQ(summary.tenants.size(), 2u);
  EXPECT_EQ(summary.tenants[0].root, RootKey(kModel, "a"));
  EXPECT_EQ(summary.tenants[0].records, 7u);
  EXPECT_EQ(summary.tenants[1].tokens, 32u);
  EXPECT_EQ(summary.prefix_count, 3u);
  EXPECT_EQ(summary.orphans, 1u);
  ASSERT_EQ(summary.prefixes.size(), 2u);
  const PrefixSummary& top = summary.prefixes[0];
  EXPECT_TRUE(top.whole);
  EXPECT_EQ(top.records, 7u);
  EXPECT_EQ(top.tokens, 72u);
  EXPECT_EQ(top.shared_tokens, 32u);
  EXPECT_EQ(top.bytes, summary.tenants[0].bytes);
  EXPECT_EQ(SummarizeModel(model, 9).prefixes.size(), 3u);
}

TEST(DiskSummary, ACircleOfParentsEnds) {
  CatalogModel model;
  model.roots = {{1, 1}};
  const auto add = [&](uint64_t key, uint64_t parent) {
    model.records.push_back({.key = {key, key}, .parent = {parent, parent}, .bytes = 10, .tokens = 1});
    model.index.Insert({key, key}, {.segment = static_cast<uint32_t>(model.records.size())});
  };
  add(10, 11);
  add(11, 12);
  add(12, 10);
  add(13, 12);  // hangs on the circle
  add(14, 14);  // its own parent
  add(15, 1);
  const ModelUsage summary = SummarizeModel(model, 10);
  EXPECT_EQ(summary.prefix_count, 1u);
  EXPECT_EQ(summary.orphans, 5u);
  EXPECT_EQ(summary.prefixes.at(0).records, 1u);
}

TEST_F(DiskToolsTest, VerifyFindsEveryDamageAndItsDeletionLeavesTheRest) {
  auto store = Open();
  RecordChain chain(kModel, "");
  const auto put_damaged = [&](const std::string& what, auto change) {
    StoreEntry entry = chain.Next(TokensFrom(static_cast<TokenId>(what.size()), 4), 30'000);
    change(&entry.record);
    Put(store.get(), std::move(entry));
  };
  const auto flip = [](size_t at) { return [at](std::string* r) { (*r)[at] ^= 1; }; };
  put_damaged("head", flip(20));
  put_damaged("magic", flip(0));
  put_damaged("version", flip(8));
  put_damaged("a payload", [](std::string* r) { r->back() ^= 1; });
  put_damaged("cut", [](std::string* r) { r->pop_back(); });
  put_damaged("longer", [](std::string* r) { *r += 'x'; });
  for (int i = 0; i < 20; ++i) Put(store.get(), chain.Next(TokensFrom(500 + i, 4), 30'000));
  RecordChain misplaced(kModel, "x");
  StoreEntry entry = misplaced.Next(TokensFrom(1, 4), 1000);
  entry.key.low ^= 1;
  Put(store.get(), std::move(entry));
  RecordChain foreign(kOther, "x");
  Put(store.get(), foreign.Next(TokensFrom(1, 4), 1000));
  std::string buffer;
  const std::string raw(5000, 'y');
  StoredPayload payload = EncodePayload(PayloadCodec::kPlanesZstd, 2, std::as_bytes(std::span(raw)), &buffer);
  payload.raw_bytes = uint64_t{1} << 60;  // whole by its checksums, and no payload has this length
  RecordChain hostile(kModel, "y");
  Put(store.get(), hostile.Next(TokensFrom(1, 4), 0, payload));
  ASSERT_TRUE(store->Sync().ok());
  // A byte of a table: RocksDB's own checksum finds it.
  RecordChain last(kModel, "z");
  const std::string stored_raw(300'000, 'r');
  for (int i = 0; i < 3; ++i)
    Put(store.get(), last.Next(TokensFrom(i, 4), 0, RawPayload(std::as_bytes(std::span(stored_raw)))));
  store = nullptr;
  const fs::path table = Tables().back();
  {
    std::fstream file(table, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(300);
    file.put('!');
  }
  uint64_t seen = 0;
  const DiskCatalog catalog = Catalog();
  const VerifyReport report = VerifyDisk(Reader().get(), catalog, [&](uint64_t bytes) { seen += bytes; });
  EXPECT_EQ(report.records, 32u);
  EXPECT_EQ(seen, catalog.models.at(kModel).bytes);
  EXPECT_EQ(report.defects, (std::map<std::string, uint64_t>{{"checksum", 2},
                                                             {"format", 1},
                                                             {"short", 1},
                                                             {"long", 1},
                                                             {"tokens", 1},
                                                             {"fingerprint", 1},
                                                             {"decompress", 1},
                                                             {"table", 1}}));
  EXPECT_EQ(report.other_version, 1u);
  EXPECT_EQ(report.damaged.size(), 9u);
  EXPECT_EQ(report.first.size(), 9u);

  const RecordFilter damaged = [&](const FilteredRecord& record) {
    return report.damaged.contains({record.segment, record.ordinal});
  };
  PurgeResult result;
  const PurgePlan plan = Purge(damaged, &result);
  EXPECT_EQ(plan.records, 9u);
  EXPECT_EQ(result.rewritten_records, 21u) << "the other two lie in a segment without damage";
  const VerifyReport again = VerifyDisk(Reader().get(), Catalog(), nullptr);
  EXPECT_EQ(again.records, 23u);
  EXPECT_TRUE(again.defects.empty());
}

TEST_F(DiskToolsTest, TheFolderSaysWhatIsWrong) {
  const auto fault = [](const std::string& path) { return LookIntoDiskFolder(path).status().message(); };
  EXPECT_NE(fault(path_).find("there is no directory '" + path_ + "'"), std::string::npos) << fault(path_);
  const std::string empty = folder_.path().string() + "/empty";
  fs::create_directory(empty);
  EXPECT_NE(fault(empty).find("is not the directory of a disk cache"), std::string::npos) << fault(empty);
  std::ofstream(folder_.path().string() + "/file") << "x";
  EXPECT_NE(fault(folder_.path().string() + "/file").find("is not a directory"), std::string::npos);
  auto store = Open();
  auto contents = LookIntoDiskFolder(path_ + "/");
  ASSERT_TRUE(contents.ok());
  EXPECT_EQ(contents->path, path_);
  EXPECT_TRUE(contents->in_use);
  EXPECT_EQ(contents->owner, std::to_string(getpid()));
  EXPECT_EQ(contents->database, path_ + "/segments-1");
  store = nullptr;
  fs::create_directory(path_ + "/segments-7");
  fs::create_directory(path_ + ".damaged-3");
  contents = LookIntoDiskFolder(path_);
  EXPECT_FALSE(contents->in_use);
  EXPECT_EQ(contents->other_versions, std::vector<std::string>{path_ + "/segments-7"});
  EXPECT_EQ(contents->set_aside, std::vector<std::string>{path_ + ".damaged-3"});
  {
    ByteLedger ledger(UINT64_MAX);
    auto folder = DiskFolder::Open(path_, &ledger);
    ASSERT_TRUE(folder.ok());
    const auto staying = (*folder)->RemoveAll();
    ASSERT_TRUE(staying.ok()) << staying.status().ToString();
    EXPECT_TRUE(staying->empty()) << staying->front();
    EXPECT_EQ(ledger.used(), DiskUsage(path_));
  }
  EXPECT_FALSE(fs::exists(path_ + ".damaged-3"));
  contents = LookIntoDiskFolder(path_);
  ASSERT_TRUE(contents.ok()) << contents.status().ToString();
  EXPECT_TRUE(contents->database.empty() && contents->set_aside.empty() && contents->other_versions.empty());
  store = Open();
  EXPECT_TRUE(Scanned(store.get()).empty());
}

TEST_F(DiskToolsTest, ANoteIsLeftForTheNextOneThatOpensTheFolder) {
  ByteLedger ledger(UINT64_MAX);
  const auto note_before = [&](std::string_view note) {
    const auto folder = DiskFolder::Open(path_, &ledger, note);
    EXPECT_TRUE(folder.ok()) << folder.status().ToString();
    EXPECT_EQ(LookIntoDiskFolder(path_)->owner, std::to_string(getpid()));
    return (*folder)->note_before();
  };
  EXPECT_EQ(note_before("first"), "");
  EXPECT_EQ(note_before("second"), "first");
  EXPECT_EQ(note_before(""), "second");
  EXPECT_EQ(note_before(""), "second") << "it stays";
  for (const std::string& text : {std::string("42"), std::string("42\n"), std::string("42\nno end"),
                                  "42\n" + std::string(10'000, 'x') + "\n"}) {
    std::ofstream(path_ + "/lock") << text;
    EXPECT_EQ(note_before(""), "") << text.substr(0, 20);
  }
}

TEST_F(DiskToolsTest, WhatIsNotOfTheDatabaseStaysWhenAllGoes) {
  Open();
  const std::string database = path_ + "/segments-1";
  const std::string notes = database + "/notes.txt";
  const std::string inside = database + "/more/000001.sst";
  fs::create_directory(database + "/more");
  std::ofstream(notes) << "of somebody else";
  std::ofstream(inside) << "of somebody else";
  ByteLedger ledger(UINT64_MAX);
  {
    auto folder = DiskFolder::Open(path_, &ledger);
    ASSERT_TRUE(folder.ok());
    const auto staying = (*folder)->RemoveAll();
    ASSERT_TRUE(staying.ok()) << staying.status().ToString();
    EXPECT_EQ(*staying, (std::vector<std::string>{database + "/more", notes}));
    EXPECT_TRUE(fs::exists(inside));
    EXPECT_EQ(std::distance(fs::directory_iterator(database), fs::directory_iterator()), 2);
    EXPECT_EQ(ledger.used(), DiskUsage(path_));
  }
  auto store = Open();
  EXPECT_TRUE(Scanned(store.get()).empty()) << "a daemon begins anew beside what stayed";
}

}  // namespace
}  // namespace prefixd
