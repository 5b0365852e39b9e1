// Leases of daemons that share a store: RemoteTiers against Debian's redis-server.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "daemon/remote_tier.h"
#include "tests/support/eventually.h"
#include "tests/support/redis_cluster.h"
#include "tests/support/redis_server.h"
#include "tests/support/stepped_clock.h"

namespace prefixd {
namespace {

using testing_support::Eventually;
using testing_support::SteppedClock;

const SystemClock kClock;
constexpr int64_t kSecond = 1'000'000'000;
constexpr double kSeconds = 600;  // that computing a prefix takes

using enum RemoteLease;

// The keys of a sequence.
std::vector<BlockKey> Keys(uint64_t sequence, size_t blocks) {
  std::vector<BlockKey> keys;
  for (size_t n = 0; n < blocks; ++n) keys.push_back({.low = sequence * 1000 + n, .high = n});
  return keys;
}

class RemoteLeasesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
    server_ = std::make_unique<RedisServer>();
  }
  RedisStoreOptions StoreOptions() const {
    return {.address = server_->address(),
            .fingerprint = {.low = 1, .high = 2},
            .clock = &kClock,
            .max_record_bytes = 1 << 20,
            .connect_nanos = 20 * kSecond,
            .find_nanos = 20 * kSecond,
            .call_nanos = 20 * kSecond};
  }
  // Its leases last longer than any test: another process may have the processor.
  RemoteTier::Options DaemonOptions(uint64_t holder) const {
    RemoteTier::Options options;
    options.store = StoreOptions();
    options.leases.holder = holder;
    options.leases.shortest_nanos = options.leases.longest_nanos = options.leases.write_nanos = 300 * kSecond;
    return options;
  }
  std::unique_ptr<RemoteTier> Daemon(uint64_t holder) const {
    return std::make_unique<RemoteTier>(DaemonOptions(holder));
  }
  static RemoteQuestion Ask(const std::vector<BlockKey>& keys, uint64_t asker = 1,
                            double seconds = kSeconds) {
    return {.keys = keys, .seconds = seconds, .asker = asker};
  }
  // What it says at last.
  static RemoteAnswer Answer(RemoteTier* tier, const RemoteQuestion& question) {
    RemoteAnswer answer = RemoteAnswer::kAsked;
    EXPECT_TRUE(Eventually([&] { return (answer = tier->Find(question)) != RemoteAnswer::kAsked; }));
    return answer;
  }
  static uint64_t Count(const RemoteTier& tier, RemoteLease what) {
    return tier.stats().leases[static_cast<size_t>(what)];
  }
  static void Write(RemoteTier* tier, const std::vector<BlockKey>& keys, size_t begin, size_t end) {
    for (size_t n = begin; n < end; ++n) ASSERT_TRUE(tier->Put(keys[n], "record").ok());
  }
  // Whether the store has a lease of the segment that begins with this block.
  bool IsLeased(const BlockKey& key) const {
    RedisStore store(StoreOptions());
    const std::vector<RedisStore::Mark> mark{{.kind = "lease", .key = key, .value = ""}};
    const auto values = store.GetMarks(mark);
    EXPECT_TRUE(values.ok());
    return values.ok() && !values->front().empty();
  }

  std::unique_ptr<RedisServer> server_;
};

TEST_F(RemoteLeasesTest, OneComputesAndOthersGetTheBlocks) {
  const std::vector<BlockKey> keys = Keys(1, 150);
  const auto a = Daemon(1), b = Daemon(2), c = Daemon(3);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown) << "it computes";
  EXPECT_FALSE(a->IsWanted(1));
  EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kComputed);
  ASSERT_TRUE(Eventually([&] { return a->IsWanted(1); }));
  Write(a.get(), keys, 0, 100);
  ASSERT_TRUE(Eventually([&] { return b->Contains(keys[99]); })) << "as they come";
  EXPECT_EQ(b->Find(Ask(keys)), RemoteAnswer::kComputed) << "the rest";
  EXPECT_EQ(Answer(c.get(), Ask(keys)), RemoteAnswer::kComputed) << "one that comes later";
  Write(a.get(), keys, 100, 150);
  a->End(1, 150, RemoteEnd::kOver);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);
  for (RemoteTier* tier : {b.get(), c.get()}) {
    ASSERT_TRUE(Eventually([&] { return tier->Find(Ask(keys)) == RemoteAnswer::kKnown; }));
    EXPECT_TRUE(tier->Contains(keys.back()));
    EXPECT_EQ(Count(*tier, kTaken), 0u);
    EXPECT_EQ(Count(*tier, kWaited), 1u);
    EXPECT_EQ(Count(*tier, kMissed), 0u);
  }
  EXPECT_EQ(Count(*a, kTaken), 1u);
  EXPECT_EQ(Count(*a, kWanted), 1u);
  ASSERT_TRUE(Eventually([&] { return !IsLeased(keys[0]) && !IsLeased(keys[128]); })) << "it gives them back";
}

TEST_F(RemoteLeasesTest, WhatNobodyWaitsForIsNotWritten) {
  const std::vector<BlockKey> keys = Keys(1, 20);
  const auto a = Daemon(1);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);
  EXPECT_EQ(Count(*a, kTaken), 1u);
  EXPECT_TRUE(IsLeased(keys[0]));
  a->End(1, 20, RemoteEnd::kOver);
  ASSERT_TRUE(Eventually([&] { return !IsLeased(keys[0]); }));
  EXPECT_EQ(Count(*a, kWanted), 0u);
  EXPECT_FALSE(a->IsWanted(1));
}

TEST_F(RemoteLeasesTest, WhatIsComputedSoonIsNotLeased) {
  const std::vector<BlockKey> keys = Keys(1, 20);
  const auto a = Daemon(1), b = Daemon(2);
  EXPECT_EQ(Answer(a.get(), Ask(keys, 1, 0.4)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(keys, 1, 0)), RemoteAnswer::kKnown) << "it is not known how long it takes";
  EXPECT_FALSE(IsLeased(keys[0]));
  EXPECT_EQ(Count(*a, kTaken) + Count(*b, kTaken), 0u);
}

TEST_F(RemoteLeasesTest, WhenTheHolderIsKilledOneOtherTakesOver) {
  const std::vector<BlockKey> keys = Keys(1, 100);
  auto a = Daemon(1);
  const auto b = Daemon(2), c = Daemon(3);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kComputed);
  EXPECT_EQ(Answer(c.get(), Ask(keys)), RemoteAnswer::kComputed);
  Write(a.get(), keys, 0, 30);
  ASSERT_TRUE(Eventually([&] { return b->Contains(keys[29]) && c->Contains(keys[29]); }));
  a.reset();  // without an End: the leases stay until their time is over, which is now
  RedisStore store(StoreOptions());
  for (const size_t segment : {0, 64}) {
    ASSERT_TRUE(IsLeased(keys[segment]));
    const std::vector<RedisStore::Mark> mark{{.kind = "lease", .key = keys[segment], .value = ""}};
    ASSERT_TRUE(store.DeleteMarks(mark).ok());
  }
  ASSERT_TRUE(Eventually([&] { return Count(*b, kTaken) + Count(*c, kTaken) == 1; }));
  RemoteTier* const next = Count(*b, kTaken) == 1 ? b.get() : c.get();
  RemoteTier* const last = next == b.get() ? c.get() : b.get();
  EXPECT_EQ(Answer(next, Ask(keys)), RemoteAnswer::kKnown) << "it computes the rest";
  EXPECT_FALSE(next->Contains(keys[30]));
  EXPECT_EQ(last->Find(Ask(keys)), RemoteAnswer::kComputed) << "and the other waits for it";
  ASSERT_TRUE(Eventually([&] { return next->IsWanted(1); }));
  Write(next, keys, 30, 100);
  next->End(1, 100, RemoteEnd::kOver);
  ASSERT_TRUE(Eventually([&] { return last->Find(Ask(keys)) == RemoteAnswer::kKnown; }));
  EXPECT_TRUE(last->Contains(keys[99]));
  EXPECT_EQ(Count(*last, kTaken), 0u);
}

TEST_F(RemoteLeasesTest, PrefixesThatPartWaitForWhatIsCommon) {
  const std::vector<BlockKey> keys = Keys(1, 100);
  std::vector<BlockKey> other = Keys(2, 100);
  std::copy(keys.begin(), keys.begin() + 80, other.begin());
  const auto a = Daemon(1), b = Daemon(2);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(other)), RemoteAnswer::kComputed);
  Write(a.get(), keys, 0, 80);
  ASSERT_TRUE(Eventually([&] { return b->Find(Ask(other)) == RemoteAnswer::kKnown; }))
      << "from there on it computes by itself, while the other goes on";
  EXPECT_TRUE(b->Contains(keys[79]));
  EXPECT_TRUE(IsLeased(keys[0])) << "the other goes on";
  EXPECT_EQ(Count(*b, kMissed), 0u);
}

TEST_F(RemoteLeasesTest, ARequestThatEndsGivesItsLeaseBack) {
  const std::vector<BlockKey> keys = Keys(1, 100);
  const auto a = Daemon(1), b = Daemon(2);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kComputed);
  ASSERT_TRUE(Eventually([&] { return a->IsWanted(1); }));
  Write(a.get(), keys, 0, 10);
  a->End(1, 10, RemoteEnd::kOver);  // cancelled
  ASSERT_TRUE(Eventually([&] { return b->Find(Ask(keys)) == RemoteAnswer::kKnown; }));
  EXPECT_TRUE(b->Contains(keys[9]));
  EXPECT_EQ(Count(*b, kTaken), 1u) << "it computes the rest";
  b->End(1, 10, RemoteEnd::kOver);
  ASSERT_TRUE(Eventually([&] { return !IsLeased(keys[0]); }));
}

TEST_F(RemoteLeasesTest, AStoreThatFailsEndsAllWaits) {
  const std::vector<BlockKey> keys = Keys(1, 100);
  const auto a = Daemon(1), b = Daemon(2);
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kComputed);
  server_->Kill();
  ASSERT_TRUE(Eventually([&] { return b->Find(Ask(keys)) == RemoteAnswer::kKnown; }));
  EXPECT_FALSE(a->IsWanted(1));
  a->End(1, 100, RemoteEnd::kOver);
  EXPECT_FALSE(b->stats().failure.empty());
}

TEST_F(RemoteLeasesTest, OneServerOfSeveralThatFailsEndsTheWaitsForItAlone) {
  RedisCluster cluster;
  constexpr size_t kGoes = 1;
  const auto is_there = [&](const std::string& kind, const BlockKey& key) {
    return cluster.OwnerOf(RedisSlotOf("prefixd:" + kind + ":0000000000000002:" + ToHex(key))) == kGoes;
  };
  // A sequence of which that server has all records, or neither a record nor a mark.
  const auto sequence = [&](bool goes) {
    std::vector<BlockKey> keys;
    while (keys.size() < 4) {
      BlockKey key{.low = keys.empty() ? goes : keys.back().low, .high = keys.size()};
      const auto fits = [&] {
        if (goes) return is_there("1", key);
        return !is_there("1", key) && !is_there("lease", key) && !is_there("wanted", key);
      };
      do ++key.low;
      while (!fits());
      keys.push_back(key);
    }
    return keys;
  };
  const std::vector<BlockKey> stays = sequence(false), goes = sequence(true);
  const auto daemon = [&](uint64_t holder) {
    RemoteTier::Options options = DaemonOptions(holder);
    options.store.address = cluster.address();
    return std::make_unique<RemoteTier>(std::move(options));
  };
  const auto a = daemon(1), b = daemon(2);
  EXPECT_EQ(Answer(a.get(), Ask(stays, 1)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(a.get(), Ask(goes, 2)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(stays, 1)), RemoteAnswer::kComputed);
  EXPECT_EQ(Answer(b.get(), Ask(goes, 2)), RemoteAnswer::kComputed);
  ASSERT_TRUE(Eventually([&] { return a->IsWanted(1); }));
  cluster.server(kGoes).Kill();
  ASSERT_TRUE(Eventually([&] { return b->Find(Ask(goes, 2)) == RemoteAnswer::kKnown; }));
  EXPECT_EQ(Count(*b, kMissed), 1u);
  EXPECT_EQ(b->Find(Ask(stays, 1)), RemoteAnswer::kComputed) << "this one goes on";
  Write(a.get(), stays, 0, 4);
  ASSERT_TRUE(Eventually([&] { return b->Find(Ask(stays, 1)) == RemoteAnswer::kKnown; }));
  EXPECT_TRUE(b->Contains(stays[3]));
  EXPECT_EQ(Count(*b, kMissed), 1u);
  EXPECT_NE(b->stats().failure.find("the others work"), std::string::npos) << b->stats().failure;
}

TEST_F(RemoteLeasesTest, AStoreThatLiesCostsOneWait) {
  const std::vector<BlockKey> keys = Keys(1, 100), others = Keys(2, 100);
  const auto a = Daemon(1);
  SteppedClock clock;
  RemoteTier::Options options = DaemonOptions(2);
  options.store.clock = &clock;
  const auto b = std::make_unique<RemoteTier>(std::move(options));
  EXPECT_EQ(Answer(a.get(), Ask(keys)), RemoteAnswer::kKnown);  // it computes nothing, and never ends
  EXPECT_EQ(Answer(a.get(), Ask(others, 2)), RemoteAnswer::kKnown);
  EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kComputed);
  b->End(1, 0, RemoteEnd::kWaitedInVain);
  EXPECT_EQ(Count(*b, kMissed), 1u);
  EXPECT_EQ(Answer(b.get(), Ask(others, 2)), RemoteAnswer::kKnown) << "it does not wait again for a while";
  EXPECT_EQ(Count(*b, kWaited), 1u);
  clock.Advance(3 * kSecond);
  EXPECT_EQ(Answer(b.get(), Ask(others, 3)), RemoteAnswer::kComputed) << "then it does";
}

TEST_F(RemoteLeasesTest, ALeaseThatIsNotRenewedEnds) {
  const std::vector<BlockKey> keys = Keys(1, 20);
  SteppedClock clock;  // it stands still, so the leases are not renewed
  RemoteTier::Options options = DaemonOptions(1);
  options.store.clock = &clock;
  options.leases.shortest_nanos = options.leases.longest_nanos = kSecond / 10;
  RemoteTier a(std::move(options));
  EXPECT_EQ(Answer(&a, Ask(keys)), RemoteAnswer::kKnown);
  EXPECT_EQ(Count(a, kTaken), 1u);
  EXPECT_TRUE(Eventually([&] { return !IsLeased(keys[0]); }));
}

TEST_F(RemoteLeasesTest, ValuesThatAreNoLeaseAreNotWaitedFor) {
  const std::vector<BlockKey> keys = Keys(1, 100);
  RedisStore store(StoreOptions());
  for (const std::string value : {"x", "0000000000000001:0000000000000001 ", "\xff\xfe"}) {
    const std::vector<RedisStore::Mark> mark{{.kind = "lease", .key = keys[0], .value = value}};
    ASSERT_TRUE(store.SetMarks(mark, RedisStore::SetMark::kAlways, 60'000).ok());
    const auto b = Daemon(2);
    EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kKnown) << value;
    EXPECT_EQ(Count(*b, kWaited), 0u);
  }
}

TEST_F(RemoteLeasesTest, WriteThroughHoldsTheLeaseUntilAllIsWritten) {
  const std::vector<BlockKey> keys = Keys(1, 20);
  RemoteTier::Options options = DaemonOptions(7);
  options.leases.all_wanted = true;
  RemoteTier a(std::move(options));
  EXPECT_TRUE(a.IsWanted(0));
  EXPECT_EQ(Answer(&a, Ask(keys)), RemoteAnswer::kKnown);
  a.End(1, 20, RemoteEnd::kOver);
  const auto b = Daemon(2);
  EXPECT_EQ(Answer(b.get(), Ask(keys)), RemoteAnswer::kComputed) << "it will be written";
  Write(&a, keys, 0, 20);
  ASSERT_TRUE(Eventually([&] { return b->Find(Ask(keys)) == RemoteAnswer::kKnown; }));
  EXPECT_TRUE(b->Contains(keys[19]));
}

}  // namespace
}  // namespace prefixd
