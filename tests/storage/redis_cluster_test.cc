// RedisStore on a cluster of three servers: where records lie, slots that move, servers that fail or lie.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "tests/storage/redis_store_home.h"
#include "tests/support/picky_proxy.h"
#include "tests/support/redis_cluster.h"
#include "tests/support/scripted_server.h"

namespace prefixd {
namespace {

constexpr size_t kServers = 3;

// Of all tests that leave it whole: it takes some seconds to form. Empty.
RedisCluster& SharedCluster() {
  static RedisCluster cluster({"--maxmemory", std::to_string(kRedisCapacity / kServers)});
  for (size_t i = 0; i < cluster.size(); ++i) cluster.server(i).Ask({"FLUSHALL"});
  return cluster;
}

class OnCluster final : public RedisHome {
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    if (address_.host.empty()) address_ = SharedCluster().address();
    return RedisHome::Open(RedisOptionsFor(address_), std::move(on_drop));
  }
  RedisAddress address_{.host = ""};
};
INSTANTIATE_TEST_SUITE_P(RedisCluster, BlockStoreContract, testing::Values(HomeOf<OnCluster>("cluster")));

BlockKey Key(uint64_t n) { return {.low = n, .high = n}; }
uint16_t SlotOf(uint64_t n) { return RedisSlotOf("prefixd:1:123456789abcdef0:" + ToHex(Key(n))); }
std::vector<BlockKey> Keys(uint64_t n) {
  std::vector<BlockKey> keys;
  for (uint64_t i = 0; i < n; ++i) keys.push_back(Key(i));
  return keys;
}

class RedisClusterTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
  }
  static std::string Value(uint64_t n) { return "record " + std::to_string(n); }
  static void Fill(RedisStore* store, uint64_t records) {
    for (uint64_t n = 0; n < records; ++n) ASSERT_TRUE(store->Put(Key(n), Value(n)).ok()) << n;
  }
  static void ExpectAll(RedisStore* store, uint64_t records) {
    for (uint64_t n = 0; n < records; ++n) {
      const Result<std::string> got = store->Get(Key(n));
      ASSERT_TRUE(got.ok()) << n << ": " << got.status().ToString();
      EXPECT_EQ(*got, Value(n));
    }
  }
  static size_t Scanned(RedisStore* store) {
    size_t keys = 0;
    EXPECT_TRUE(store->Scan([&](const BlockKey&, std::string_view) { return ++keys > 0; }).ok());
    return keys;
  }
};

TEST_F(RedisClusterTest, RecordsLieWithTheServersOfTheirSlots) {
  RedisCluster& cluster = SharedCluster();
  RedisStore store(RedisOptionsFor(cluster.address()));
  Fill(&store, 90);
  std::vector<int64_t> expected(kServers);
  for (uint64_t n = 0; n < 90; ++n) ++expected[cluster.OwnerOf(SlotOf(n))];
  for (size_t i = 0; i < kServers; ++i) {
    EXPECT_GT(expected[i], 10);
    EXPECT_EQ(cluster.server(i).Ask({"DBSIZE"}).integer, expected[i]);
    // No redirection was needed: the map was asked for.
    const std::string stats = cluster.server(i).Ask({"INFO", "errorstats"}).text;
    EXPECT_EQ(stats.find("errorstat_MOVED"), std::string::npos) << stats;
  }
  RedisStore other(RedisOptionsFor(cluster.server(2).address()));
  ASSERT_TRUE(other.Find(Keys(90)).ok());
  for (uint64_t n = 0; n < 90; ++n) EXPECT_EQ(other.Knows(Key(n)), true);
  ExpectAll(&other, 90);
  EXPECT_EQ(Scanned(&other), 90u);
  ASSERT_TRUE(other.AskUsage().ok());
  EXPECT_EQ(other.capacity(), kRedisCapacity);
  EXPECT_GT(other.bytes(), uint64_t{kServers} << 20) << "of all servers";
  EXPECT_TRUE(other.ProbeRead(10'000).ok());
  EXPECT_FALSE(other.WorksInPart()) << "all do";
}

TEST_F(RedisClusterTest, WhatASlotHasIsFoundWhileItMovesAndAfter) {
  RedisCluster cluster;
  for (size_t i = 0; i < kServers; ++i)
    cluster.server(i).Ask({"ACL", "SETUSER", "cache", "on", ">secret", "~prefixd:*", "+@all", "-asking"});
  RedisStore store(RedisOptionsFor(cluster.address()));
  Fill(&store, 60);
  const uint16_t slot = SlotOf(7);
  const size_t from = cluster.OwnerOf(slot);
  const size_t to = (from + 1) % kServers;
  cluster.BeginMove(slot, from, to);
  ExpectAll(&store, 60);
  EXPECT_EQ(cluster.MoveKeys(slot, from, to), 1u);
  ExpectAll(&store, 60);  // by ASK
  RedisStoreOptions options = RedisOptionsFor(cluster.address());
  options.address.user = "cache";
  options.address.password = "secret";
  RedisStore may_not_ask(std::move(options));
  const Status refused = may_not_ask.Get(Key(7)).status();
  EXPECT_NE(refused.message().find("NOPERM"), std::string::npos) << refused.ToString();
  EXPECT_NE(cluster.server(from).Ask({"INFO", "errorstats"}).text.find("errorstat_ASK"), std::string::npos);
  ASSERT_TRUE(store.Delete(Key(7)).ok());
  ASSERT_TRUE(store.Put(Key(7), Value(7)).ok());
  EXPECT_EQ(cluster.server(to).Ask({"CLUSTER", "COUNTKEYSINSLOT", std::to_string(slot)}).integer, 1);
  EXPECT_EQ(Scanned(&store), 60u) << "once, though two servers know the slot";
  cluster.EndMove(slot, to);
  ExpectAll(&store, 60);  // by MOVED
  EXPECT_EQ(Scanned(&store), 60u);
}

TEST_F(RedisClusterTest, ReadersMissNothingWhileSlotsMove) {
  RedisCluster cluster;
  RedisStore store(RedisOptionsFor(cluster.address()));
  constexpr uint64_t kRecords = 40;
  Fill(&store, kRecords);
  std::atomic<bool> done = false;
  std::atomic<uint64_t> reads = 0;
  std::thread reader([&] {
    for (uint64_t n = 0; !done; n = (n + 1) % kRecords, ++reads)
      EXPECT_EQ(store.Get(Key(n)).status().ToString(), "ok") << n;
  });
  for (uint64_t n = 0; n < 10; ++n) {
    const uint16_t slot = SlotOf(n);
    const size_t from = cluster.OwnerOf(slot);
    const size_t to = (from + 1) % kServers;
    cluster.BeginMove(slot, from, to);
    cluster.MoveKeys(slot, from, to);
    cluster.EndMove(slot, to);
  }
  const uint64_t before = reads;
  while (reads < before + kRecords) std::this_thread::yield();
  done = true;
  reader.join();
}

TEST_F(RedisClusterTest, AServerThatIsGoneCostsItsSlotsAlone) {
  RedisCluster cluster;
  RedisStoreOptions options = RedisOptionsFor(cluster.address());
  RedisStore store(std::move(options));
  Fill(&store, 60);
  constexpr size_t kGone = 1;
  cluster.server(kGone).Kill();
  const auto is_gone = [&](uint64_t n) { return cluster.OwnerOf(SlotOf(n)) == kGone; };
  size_t lost = 0;
  for (uint64_t n = 0; n < 60; ++n) {
    const Result<std::string> got = store.Get(Key(n));
    EXPECT_EQ(got.ok(), !is_gone(n)) << n << ": " << got.status().ToString();
    if (got.ok()) continue;
    ++lost;
    EXPECT_TRUE(store.WorksInPart());
    EXPECT_FALSE(store.Contains(Key(n))) << "it was known, but cannot be read now";
    EXPECT_TRUE(store.IsLeftAlone(Key(n)));
    EXPECT_EQ(store.Put(Key(n), "x").code(), Code::kUnavailable);
    EXPECT_FALSE(store.Delete(Key(n)).ok()) << "it may still be there";
  }
  EXPECT_GT(lost, 5u);
  // A question ends at the first hole, and is no failure.
  RedisStore other(RedisOptionsFor(cluster.address()));
  const std::vector<BlockKey> keys = Keys(60);
  ASSERT_TRUE(other.Find(std::span(keys).first(8)).ok());
  for (uint64_t n = 0; n < 8; ++n) EXPECT_EQ(other.Knows(Key(n)), !is_gone(n)) << n;
  ASSERT_TRUE(other.AskUsage().ok());
  size_t scanned = 0;
  const Status scan = other.Scan([&](const BlockKey&, std::string_view) { return ++scanned > 0; });
  EXPECT_FALSE(scan.ok()) << "a part was not scanned";
  EXPECT_EQ(scanned, 60 - lost);
}

TEST_F(RedisClusterTest, AStoppedServerIsAskedOnceInAPause) {
  RedisCluster cluster;
  RedisStoreOptions options = RedisOptionsFor(cluster.address());
  options.call_nanos = kSecond / 2;
  options.nanos_per_byte = 0;
  RedisStore store(std::move(options));
  Fill(&store, 60);
  constexpr size_t kStopped = 2;
  cluster.server(kStopped).Stop();
  std::vector<uint64_t> away;
  for (uint64_t n = 0; n < 60; ++n)
    if (cluster.OwnerOf(SlotOf(n)) == kStopped) away.push_back(n);
  ASSERT_GT(away.size(), 5u);
  EXPECT_EQ(store.Get(Key(away[0])).status().code(), Code::kIo) << "the time was up";
  size_t left_alone = 0;
  for (size_t i = 1; i < away.size(); ++i) {
    const Status status = store.Get(Key(away[i])).status();
    if (status.message().find("left alone") != std::string::npos) ++left_alone;
  }
  EXPECT_GT(left_alone, 0u);
  cluster.server(kStopped).Continue();
  Result<std::string> got = store.Get(Key(away[0]));
  for (int tries = 0; tries < 6000 && !got.ok(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    got = store.Get(Key(away[0]));
  }
  EXPECT_EQ(*got, Value(away[0]));
}

// They answer in the call in which it does not, whichever of them it is.
TEST_F(RedisClusterTest, AServerThatHangsLeavesTheOthersTheirTime) {
  RedisCluster& cluster = SharedCluster();
  RedisStore filler(RedisOptionsFor(cluster.address()));
  std::vector<uint64_t> numbers;  // two for each server, in turn
  for (size_t i = 0; i < 2 * kServers; ++i) {
    uint64_t n = numbers.empty() ? 0 : numbers.back() + 1;
    while (cluster.OwnerOf(SlotOf(n)) != i % kServers) ++n;
    numbers.push_back(n);
    ASSERT_TRUE(filler.Put(Key(n), Value(n)).ok());
  }
  std::vector<BlockKey> keys;
  for (const uint64_t n : numbers) keys.push_back(Key(n));
  for (size_t hangs = 0; hangs < kServers; ++hangs) {
    RedisStoreOptions options = RedisOptionsFor(cluster.address());
    options.connect_nanos = options.find_nanos = kSecond / 2;
    RedisStore store(std::move(options));
    const std::vector<BlockKey> other{Key(numbers.back() + 1)};
    ASSERT_TRUE(store.Find(other).ok()) << "it has the map now";
    cluster.server(hangs).Stop();
    EXPECT_EQ(store.Find(keys).ToString(), "ok");
    cluster.server(hangs).Continue();
    for (size_t i = 0; i < keys.size(); ++i)
      EXPECT_EQ(store.Knows(keys[i]), i % kServers != hangs) << i << " while " << hangs << " hangs";
  }
}

TEST_F(RedisClusterTest, AServerThatTookAnothersPlaceIsFound) {
  RedisCluster cluster({}, 2);
  RedisStore store(RedisOptionsFor(cluster.address()));
  Fill(&store, 20);
  cluster.server(1).Kill();
  uint64_t lost = 0;
  while (cluster.OwnerOf(SlotOf(lost)) != 1) ++lost;
  EXPECT_FALSE(store.Get(Key(lost)).ok());
  // As a replica does after a failover: it takes the slots over.
  const std::string slot = std::to_string(SlotOf(lost));
  cluster.server(0).Ask({"CLUSTER", "DELSLOTS", slot});
  EXPECT_EQ(cluster.server(0).Ask({"CLUSTER", "ADDSLOTS", slot}).text, "OK");
  Status put = store.Put(Key(lost), "again");
  for (int tries = 0; tries < 6000 && !put.ok(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    put = store.Put(Key(lost), "again");
  }
  EXPECT_TRUE(put.ok()) << put.ToString();
  EXPECT_EQ(*store.Get(Key(lost)), "again");
}

TEST_F(RedisClusterTest, AUserWhoMayNotAskForTheMapIsRedirected) {
  RedisCluster& cluster = SharedCluster();
  for (size_t i = 0; i < kServers; ++i) {
    EXPECT_EQ(cluster.server(i)
                  .Ask({"ACL", "SETUSER", "cache", "on", ">secret", "~prefixd:*", "+get", "+set", "+exists",
                        "+getrange", "+del", "+scan", "+info", "+asking"})
                  .text,
              "OK");
  }
  RedisStoreOptions options = RedisOptionsFor(cluster.address());
  options.address.user = "cache";
  options.address.password = "secret";
  RedisStore store(std::move(options));
  Fill(&store, 60);
  ExpectAll(&store, 60);
  ASSERT_TRUE(store.Find(Keys(60)).ok());
  EXPECT_EQ(Scanned(&store), 60u);
}

// --- Clusters that lie ---

std::string Bulk(const std::string& text) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}
std::string MapTo(const std::string& host, uint16_t port) {
  return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n" + Bulk(host) + ":" + std::to_string(port) + "\r\n";
}

TEST(RedisClusterLies, RedirectionsEnd) {
  // Nobody listens at port 1. One that was free a moment ago may be the server's own.
  for (const char* host : {"127.0.0.1", ""}) {
    for (const char* kind : {"MOVED", "ASK"}) {
      const std::string to = std::string(kind) + " " + std::to_string(SlotOf(1)) + " " + host + ":1";
      SCOPED_TRACE(to);
      ScriptedServer server([&](uint16_t) { return "-" + to + "\r\n"; });
      RedisStore store(RedisOptionsFor({.host = "127.0.0.1", .port = server.port()}));
      EXPECT_EQ(store.Get(Key(1)).status().code(), Code::kUnavailable);
    }
  }
}

TEST(RedisClusterLies, ACircleOfRedirectionsEnds) {
  ScriptedServer server([](uint16_t port) {
    return "-MOVED " + std::to_string(SlotOf(1)) + " 127.0.0.1:" + std::to_string(port) + "\r\n";
  });
  RedisStore store(RedisOptionsFor({.host = "127.0.0.1", .port = server.port()}));
  const Status status = store.Get(Key(1)).status();
  EXPECT_NE(status.message().find("without end"), std::string::npos) << status.ToString();
  EXPECT_LE(server.answers(), RedisNodes::kMostRedirections + 3);
}

TEST(RedisClusterLies, ARedirectionThatIsTooLongIsNotRead) {
  ScriptedServer server([](uint16_t port) {
    return "-MOVED " + std::to_string(SlotOf(1)) + std::string(20'000, ' ') +
           "127.0.0.1:" + std::to_string(port) + "\r\n";
  });
  RedisStore store(RedisOptionsFor({.host = "127.0.0.1", .port = server.port()}));
  const std::vector<BlockKey> keys{Key(1)};
  const Status status = store.Find(keys);
  EXPECT_NE(status.message().find("more than was asked for"), std::string::npos) << status.ToString();
}

// Some proxies close the connection when they are asked for the map.
TEST(RedisClusterLies, AServerThatAnswersAllButTheMapIsNoCluster) {
  if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
  const RedisServer server;
  PickyProxy proxy(server.address().port, "CLUSTER");
  RedisStore store(RedisOptionsFor({.host = "127.0.0.1", .port = proxy.port()}));
  for (uint64_t n = 0; n < 3; ++n) {
    ASSERT_TRUE(store.Put(Key(n), "record").ok()) << n;
    EXPECT_EQ(*store.Get(Key(n)), "record");
  }
  EXPECT_EQ(proxy.closed(), 1) << "it is asked once";
  EXPECT_TRUE(store.AskUsage().ok());
  EXPECT_GT(store.bytes(), 0u);
}

TEST(RedisClusterLies, AnotherSlotIsNotFollowed) {
  const uint16_t other = static_cast<uint16_t>((SlotOf(1) + 1) % kRedisSlots);
  ScriptedServer server([other](uint16_t port) {
    return "-MOVED " + std::to_string(other) + " 127.0.0.1:" + std::to_string(port) + "\r\n";
  });
  RedisStore store(RedisOptionsFor({.host = "127.0.0.1", .port = server.port()}));
  const Status status = store.Get(Key(1)).status();
  EXPECT_NE(status.message().find("no server"), std::string::npos) << status.ToString();
  EXPECT_EQ(server.answers(), 2) << "the map, and the record";
}

TEST(RedisClusterLies, ServersThatAreNoneAreLeftOut) {
  for (const std::string& map :
       {MapTo("?", 1), MapTo("a b", 1), MapTo("127.0.0.1", 0), std::string("*0\r\n")}) {
    ScriptedServer server([&](uint16_t) { return map; });
    RedisStore store(RedisOptionsFor({.host = "127.0.0.1", .port = server.port()}));
    EXPECT_EQ(store.Get(Key(1)).status().code(), Code::kIo) << "the map is no record";
    EXPECT_EQ(server.answers(), 2) << map;
  }
}

}  // namespace
}  // namespace prefixd
