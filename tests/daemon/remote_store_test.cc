// RemoteTier against Debian's redis-server: what it asks, what it writes, and what failures cost.
#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "daemon/mirrored_store.h"
#include "daemon/remote_tier.h"
#include "storage/memory_store.h"
#include "tests/support/eventually.h"
#include "tests/support/redis_server.h"
#include "tests/support/stepped_clock.h"

namespace prefixd {
namespace {

using testing_support::Eventually;
using testing_support::SteppedClock;

const SystemClock kClock;
constexpr int64_t kSecond = 1'000'000'000;

BlockKey Key(uint64_t n) { return {.low = n, .high = n}; }
uint64_t Writes(const RemoteTier& tier, RemoteWrite result) {
  return tier.stats().writes[static_cast<size_t>(result)];
}
class RemoteStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
  }
  // With generous times: another process may have the processor.
  static RemoteTier::Options OptionsFor(const RedisServer& server) {
    RemoteTier::Options options;
    options.store = {.address = server.address(),
                     .fingerprint = {.low = 1, .high = 2},
                     .clock = &kClock,
                     .max_record_bytes = 1 << 20,
                     .connect_nanos = 20 * kSecond,
                     .find_nanos = 20 * kSecond,
                     .call_nanos = 20 * kSecond};
    return options;
  }
  static Status Put(RemoteTier* tier, uint64_t n, size_t bytes = 1000) {
    return tier->Put(Key(n), std::string(bytes, 'r'));
  }
};

TEST_F(RemoteStoreTest, WhatOneWritesAnotherFinds) {
  const RedisServer server;
  RemoteTier a(OptionsFor(server));
  RemoteTier b(OptionsFor(server));
  for (uint64_t n = 0; n < 20; ++n) ASSERT_TRUE(Put(&a, n).ok());
  ASSERT_TRUE(Eventually([&] { return Writes(a, RemoteWrite::kWritten) == 20; }));
  std::atomic<int> wakes = 0;
  b.SetWake([&] { ++wakes; });
  std::vector<BlockKey> keys;
  for (uint64_t n = 0; n < 30; ++n) keys.push_back(Key(n));
  EXPECT_FALSE(b.Contains(Key(0)));
  EXPECT_EQ(b.Find({.keys = keys}), RemoteAnswer::kAsked) << "the answer is to come";
  ASSERT_TRUE(Eventually([&] { return wakes > 0; }));
  EXPECT_EQ(b.Find({.keys = keys}), RemoteAnswer::kKnown) << "all that there is is known";
  EXPECT_TRUE(b.Contains(Key(19)));
  EXPECT_FALSE(b.Contains(Key(20)));
  EXPECT_EQ(*b.Get(Key(7)), std::string(1000, 'r'));
  EXPECT_EQ(b.stats().finds, 1u);
  b.SetWake(nullptr);
}

TEST_F(RemoteStoreTest, WhatTheStoreHasIsNotWrittenAgain) {
  const RedisServer server;
  RemoteTier a(OptionsFor(server));
  RemoteTier b(OptionsFor(server));
  ASSERT_TRUE(Put(&a, 1).ok());
  ASSERT_TRUE(Eventually([&] { return Writes(a, RemoteWrite::kWritten) == 1; }));
  ASSERT_TRUE(Put(&a, 1).ok());
  EXPECT_EQ(Writes(a, RemoteWrite::kPresent), 1u);
  EXPECT_TRUE(b.Wants(Key(1))) << "it does not know yet";
  ASSERT_TRUE(Put(&b, 1).ok());
  ASSERT_TRUE(Eventually([&] { return Writes(b, RemoteWrite::kPresent) == 1; }));
  EXPECT_FALSE(b.Wants(Key(1)));
  EXPECT_EQ(b.stats().written_bytes, 0u);
}

TEST_F(RemoteStoreTest, TheQueueIsBoundedAndTheRateKept) {
  const RedisServer server;
  RemoteTier::Options options = OptionsFor(server);
  options.write_rate = 1000;  // a record in 100 seconds
  options.queue_bytes = 250'000;
  RemoteTier tier(std::move(options));
  int taken = 0;
  for (uint64_t n = 0; n < 20; ++n) taken += Put(&tier, n, 100'000).ok() ? 1 : 0;
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == 1; }));
  EXPECT_LE(taken, 4);
  EXPECT_EQ(Writes(tier, RemoteWrite::kQueue), static_cast<uint64_t>(20 - taken));
  EXPECT_FALSE(Put(&tier, 97, 100'000).ok() && Put(&tier, 98, 100'000).ok() && Put(&tier, 99, 100'000).ok());
  EXPECT_EQ(tier.stats().written_bytes, 100'000u) << "the second is not due";
}

// The rate lets the first record go at once, and the second one 10 seconds of the clock later.
TEST_F(RemoteStoreTest, WhatAnotherDaemonWaitsForGoesFirstAndIsDroppedLast) {
  const RedisServer server;
  SteppedClock clock;
  RemoteTier::Options options = OptionsFor(server);
  options.write_rate = 10'000;
  options.queue_bytes = 400'000;
  options.store.clock = &clock;
  options.store.connect_nanos = options.store.find_nanos = options.store.call_nanos = 1000 * kSecond;
  RemoteTier tier(std::move(options));
  const auto put = [&](uint64_t n, bool used_again) {
    std::vector<StoreEntry> batch;
    batch.push_back({.key = Key(n), .record = std::string(100'000, 'r'), .used_again = used_again});
    return tier.PutBatch(std::move(batch)).ok();
  };
  ASSERT_TRUE(put(0, true));
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == 1; }));
  for (const uint64_t n : {1, 2, 3, 4}) ASSERT_TRUE(put(n, true));
  EXPECT_FALSE(put(5, true)) << "there is no room";
  EXPECT_TRUE(put(3, false)) << "somebody waits for it now";
  EXPECT_TRUE(put(6, false)) << "4 makes room for it";
  EXPECT_TRUE(put(7, false)) << "and 2";
  EXPECT_TRUE(put(8, false)) << "and 1, which has waited for its turn";
  EXPECT_FALSE(put(9, false)) << "all that is left is waited for";
  EXPECT_EQ(Writes(tier, RemoteWrite::kQueue), 5u) << "5, 4, 2, 1 and 9";
  const auto is_there = [&](uint64_t n) {
    return server.Ask({"EXISTS", "prefixd:1:0000000000000002:" + ToHex(Key(n))}).integer == 1;
  };
  uint64_t written = 1;
  for (const uint64_t n : {3, 6, 7, 8}) {
    EXPECT_FALSE(is_there(n)) << n;
    clock.Advance(11 * kSecond);
    ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == written + 1; })) << n;
    EXPECT_TRUE(is_there(n)) << "in their order";
    ++written;
  }
}

TEST_F(RemoteStoreTest, ADeletedRecordIsNotWrittenLater) {
  const RedisServer server;
  RemoteTier::Options options = OptionsFor(server);
  options.write_rate = 1000;
  RemoteTier tier(std::move(options));
  for (uint64_t n = 0; n < 3; ++n) ASSERT_TRUE(Put(&tier, n, 100'000).ok());
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == 1; }));
  EXPECT_FALSE(tier.Wants(Key(2))) << "it waits";
  EXPECT_TRUE(tier.Delete(Key(2)).ok());
  EXPECT_TRUE(tier.Wants(Key(2)));
}

TEST_F(RemoteStoreTest, APurgeReachesWhatIsNotWrittenYet) {
  const RedisServer server;
  RemoteTier::Options options = OptionsFor(server);
  options.write_rate = 100'000;  // a record in a second
  RemoteTier tier(std::move(options));
  for (uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(Put(&tier, n, 100'000).ok());
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == 1; }));
  std::set<uint64_t> seen;
  ASSERT_TRUE(tier.Scan([&](const BlockKey& key, std::string_view head) {
                    EXPECT_EQ(head.size(), kRecordHeaderBytes);
                    seen.insert(key.low);
                    return tier.Delete(key).ok();
                  })
                  .ok());
  EXPECT_EQ(seen.size(), 4u) << "in the queue, being written, and written";
  ASSERT_TRUE(Put(&tier, 9, 10).ok());
  ASSERT_TRUE(Eventually([&] { return tier.Contains(Key(9)); })) << "the writer is past the others";
  RemoteTier other(OptionsFor(server));
  for (uint64_t n = 0; n < 4; ++n) EXPECT_EQ(other.Get(Key(n)).status().code(), Code::kNotFound) << n;
}

TEST_F(RemoteStoreTest, AStoreThatIsGoneIsLeftAloneAndTriedAgain) {
  RedisServer server;
  SteppedClock clock;
  RemoteTier::Options options = OptionsFor(server);
  options.store.clock = &clock;
  RemoteTier tier(std::move(options));
  ASSERT_TRUE(Put(&tier, 1).ok());
  ASSERT_TRUE(Eventually([&] { return tier.Contains(Key(1)); }));
  EXPECT_EQ(tier.stats().failure, "");
  server.Kill();
  EXPECT_FALSE(tier.Get(Key(1)).ok());
  EXPECT_NE(tier.stats().failure, "");
  EXPECT_FALSE(tier.Contains(Key(1)));
  const std::vector<BlockKey> keys{Key(2)};
  EXPECT_EQ(tier.Find({.keys = keys}), RemoteAnswer::kKnown) << "nothing is asked";
  EXPECT_EQ(tier.Get(Key(1)).status().code(), Code::kUnavailable);
  EXPECT_FALSE(Put(&tier, 3).ok());
  EXPECT_GE(Writes(tier, RemoteWrite::kFailed), 1u);
  const uint64_t failures = tier.stats().failures;
  EXPECT_LE(failures, 2u) << "not one for each call";
  clock.Advance(2 * kSecond);
  EXPECT_TRUE(Eventually([&] { return tier.stats().failures > failures; })) << "it is tried again";
}

TEST_F(RemoteStoreTest, AStoppedStoreWorksAgainWhenItAnswers) {
  const RedisServer server;
  RemoteTier::Options options = OptionsFor(server);
  options.store.call_nanos = options.store.find_nanos = kSecond / 5;
  options.store.nanos_per_byte = 0;
  RemoteTier tier(std::move(options));
  server.Stop();
  const std::vector<BlockKey> keys{Key(1)};
  (void)tier.Find({.keys = keys});
  ASSERT_TRUE(Eventually([&] { return !tier.stats().failure.empty(); }));
  server.Continue();
  EXPECT_TRUE(Eventually([&] { return tier.stats().failure.empty(); })) << "it looks by itself";
  EXPECT_GT(tier.stats().bytes, 0u);
}

TEST_F(RemoteStoreTest, AFullStoreGetsNoRecordsForAWhile) {
  const RedisServer server({"--maxmemory", "2mb", "--maxmemory-policy", "noeviction"});
  RemoteTier tier(OptionsFor(server));
  for (uint64_t n = 0; n < 60; ++n) (void)Put(&tier, n, 100'000);
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kFull) > 10; }));
  EXPECT_EQ(tier.stats().failure, "") << "it can be read";
  EXPECT_EQ(tier.stats().failures, 0u);
  EXPECT_TRUE(tier.Get(Key(0)).ok());
}

TEST_F(RemoteStoreTest, AProbeSaysWhatAReadTakes) {
  RedisServer server;
  RemoteTier tier(OptionsFor(server));
  const double seconds = tier.ProbeRead(200'000);
  EXPECT_GT(seconds, 0);
  EXPECT_LT(seconds, 20);
  server.Kill();
  EXPECT_EQ(tier.ProbeRead(200'000), 0);
}

TEST_F(RemoteStoreTest, TheDiskOffersWhatWasUsedAgain) {
  const RedisServer server;
  RemoteTier tier(OptionsFor(server));
  MemoryStore disk(1 << 20);
  MirroredStore store(&disk, &tier);
  std::vector<StoreEntry> batch;
  const std::vector<std::byte> payload(100, std::byte{1});
  const std::string once = EncodeRecord({}, 0, RawPayload(payload));
  batch.push_back({.key = Key(1), .record = once});
  batch.push_back({.key = Key(3), .record = once + "damage"});
  batch.push_back({.key = Key(2), .record = "twice", .used_again = true});
  ASSERT_TRUE(store.PutBatch(std::move(batch)).ok());
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == 1; }));
  EXPECT_TRUE(tier.Contains(Key(2)));
  EXPECT_TRUE(disk.Contains(Key(1)));
  EXPECT_TRUE(store.Get(Key(3)).ok()) << "the reader finds the damage, and nobody else gets it";
  EXPECT_EQ(*store.Get(Key(1)), once) << "which is its second use";
  ASSERT_TRUE(Eventually([&] { return Writes(tier, RemoteWrite::kWritten) == 2; }));
  EXPECT_EQ(*tier.Get(Key(1)), once);
  EXPECT_TRUE(tier.Wants(Key(3)));
}

}  // namespace
}  // namespace prefixd
