// The contract tests of BlockStore: they test the guarantees of block_store.h on a store that a factory
// makes. A test program instantiates them with
//   INSTANTIATE_TEST_SUITE_P(Name, BlockStoreContract, testing::Values(HomeOf<Home>("name")));
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/prng.h"
#include "storage/block_store.h"
#include "tests/support/rounds.h"

namespace prefixd {

inline constexpr uint64_t kContractCapacity = 8 << 20;

// Where the stores of one test live. Open is called once more after the store before it was destroyed: a
// durable store then has the same records.
class BlockStoreHome {
 public:
  virtual ~BlockStoreHome() = default;
  // Makes a store of capacity(). `on_drop` may be empty.
  virtual std::unique_ptr<BlockStore> Open(DropListener on_drop) = 0;
  virtual bool durable() const { return false; }
  virtual uint64_t capacity() const { return kContractCapacity; }
  // Whether the store makes room by itself, and so knows what it has. A server that others use as well does
  // it by a policy of its own; its stores have room for all records of these tests.
  virtual bool makes_room() const { return true; }
  // Why no store can be opened here; empty: it can.
  virtual std::string missing() const { return ""; }
};
// Makes homes. Its name is the parameter in the names of tests.
struct BlockStoreHomeFactory {
  const char* name;
  std::unique_ptr<BlockStoreHome> (*make)();
};
inline void PrintTo(const BlockStoreHomeFactory& factory, std::ostream* out) { *out << factory.name; }
template <typename Home>
BlockStoreHomeFactory HomeOf(const char* name) {
  return {name, []() -> std::unique_ptr<BlockStoreHome> { return std::make_unique<Home>(); }};
}

class BlockStoreContract : public testing::TestWithParam<BlockStoreHomeFactory> {
 protected:
  void SetUp() override {
    if (!home_->missing().empty()) GTEST_SKIP() << home_->missing();
  }
  std::unique_ptr<BlockStore> Open(DropListener on_drop = nullptr) { return home_->Open(std::move(on_drop)); }

  static BlockKey Key(uint64_t n) { return {.low = SplitMix64(n), .high = n}; }
  static std::string Record(size_t size, char fill) { return std::string(size, fill); }
  // Scans the whole store. A test fails here when a key is visited twice.
  static std::map<BlockKey, std::string> Heads(BlockStore* store) {
    std::map<BlockKey, std::string> heads;
    const Status status = store->Scan([&heads](const BlockKey& key, std::string_view head) {
      EXPECT_TRUE(heads.emplace(key, head).second) << ToHex(key) << " is visited twice";
      return true;
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return heads;
  }

  const std::unique_ptr<BlockStoreHome> home_ = GetParam().make();
};

TEST_P(BlockStoreContract, GivesBackWhatWasPut) {
  const auto store = Open();
  EXPECT_EQ(store->Get(Key(1)).status().code(), Code::kNotFound);
  const std::string binary("\0\xff\n\0x", 5);
  ASSERT_TRUE(store->Put(Key(1), binary).ok());
  ASSERT_TRUE(store->Put(Key(2), "").ok());
  EXPECT_EQ(*store->Get(Key(1)), binary);
  EXPECT_EQ(*store->Get(Key(2)), "");
  EXPECT_TRUE(store->Sync().ok());
  EXPECT_EQ(*store->Get(Key(1)), binary);
}

TEST_P(BlockStoreContract, KeysDifferInEitherHalf) {
  const auto store = Open();
  ASSERT_TRUE(store->Put({.low = 1, .high = 2}, "a").ok());
  EXPECT_FALSE(store->Get({.low = 1, .high = 3}).ok());
  EXPECT_FALSE(store->Get({.low = 3, .high = 2}).ok());
  EXPECT_FALSE(store->Get({.low = 2, .high = 1}).ok());
}

TEST_P(BlockStoreContract, PutReplacesAndDeleteForgets) {
  const auto store = Open();
  ASSERT_TRUE(store->Put(Key(1), Record(1000, 'a')).ok());
  ASSERT_TRUE(store->Put(Key(1), Record(10, 'b')).ok());
  EXPECT_EQ(*store->Get(Key(1)), Record(10, 'b'));
  ASSERT_TRUE(store->Delete(Key(1)).ok());
  EXPECT_EQ(store->Get(Key(1)).status().code(), Code::kNotFound);
  EXPECT_TRUE(store->Delete(Key(1)).ok());
}

TEST_P(BlockStoreContract, ContainsSaysWhatGetFinds) {
  const auto store = Open();
  const auto expect = [&](uint64_t n, bool there) {
    EXPECT_EQ(store->Contains(Key(n)), there) << n;
    EXPECT_EQ(store->Get(Key(n)).ok(), there) << n;
  };
  expect(1, false);
  ASSERT_TRUE(store->Put(Key(1), Record(1000, 'a')).ok());
  ASSERT_TRUE(store->Put(Key(2), "").ok());
  expect(1, true);
  expect(2, true);
  EXPECT_FALSE(store->Contains({.low = Key(1).low, .high = Key(2).high}));
  ASSERT_TRUE(store->Sync().ok());
  expect(1, true);
  ASSERT_TRUE(store->Put(Key(1), Record(10, 'b')).ok());
  expect(1, true);
  ASSERT_TRUE(store->Delete(Key(1)).ok());
  ASSERT_TRUE(store->Delete(Key(3)).ok());
  expect(1, false);
  expect(2, true);
  expect(3, false);
  ASSERT_TRUE(store->Put(Key(1), Record(10, 'c')).ok());
  expect(1, true);
}

TEST_P(BlockStoreContract, RefusesARecordThatIsTooLargeAndChangesNothing) {
  const auto store = Open();
  EXPECT_EQ(store->capacity(), home_->capacity());
  const std::string too_large = Record(store->max_record_bytes() + 1, 'b');
  ASSERT_TRUE(store->Put(Key(0), Record(100, 'a')).ok());
  EXPECT_EQ(store->Put(Key(1), too_large).code(), Code::kResourceExhausted);
  EXPECT_EQ(store->Put(Key(0), too_large).code(), Code::kResourceExhausted);
  EXPECT_EQ(*store->Get(Key(0)), Record(100, 'a'));
  EXPECT_EQ(store->Get(Key(1)).status().code(), Code::kNotFound);
  EXPECT_FALSE(store->Contains(Key(1)));
}

// Puts three times the capacity. What is dropped is told, and nothing else is missing.
TEST_P(BlockStoreContract, MakesRoomByDroppingAndSaysWhat) {
  if (!home_->makes_room()) GTEST_SKIP() << "the server of the store makes room";
  Mutex mutex;
  std::set<BlockKey> dropped;
  const auto store = Open([&](const BlockKey& key, DropReason reason) {
    MutexLock lock(mutex);
    EXPECT_EQ(reason, DropReason::kEvicted);
    EXPECT_TRUE(dropped.insert(key).second) << "dropped twice";
  });
  constexpr uint64_t kRecords = 400;
  constexpr uint64_t kBytes = 60'000;
  for (uint64_t n = 0; n < kRecords; ++n) {
    ASSERT_TRUE(store->Put(Key(n), Record(kBytes, static_cast<char>('a' + n % 26))).ok());
    ASSERT_LE(store->bytes(), store->capacity());
  }
  uint64_t kept = 0;
  for (uint64_t n = 0; n < kRecords; ++n) {
    const bool contained = store->Contains(Key(n));
    const auto record = store->Get(Key(n));
    MutexLock lock(mutex);
    ASSERT_EQ(record.ok(), !dropped.contains(Key(n))) << n;
    ASSERT_EQ(record.ok(), contained) << n;
    if (!record.ok()) continue;
    ++kept;
    ASSERT_EQ(*record, Record(kBytes, static_cast<char>('a' + n % 26)));
  }
  EXPECT_GE(kept * kBytes, kContractCapacity / 2) << "at least half of the capacity holds records";
  EXPECT_GT(dropped.size(), 0u);
  EXPECT_EQ(Heads(store.get()).size(), kept);
}

TEST_P(BlockStoreContract, WhatIsUsedStaysLonger) {
  if (!home_->makes_room()) GTEST_SKIP() << "the server of the store makes room";
  const auto store = Open();
  constexpr uint64_t kHot = 10;
  for (uint64_t n = 0; n < 500; ++n) {
    ASSERT_TRUE(store->Put(Key(n), Record(60'000, 'x')).ok());
    for (uint64_t hot = 0; hot < kHot && hot <= n; ++hot)
      ASSERT_TRUE(store->Get(Key(hot)).ok()) << hot << " of the used ones is gone after " << n;
  }
  EXPECT_FALSE(store->Get(Key(100)).ok()) << "what nobody used is gone";
}

TEST_P(BlockStoreContract, ABatchIsPutWhole) {
  const auto store = Open();
  std::vector<StoreEntry> batch;
  for (uint64_t n = 0; n < 20; ++n)
    batch.push_back({.key = Key(n), .record = Record(1000 + n, 'a'), .cost = 1.0 + n});
  batch.push_back({.key = Key(3), .record = Record(5, 'b')});
  ASSERT_TRUE(store->PutBatch(std::move(batch)).ok());
  for (uint64_t n = 0; n < 20; ++n)
    EXPECT_EQ(*store->Get(Key(n)), n == 3 ? Record(5, 'b') : Record(1000 + n, 'a'));
  EXPECT_TRUE(store->PutBatch({}).ok());
}

// What was synced is there when the store is opened again, in the state of that moment or a later one.
TEST_P(BlockStoreContract, KeepsWhatWasSynced) {
  if (!home_->durable()) GTEST_SKIP() << "the store is not durable";
  auto store = Open();
  for (uint64_t n = 0; n < 30; ++n) ASSERT_TRUE(store->Put(Key(n), Record(5000 + n, 'a')).ok());
  ASSERT_TRUE(store->Sync().ok());
  ASSERT_TRUE(store->Put(Key(1), Record(10, 'b')).ok());
  ASSERT_TRUE(store->Delete(Key(2)).ok());
  ASSERT_TRUE(store->Delete(Key(3)).ok());
  ASSERT_TRUE(store->Put(Key(3), Record(11, 'c')).ok());
  ASSERT_TRUE(store->Sync().ok());
  ASSERT_TRUE(store->Delete(Key(4)).ok());
  ASSERT_TRUE(store->Sync().ok());
  for (int round = 0; round < 2; ++round) {
    store.reset();
    store = Open();
    const std::map<BlockKey, std::string> heads = Heads(store.get());
    EXPECT_EQ(heads.size(), 28u);
    EXPECT_EQ(*store->Get(Key(1)), Record(10, 'b'));
    EXPECT_FALSE(store->Get(Key(2)).ok());
    EXPECT_EQ(*store->Get(Key(3)), Record(11, 'c'));
    EXPECT_FALSE(store->Get(Key(4)).ok());
    for (uint64_t n = 5; n < 30; ++n) EXPECT_EQ(*store->Get(Key(n)), Record(5000 + n, 'a'));
  }
}

// Before the scan a durable store may know of fewer records than it has, and of none that it has not.
TEST_P(BlockStoreContract, ContainsKnowsEveryRecordAfterAScan) {
  if (!home_->durable()) GTEST_SKIP() << "the store is not durable";
  auto store = Open();
  for (uint64_t n = 0; n < 20; ++n) ASSERT_TRUE(store->Put(Key(n), Record(5000, 'a')).ok());
  ASSERT_TRUE(store->Sync().ok());
  ASSERT_TRUE(store->Delete(Key(3)).ok());
  ASSERT_TRUE(store->Sync().ok());
  store.reset();
  store = Open();
  const auto there = [](uint64_t n) { return n < 20 && n != 3; };
  for (uint64_t n = 0; n < 22; ++n) EXPECT_TRUE(there(n) || !store->Contains(Key(n))) << n;
  ASSERT_TRUE(store->Put(Key(21), Record(5000, 'b')).ok());
  EXPECT_TRUE(store->Contains(Key(21)));
  EXPECT_EQ(Heads(store.get()).size(), 20u);
  for (uint64_t n = 0; n < 21; ++n) EXPECT_EQ(store->Contains(Key(n)), there(n)) << n;
  EXPECT_TRUE(store->Contains(Key(21)));
}

TEST_P(BlockStoreContract, ScanShowsTheHeadOfEveryRecordOnce) {
  const auto store = Open();
  EXPECT_TRUE(Heads(store.get()).empty());
  std::map<BlockKey, std::string> expected;
  for (const size_t size : {size_t{0}, size_t{1}, kRecordHeaderBytes - 1, kRecordHeaderBytes,
                            kRecordHeaderBytes + 1, size_t{5000}}) {
    std::string record;
    for (size_t i = 0; i < size; ++i) record += static_cast<char>(size + i);
    ASSERT_TRUE(store->Put(Key(size), record).ok());
    expected[Key(size)] = record.substr(0, kRecordHeaderBytes);
  }
  EXPECT_EQ(Heads(store.get()), expected);
}

TEST_P(BlockStoreContract, ScanSeesReplacedAndDeletedRecords) {
  const auto store = Open();
  for (uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(store->Put(Key(n), Record(500, 'a')).ok());
  ASSERT_TRUE(store->Put(Key(0), Record(50, 'b')).ok());
  ASSERT_TRUE(store->Put(Key(1), Record(500, 'c')).ok());
  ASSERT_TRUE(store->Delete(Key(2)).ok());
  const std::map<BlockKey, std::string> expected{{Key(0), Record(50, 'b')},
                                                 {Key(1), Record(kRecordHeaderBytes, 'c')},
                                                 {Key(3), Record(kRecordHeaderBytes, 'a')}};
  EXPECT_EQ(Heads(store.get()), expected);
}

TEST_P(BlockStoreContract, ScanEndsWhenTheVisitorSaysSo) {
  const auto store = Open();
  for (uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(store->Put(Key(n), Record(500, 'a')).ok());
  int visits = 0;
  EXPECT_TRUE(store->Scan([&visits](const BlockKey&, std::string_view) { return ++visits < 3; }).ok());
  EXPECT_EQ(visits, 3);
  EXPECT_EQ(Heads(store.get()).size(), 10u) << "the next scan starts anew";
}

TEST_P(BlockStoreContract, TheVisitorMayCallTheStore) {
  const auto store = Open();
  for (uint64_t n = 0; n < 100; ++n)
    ASSERT_TRUE(store->Put(Key(n), Record(500, n % 2 == 0 ? 'a' : 'b')).ok());
  int visits = 0;
  const Status status = store->Scan([&](const BlockKey& key, std::string_view head) {
    ++visits;
    EXPECT_EQ(*store->Get(key), Record(500, head.front()));
    if (head.front() == 'a') {
      EXPECT_TRUE(store->Delete(key).ok());
    } else {
      EXPECT_TRUE(store->Put(key, Record(500, 'c')).ok());
    }
    return true;
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(visits, 100);
  const std::map<BlockKey, std::string> heads = Heads(store.get());
  EXPECT_EQ(heads.size(), 50u);
  for (const auto& [key, head] : heads) EXPECT_EQ(head, Record(kRecordHeaderBytes, 'c'));
}

// Random operations against a map. Records are large, so that the store evicts; a durable store is closed and
// opened again now and then.
TEST_P(BlockStoreContract, DoesWhatTheModelDoes) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    const std::unique_ptr<BlockStoreHome> home = GetParam().make();
    std::map<BlockKey, std::string> model;
    const auto open = [&] {
      return home->Open([&](const BlockKey& key, DropReason) { EXPECT_EQ(model.erase(key), 1u); });
    };
    auto store = open();
    for (int event = 0; event < testing_support::Rounds(1500); ++event) {
      const BlockKey key = Key(random.Below(200));
      const uint64_t dice = random.Below(100);
      if (dice < 50) {
        const std::string record = Record(random.Below(random.Chance(0.2) ? 200'000 : 60'000),
                                          static_cast<char>('a' + random.Below(26)));
        ASSERT_TRUE(store->Put(key, record).ok());
        model[key] = record;
      } else if (dice < 60) {
        ASSERT_TRUE(store->Delete(key).ok());
        model.erase(key);
      } else if (dice < 65) {
        ASSERT_TRUE(store->Sync().ok());
      } else if (dice < 66 && home->durable()) {
        ASSERT_TRUE(store->Sync().ok());
        store.reset();
        store = open();
        if (random.Chance(0.8)) (void)Heads(store.get());
      }
      const bool contained = store->Contains(key);
      const Result<std::string> got = store->Get(key);
      ASSERT_EQ(contained, got.ok()) << "event " << event;
      if (got.ok()) {
        ASSERT_TRUE(model.contains(key)) << "event " << event;
        ASSERT_EQ(*got, model[key]) << "event " << event;
      }
      ASSERT_LE(store->bytes(), store->capacity());
    }
    std::map<BlockKey, std::string> heads;
    EXPECT_EQ(Heads(store.get()).size(), model.size());
    for (const auto& [key, record] : model) {
      const auto got = store->Get(key);
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      ASSERT_EQ(*got, record);
      heads[key] = record.substr(0, kRecordHeaderBytes);
    }
    ASSERT_EQ(Heads(store.get()), heads);
  }
}

TEST_P(BlockStoreContract, ThreadsSeeWholeRecordsAndTheCapHolds) {
  const auto store = Open();
  std::atomic<int> torn{0};
  std::atomic<int> over{0};
  std::atomic<int> found{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Prng random(t);
      for (int i = 0; i < 400; ++i) {
        const BlockKey key = Key(random.Below(120));
        if (random.Chance(0.5)) {
          if (!store->Put(key, Record(50'000 + 20'000 * t, static_cast<char>('a' + t))).ok()) ++torn;
        } else if (random.Chance(0.1)) {
          if (!store->Delete(key).ok()) ++torn;
        } else if (const auto got = store->Get(key); got.ok()) {
          ++found;
          const auto writer = static_cast<size_t>(got->front() - 'a');
          if (*got != Record(50'000 + 20'000 * writer, got->front())) ++torn;
        } else if (got.status().code() != Code::kNotFound) {
          ++torn;
        }
        if (store->bytes() > store->capacity()) ++over;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(over, 0);
  EXPECT_GT(found, 0);
}

// Keys 0 to 49 always have a record, and a thread replaces it; another puts and deletes keys 50 to 57.
TEST_P(BlockStoreContract, ScanMissesNothingWhileThreadsWrite) {
  constexpr uint64_t kStable = 50;
  constexpr uint64_t kAll = 58;
  const auto store = Open();
  for (uint64_t n = 0; n < kStable; ++n) ASSERT_TRUE(store->Put(Key(n), Record(200, 'a')).ok());
  std::atomic<bool> done{false};
  std::atomic<uint64_t> writes{0};
  const auto write = [&](uint64_t seed, uint64_t begin, uint64_t end, double chance_of_delete) {
    for (Prng random(seed); !done; ++writes) {
      const BlockKey key = Key(begin + random.Below(end - begin));
      const char fill = static_cast<char>('a' + random.Below(26));
      EXPECT_TRUE(
          (random.Chance(chance_of_delete) ? store->Delete(key) : store->Put(key, Record(200, fill))).ok());
    }
  };
  std::thread replacer(write, 1, 0, kStable, 0.0);
  std::thread deleter(write, 2, kStable, kAll, 0.5);
  for (int scan = 0; scan < 50 || writes < 500; ++scan) {
    const std::map<BlockKey, std::string> heads = Heads(store.get());
    size_t stable = 0;
    size_t known = 0;
    for (uint64_t n = 0; n < kAll; ++n) {
      const auto head = heads.find(Key(n));
      if (head == heads.end()) continue;
      ++known;
      if (n < kStable) ++stable;
      EXPECT_EQ(head->second, Record(kRecordHeaderBytes, head->second.front())) << "a mixture of two records";
    }
    EXPECT_EQ(stable, kStable);
    EXPECT_EQ(known, heads.size()) << "a key that nobody put";
  }
  done = true;
  replacer.join();
  deleter.join();
}

}  // namespace prefixd
