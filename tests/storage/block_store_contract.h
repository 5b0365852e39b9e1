// The contract tests of BlockStore: they test the guarantees of block_store.h on a store that a factory
// makes. A test program instantiates them with
//   INSTANTIATE_TEST_SUITE_P(Name, BlockStoreContract, testing::Values(BlockStoreFactory{...}));
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/prng.h"
#include "storage/block_store.h"

namespace prefixd {

// Makes an empty store of a capacity in bytes.
using BlockStoreFactory = std::function<std::unique_ptr<BlockStore>(uint64_t capacity)>;

class BlockStoreContract : public testing::TestWithParam<BlockStoreFactory> {
 protected:
  static constexpr uint64_t kMiB = 1 << 20;
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
};

TEST_P(BlockStoreContract, GivesBackWhatWasPut) {
  const auto store = GetParam()(kMiB);
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
  const auto store = GetParam()(kMiB);
  ASSERT_TRUE(store->Put({.low = 1, .high = 2}, "a").ok());
  EXPECT_FALSE(store->Get({.low = 1, .high = 3}).ok());
  EXPECT_FALSE(store->Get({.low = 3, .high = 2}).ok());
  EXPECT_FALSE(store->Get({.low = 2, .high = 1}).ok());
}

TEST_P(BlockStoreContract, PutReplacesAndDeleteForgets) {
  const auto store = GetParam()(kMiB);
  ASSERT_TRUE(store->Put(Key(1), Record(1000, 'a')).ok());
  ASSERT_TRUE(store->Put(Key(1), Record(10, 'b')).ok());
  EXPECT_EQ(*store->Get(Key(1)), Record(10, 'b'));
  ASSERT_TRUE(store->Delete(Key(1)).ok());
  EXPECT_EQ(store->Get(Key(1)).status().code(), Code::kNotFound);
  EXPECT_TRUE(store->Delete(Key(1)).ok());
}

TEST_P(BlockStoreContract, RefusesWhatDoesNotFitAndChangesNothing) {
  const auto store = GetParam()(kMiB);
  ASSERT_TRUE(store->Put(Key(0), Record(100, 'a')).ok());
  const uint64_t before = store->bytes();
  EXPECT_EQ(store->Put(Key(1), Record(kMiB, 'b')).code(), Code::kResourceExhausted);
  EXPECT_EQ(store->Put(Key(0), Record(kMiB, 'b')).code(), Code::kResourceExhausted);
  EXPECT_EQ(store->bytes(), before);
  EXPECT_EQ(*store->Get(Key(0)), Record(100, 'a'));
  EXPECT_EQ(store->Get(Key(1)).status().code(), Code::kNotFound);
}

TEST_P(BlockStoreContract, FillsUpToItsCapacityAndNoFurther) {
  const auto store = GetParam()(kMiB);
  EXPECT_EQ(store->capacity(), kMiB);
  uint64_t fitted = 0;
  while (fitted < 1000 && store->Put(Key(fitted), Record(10'000, 'x')).ok()) {
    ++fitted;
    ASSERT_LE(store->bytes(), store->capacity());
    ASSERT_GE(store->bytes(), fitted * 10'000);
  }
  EXPECT_GE(fitted, 50u) << "at least half of the capacity holds records";
  EXPECT_LE(fitted, 104u);
  ASSERT_TRUE(store->Delete(Key(0)).ok());
  EXPECT_TRUE(store->Put(Key(fitted), Record(10'000, 'x')).ok()) << "a deleted record makes room";
}

TEST_P(BlockStoreContract, ScanShowsTheHeadOfEveryRecordOnce) {
  const auto store = GetParam()(kMiB);
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
  const auto store = GetParam()(kMiB);
  for (uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(store->Put(Key(n), Record(500, 'a')).ok());
  ASSERT_TRUE(store->Put(Key(0), Record(50, 'b')).ok());
  ASSERT_TRUE(store->Put(Key(1), Record(500, 'c')).ok());
  ASSERT_TRUE(store->Delete(Key(2)).ok());
  ASSERT_FALSE(store->Put(Key(3), Record(kMiB, 'd')).ok()) << "does not fit";
  const std::map<BlockKey, std::string> expected{{Key(0), Record(50, 'b')},
                                                 {Key(1), Record(kRecordHeaderBytes, 'c')},
                                                 {Key(3), Record(kRecordHeaderBytes, 'a')}};
  EXPECT_EQ(Heads(store.get()), expected);
}

TEST_P(BlockStoreContract, ScanEndsWhenTheVisitorSaysSo) {
  const auto store = GetParam()(kMiB);
  for (uint64_t n = 0; n < 10; ++n) ASSERT_TRUE(store->Put(Key(n), Record(500, 'a')).ok());
  int visits = 0;
  EXPECT_TRUE(store->Scan([&visits](const BlockKey&, std::string_view) { return ++visits < 3; }).ok());
  EXPECT_EQ(visits, 3);
  EXPECT_EQ(Heads(store.get()).size(), 10u) << "the next scan starts anew";
}

TEST_P(BlockStoreContract, TheVisitorMayCallTheStore) {
  const auto store = GetParam()(kMiB);
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

TEST_P(BlockStoreContract, DoesWhatTheModelDoes) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(seed);
    Prng random(seed);
    const auto store = GetParam()(20'000);
    std::map<BlockKey, std::string> model;
    for (int event = 0; event < 400; ++event) {
      const BlockKey key = Key(random.Below(20));
      const uint64_t dice = random.Below(10);
      if (dice < 5) {
        const std::string record = Record(random.Below(3000), static_cast<char>('a' + random.Below(26)));
        const Status status = store->Put(key, record);
        if (status.ok()) {
          model[key] = record;
        } else {
          ASSERT_EQ(status.code(), Code::kResourceExhausted);
        }
      } else if (dice < 7) {
        ASSERT_TRUE(store->Delete(key).ok());
        model.erase(key);
      }
      const Result<std::string> got = store->Get(key);
      ASSERT_EQ(got.ok(), model.contains(key));
      if (got.ok()) {
        ASSERT_EQ(*got, model[key]);
      }
      ASSERT_LE(store->bytes(), store->capacity());
    }
    std::map<BlockKey, std::string> heads;
    for (const auto& [key, record] : model) {
      ASSERT_EQ(*store->Get(key), record);
      heads[key] = record.substr(0, kRecordHeaderBytes);
    }
    ASSERT_EQ(Heads(store.get()), heads);
  }
}

TEST_P(BlockStoreContract, ThreadsSeeWholeRecordsAndTheCapHolds) {
  const auto store = GetParam()(50'000);
  std::atomic<int> torn{0};
  std::atomic<int> over{0};
  std::atomic<int> found{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Prng random(t);
      for (int i = 0; i < 500; ++i) {
        const BlockKey key = Key(random.Below(8));
        if (random.Chance(0.5)) {
          (void)store->Put(key, Record(1000 + 1000 * t, static_cast<char>('a' + t)));  // may be refused
        } else if (random.Chance(0.1)) {
          if (!store->Delete(key).ok()) ++torn;
        } else if (const auto got = store->Get(key); got.ok()) {
          ++found;
          const auto writer = static_cast<size_t>(got->front() - 'a');
          if (*got != Record(1000 + 1000 * writer, got->front())) ++torn;
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
  const auto store = GetParam()(kMiB);
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
