// HotListWriter against Debian's redis-server: what daemons tell each other about the blocks that they use.
#include "daemon/hot_list_writer.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/eventually.h"
#include "tests/support/redis_server.h"

namespace prefixd {
namespace {

using testing_support::Eventually;

const SystemClock kClock;
constexpr BlockKey kModel{.low = 7, .high = 9};
constexpr int kBlock = 4;
constexpr int64_t kSecond = 1'000'000'000;
constexpr std::chrono::milliseconds kSoon{10};

BlockKeys KeysOf(TokenId token, int blocks) {
  BlockKeys keys(RootKey(kModel, ""), kBlock);
  keys.Extend(std::vector<TokenId>(static_cast<size_t>(blocks * kBlock), token));
  return keys;
}

class HotListWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
  }
  static RemoteTier::Options OptionsFor(const RedisServer& server, int64_t call_nanos = 20 * kSecond) {
    RemoteTier::Options options;
    options.store = {.address = server.address(),
                     .fingerprint = kModel,
                     .clock = &kClock,
                     .connect_nanos = 20 * kSecond,
                     .find_nanos = 20 * kSecond,
                     .call_nanos = call_nanos};
    return options;
  }
  static std::map<BlockKey, float> Heats(RemoteTier* tier) {
    const Result<std::string> bytes = tier->GetHotList(HotList::kMostBytes);
    uint64_t written = 0;
    if (!bytes.ok()) return {};
    const Result<HotList> list = HotList::Decode(*bytes, kModel, &written);
    std::map<BlockKey, float> heats;
    if (list.ok())
      for (const HotBlock& block : list->blocks()) heats[block.key] = block.heat;
    return heats;
  }
};

TEST_F(HotListWriterTest, DaemonsMergeWhatTheyServed) {
  const RedisServer server;
  RemoteTier tier(OptionsFor(server));
  HotListWriter one(kModel, kBlock, &tier, &kClock, kSoon), two(kModel, kBlock, &tier, &kClock, kSoon);
  const BlockKeys first = KeysOf(1, 3), second = KeysOf(2, 3);
  for (int i = 0; i < 5; ++i) one.counts()->Add(first, 2 * kBlock + 1);
  ASSERT_TRUE(Eventually([&] { return Heats(&tier).size() == 2; }));
  two.counts()->Add(first, kBlock);
  two.counts()->Add(second, 3 * kBlock);
  ASSERT_TRUE(Eventually([&] { return Heats(&tier).size() == 5; }));
  const std::map<BlockKey, float> heats = Heats(&tier);
  EXPECT_NEAR(heats.at(first.key(0)), 5, 0.1) << "the greater heat counts";
  EXPECT_NEAR(heats.at(first.key(1)), 5, 0.1);
  EXPECT_NEAR(heats.at(second.key(2)), 1, 0.1);
  EXPECT_FALSE(heats.contains(first.key(2))) << "nobody took it from the cache";
  EXPECT_EQ(two.stats().blocks, 5u);
}

TEST_F(HotListWriterTest, ADamagedListIsReplaced) {
  const RedisServer server;
  RemoteTier tier(OptionsFor(server));
  for (const std::string& damage : {std::string("garbage"), std::string(3 << 18, 'x')}) {
    ASSERT_TRUE(tier.PutHotList(damage).ok());
    HotListWriter writer(kModel, kBlock, &tier, &kClock, kSoon);
    writer.counts()->Add(KeysOf(1, 3), 3 * kBlock);
    EXPECT_TRUE(Eventually([&] { return Heats(&tier).size() == 3; })) << damage.size();
  }
}

TEST_F(HotListWriterTest, WhatAStoppedStoreDidNotTakeItGetsLater) {
  const RedisServer server;
  RemoteTier tier(OptionsFor(server, kSecond / 10));
  HotListWriter writer(kModel, kBlock, &tier, &kClock, kSoon);
  server.Stop();
  writer.counts()->Add(KeysOf(1, 3), 3 * kBlock);
  ASSERT_TRUE(Eventually([&] { return tier.stats().failures > 0; }));
  EXPECT_EQ(writer.stats().writes, 0u);
  server.Continue();
  EXPECT_TRUE(Eventually([&] { return writer.stats().writes > 0; }));
  EXPECT_EQ(Heats(&tier).size(), 3u);
}

TEST(HotBlocks, CountsAreBoundedAndGoWithTheirParents) {
  HotBlocks counts(kBlock, 4);
  counts.Add(KeysOf(1, 3), 3 * kBlock);
  counts.Add(KeysOf(2, 3), 3 * kBlock);  // only its first block has room
  counts.Add(KeysOf(2, 3), 3 * kBlock);
  counts.Add(KeysOf(1, 3), 100 * kBlock);
  const HotBlocks::Counts taken = counts.Take();
  EXPECT_EQ(taken.size(), 4u);
  EXPECT_EQ(taken.at(KeysOf(1, 3).key(2)).hits, 2u);
  EXPECT_EQ(taken.at(KeysOf(1, 3).key(2)).depth, 2u);
  EXPECT_EQ(taken.at(KeysOf(2, 3).key(0)).hits, 2u);
  EXPECT_TRUE(counts.Take().empty());
}

}  // namespace
}  // namespace prefixd
