#include "storage/redis_store.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/storage/redis_store_home.h"
#include "tests/support/redis_server.h"
#include "tests/support/scripted_server.h"

namespace prefixd {
namespace {

const SystemClock& kClock = kRedisClock;

RedisStoreOptions OptionsFor(const RedisAddress& address) { return RedisOptionsFor(address); }

class OneServer final : public RedisHome {
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    if (server_ == nullptr)
      server_ = std::make_unique<RedisServer>(
          std::vector<std::string>{"--maxmemory", std::to_string(kRedisCapacity)});
    return RedisHome::Open(RedisOptionsFor(server_->address()), std::move(on_drop));
  }
  std::unique_ptr<RedisServer> server_;
};
INSTANTIATE_TEST_SUITE_P(RedisStore, BlockStoreContract, testing::Values(HomeOf<OneServer>("redis")));

class RedisStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
  }
  static BlockKey Key(uint64_t n) { return {.low = n, .high = n}; }
};

TEST_F(RedisStoreTest, TwoStoresShareRecordsOfOneModel) {
  const RedisServer server;
  RedisStore a(OptionsFor(server.address()));
  RedisStore b(OptionsFor(server.address()));
  RedisStoreOptions other = OptionsFor(server.address());
  other.fingerprint = {.low = 7, .high = 1};
  RedisStore stranger(std::move(other));
  ASSERT_TRUE(a.Put(Key(1), "one").ok());
  EXPECT_FALSE(b.Contains(Key(1))) << "nobody has asked the server";
  EXPECT_EQ(b.Knows(Key(1)), std::nullopt);
  const std::vector<BlockKey> keys{Key(1), Key(2)};
  ASSERT_TRUE(b.Find(keys).ok());
  EXPECT_TRUE(b.Contains(Key(1)));
  EXPECT_EQ(b.Knows(Key(2)), false);
  EXPECT_EQ(*b.Get(Key(1)), "one");
  ASSERT_TRUE(stranger.Find(keys).ok());
  EXPECT_FALSE(stranger.Contains(Key(1)));
}

TEST_F(RedisStoreTest, FindStopsAtTheFirstHole) {
  const RedisServer server;
  RedisStore a(OptionsFor(server.address()));
  RedisStore b(OptionsFor(server.address()));
  std::vector<BlockKey> keys;
  for (uint64_t n = 0; n < 300; ++n) {
    keys.push_back(Key(n));
    if (n == 20) continue;
    ASSERT_TRUE(a.Put(Key(n), "x").ok());
  }
  ASSERT_TRUE(b.Find(keys).ok());
  for (uint64_t n = 0; n < 20; ++n) EXPECT_EQ(b.Knows(Key(n)), true) << n;
  EXPECT_EQ(b.Knows(Key(20)), false);
  EXPECT_EQ(b.Knows(Key(299)), std::nullopt) << "it was not asked for";
}

TEST_F(RedisStoreTest, WhatIsKnownIsForgottenInTime) {
  const RedisServer server;
  ManualClock clock;
  RedisStoreOptions options = OptionsFor(server.address());
  options.clock = &clock;
  options.present_nanos = 60 * kSecond;
  options.absent_nanos = 2 * kSecond;
  RedisStore store(std::move(options));
  ASSERT_TRUE(store.Put(Key(1), "one").ok());
  ASSERT_FALSE(store.Get(Key(2)).ok());
  clock.Advance(2 * kSecond);
  EXPECT_EQ(store.Knows(Key(2)), std::nullopt);
  EXPECT_EQ(store.Knows(Key(1)), true);
  clock.Advance(58 * kSecond);
  EXPECT_EQ(store.Knows(Key(1)), std::nullopt);
  EXPECT_FALSE(store.Contains(Key(1)));
}

TEST_F(RedisStoreTest, HeadsAndTheHotList) {
  const RedisServer server;
  RedisStore a(OptionsFor(server.address()));
  RedisStore b(OptionsFor(server.address()));
  ASSERT_TRUE(a.Put(Key(1), "a long record").ok());
  ASSERT_TRUE(a.Put(Key(3), "abc").ok());
  const std::vector<BlockKey> keys{Key(1), Key(2), Key(3)};
  const Result<std::vector<std::string>> heads = b.GetHeads(keys, 6);
  ASSERT_TRUE(heads.ok()) << heads.status().ToString();
  EXPECT_EQ(*heads, (std::vector<std::string>{"a long", "", "abc"}));
  EXPECT_EQ(b.Knows(Key(1)), true);
  EXPECT_EQ(b.Knows(Key(2)), false);
  EXPECT_EQ(b.GetHotList(100).status().code(), Code::kNotFound);
  ASSERT_TRUE(a.PutHotList(std::string(500, 'x')).ok());
  EXPECT_EQ(*b.GetHotList(500), std::string(500, 'x'));
  EXPECT_EQ(b.GetHotList(100)->size(), 101u) << "one that is too long is no failure of the server";
}

TEST_F(RedisStoreTest, TellsADropWhenItLooksForTheRecord) {
  const RedisServer server({"--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"});
  std::vector<BlockKey> dropped;
  RedisStoreOptions options = OptionsFor(server.address());
  options.on_drop = [&](const BlockKey& key, DropReason reason) {
    EXPECT_EQ(reason, DropReason::kEvicted);
    dropped.push_back(key);
  };
  RedisStore store(std::move(options));
  const auto record = [](uint64_t n) { return std::string(60'000, static_cast<char>('a' + n % 26)); };
  for (uint64_t n = 0; n < 300; ++n) ASSERT_TRUE(store.Put(Key(n), record(n)).ok());
  size_t kept = 0;
  for (uint64_t n = 0; n < 300; ++n) {
    const Result<std::string> got = store.Get(Key(n));
    EXPECT_EQ(store.Contains(Key(n)), got.ok());
    if (!got.ok()) {
      EXPECT_EQ(got.status().code(), Code::kNotFound);
      continue;
    }
    ++kept;
    EXPECT_EQ(*got, record(n));
  }
  EXPECT_GT(kept, 40u);
  EXPECT_EQ(dropped.size() + kept, 300u);
  ASSERT_TRUE(store.AskUsage().ok());
  EXPECT_EQ(store.capacity(), 8u << 20);
  EXPECT_GT(store.bytes(), 1u << 20);
}

TEST_F(RedisStoreTest, AFullServerRefusesRecordsAndKeepsThose) {
  const RedisServer server({"--maxmemory", "4mb", "--maxmemory-policy", "noeviction"});
  RedisStore store(OptionsFor(server.address()));
  Status status = Status::Ok();
  uint64_t put = 0;
  for (; put < 100 && status.ok(); ++put) status = store.Put(Key(put), std::string(100'000, 'x'));
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.ToString();
  ASSERT_GT(put, 2u);
  EXPECT_EQ(*store.Get(Key(0)), std::string(100'000, 'x'));
  EXPECT_FALSE(store.Contains(Key(put - 1)));
}

TEST_F(RedisStoreTest, RecordsGetTheAgeAfterWhichTheServerDropsThem) {
  const RedisServer server;
  RedisStoreOptions options = OptionsFor(server.address());
  options.max_age_seconds = 1000;
  RedisStore store(std::move(options));
  ASSERT_TRUE(store.Put(Key(1), "one").ok());
  auto connection = RedisConnection::Open(server.address(), &kClock, kClock.NowNanos() + 20 * kSecond);
  ASSERT_TRUE(connection.ok());
  const RedisConnection::Command command{"TTL",
                                         "prefixd:1:123456789abcdef0:00000000000000010000000000000001"};
  const auto replies = (*connection)->Call(std::span(&command, 1), 1000, kClock.NowNanos() + 20 * kSecond);
  ASSERT_TRUE(replies.ok());
  EXPECT_GT((*replies)[0].integer, 900);
  EXPECT_LE((*replies)[0].integer, 1000);
}

TEST_F(RedisStoreTest, AValueThatIsLongerThanARecordIsAMissOfThatRecord) {
  const RedisServer server;
  RedisStore store(OptionsFor(server.address()));
  const std::string name = "prefixd:1:123456789abcdef0:" + ToHex(Key(1));
  for (const size_t bytes : {size_t{1 << 20}, size_t{(1 << 20) + 1}, size_t{100 << 20}}) {
    // SETRANGE makes the value on the server.
    ASSERT_EQ(server.Ask({"SETRANGE", name, std::to_string(bytes - 1), "x"}).integer, int64_t(bytes));
    const Result<std::string> got = store.Get(Key(1));
    if (bytes <= 1 << 20) {
      EXPECT_EQ(got->size(), bytes);
      continue;
    }
    EXPECT_EQ(got.status().code(), Code::kCorrupt) << got.status().ToString();
    EXPECT_EQ(server.Ask({"EXISTS", name}).integer, 0) << "it is deleted";
    EXPECT_FALSE(store.Contains(Key(1)));
  }
  const std::string clients = server.Ask({"INFO", "stats"}).text;
  EXPECT_NE(clients.find("total_connections_received:8"), std::string::npos)
      << "one of the start, one of the store, six of Ask: it was not closed\n"
      << clients;
}

TEST_F(RedisStoreTest, AStoppedServerCostsTheTimeOfTheOptions) {
  const RedisServer server;
  RedisStoreOptions options = OptionsFor(server.address());
  options.call_nanos = options.find_nanos = kSecond;
  options.nanos_per_byte = 0;
  RedisStore store(std::move(options));
  ASSERT_TRUE(store.Put(Key(1), "one").ok());
  server.Stop();
  EXPECT_EQ(store.Get(Key(1)).status().code(), Code::kIo);
  EXPECT_EQ(store.Put(Key(2), "two").code(), Code::kIo);
  const std::vector<BlockKey> keys{Key(3)};
  EXPECT_EQ(store.Find(keys).code(), Code::kIo);
  EXPECT_EQ(store.Knows(Key(3)), std::nullopt);
  server.Continue();
  // The reply of a call that was given up is never taken for that of another.
  Result<std::string> got = store.Get(Key(1));
  for (int tries = 0; tries < 500 && !got.ok(); ++tries) got = store.Get(Key(1));
  EXPECT_EQ(*got, "one");
}

TEST_F(RedisStoreTest, AServerThatIsGoneIsUnavailable) {
  RedisServer server;
  RedisStore store(OptionsFor(server.address()));
  ASSERT_TRUE(store.Put(Key(1), "one").ok());
  server.Kill();
  EXPECT_FALSE(store.Get(Key(1)).ok());  // whether it is known by now that the connection is closed or not
  EXPECT_EQ(store.Get(Key(1)).status().code(), Code::kUnavailable);
  EXPECT_NE(store.Get(Key(1)).status().message().find("127.0.0.1"), std::string::npos);
}

TEST_F(RedisStoreTest, LogsInAndNeverSaysThePassword) {
  const RedisServer server({"--user", "cache", "on", ">pass%word", "~prefixd:*", "+@all", "-@dangerous",
                            "--user", "default", "off"});
  RedisStoreOptions options = OptionsFor(server.address());
  options.address.user = "cache";
  options.address.password = "pass%word";
  RedisStore store(options);
  ASSERT_TRUE(store.Put(Key(1), "one").ok());
  EXPECT_EQ(*store.Get(Key(1)), "one");
  options.address.password = "wrong-secret";
  RedisStore stranger(options);
  const Status refused = stranger.Put(Key(1), "two");
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_NE(refused.message().find("WRONGPASS"), std::string::npos) << refused.message();
  EXPECT_EQ(refused.message().find("wrong-secret"), std::string::npos);
  RedisStore nobody(OptionsFor(server.address()));
  EXPECT_EQ(nobody.Put(Key(1), "two").code(), Code::kUnavailable);
}

// --- Servers that lie ---

TEST(RedisStoreLies, RepliesOfAnotherKindAreErrors) {
  for (const char* reply : {":1\r\n", "*0\r\n", "*-1\r\n", "-ERR no\r\n", "+OK", "$5\r\nab\r\n", "hello\r\n",
                            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", ""}) {
    ScriptedServer server(reply);
    RedisStoreOptions options = OptionsFor({.host = "127.0.0.1", .port = server.port()});
    RedisStore store(std::move(options));
    const Result<std::string> got = store.Get({.low = 1, .high = 1});
    EXPECT_FALSE(got.ok()) << reply;
    EXPECT_FALSE(store.Contains({.low = 1, .high = 1})) << reply;
  }
}

TEST(RedisStoreLies, LongAndWideRepliesTakeNoMemory) {
  for (const std::string& reply :
       {"$9000000000000000000\r\n" + std::string(4 << 20, 'x'), std::string("*2000000000\r\n"),
        std::string("*4097\r\n:1\r\n"), "$3000000\r\n" + std::string(3'000'000, 'x') + "\r\n"}) {
    ScriptedServer server(reply);
    RedisStore store(OptionsFor({.host = "127.0.0.1", .port = server.port()}));
    EXPECT_EQ(store.Get({.low = 1, .high = 1}).status().code(), Code::kIo) << reply.substr(0, 30);
  }
}

// The page says that there is another, always.
TEST(RedisStoreLies, AScanEnds) {
  const auto endless = [](uint16_t) { return std::string("*2\r\n$1\r\n1\r\n*0\r\n"); };
  ScriptedServer server(endless);
  RedisStoreOptions options = OptionsFor({.host = "127.0.0.1", .port = server.port()});
  options.scan_nanos = kSecond / 5;
  RedisStore store(std::move(options));
  const auto visit = [](const BlockKey&, std::string_view) { return true; };
  EXPECT_EQ(store.Scan(visit).code(), Code::kResourceExhausted);
  EXPECT_GT(server.answers(), 1);
}

TEST(RedisStoreLies, AScanCanBeStopped) {
  const auto endless = [](uint16_t) { return std::string("*2\r\n$1\r\n1\r\n*0\r\n"); };
  ScriptedServer server(endless);
  RedisStore store(OptionsFor({.host = "127.0.0.1", .port = server.port()}));
  std::atomic<bool> stop = false;
  std::thread stops([&] {
    while (server.answers() < 10) std::this_thread::yield();
    stop = true;
  });
  const auto visit = [](const BlockKey&, std::string_view) { return true; };
  EXPECT_EQ(store.ScanUntil(visit, &stop).code(), Code::kCancelled);
  stops.join();
}

TEST(RedisStoreLies, WhatAServerSaysIsNotPassedOn) {
  ScriptedServer server("-secret text of somebody\r\n");
  RedisStore store(OptionsFor({.host = "127.0.0.1", .port = server.port()}));
  const Status status = store.Get({.low = 1, .high = 1}).status();
  EXPECT_EQ(status.message().find("secret"), std::string::npos) << status.message();
}

// --- URLs ---

TEST(RedisUrl, HasItsParts) {
  const Result<RedisAddress> full = ParseRedisUrl("redis://me:p%40ss%3aword@[::1]:7000/3");
  ASSERT_TRUE(full.ok()) << full.status().ToString();
  EXPECT_EQ(full->user, "me");
  EXPECT_EQ(full->password, "p@ss:word");
  EXPECT_EQ(full->host, "::1");
  EXPECT_EQ(full->port, 7000);
  EXPECT_EQ(full->database, 3u);
  EXPECT_EQ(full->Name(), "redis://[::1]:7000/3");
  const Result<RedisAddress> plain = ParseRedisUrl("redis://cache.example");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->Name(), "redis://cache.example:6379/0");
  EXPECT_EQ(ParseRedisUrl("redis://:secret@host/")->password, "secret");
  const Result<RedisAddress> tls = ParseRedisUrl("rediss://cache.example:7001");
  ASSERT_TRUE(tls.ok());
  EXPECT_TRUE(tls->tls && !plain->tls);
  EXPECT_EQ(tls->Name(), "rediss://cache.example:7001/0");
}

TEST(RedisUrl, WrongOnesAreRefusedWithoutTheirPassword) {
  for (const char* url :
       {"", "redis", "http://host", "redis://", "redis://:5", "redis://host:", "redis://host:0",
        "redis://host:65536", "redis://host:x", "redis://host/x", "redis://host/-1", "redis://[::1",
        "redis://u:hidden%@host", "redis://u:hidden%4@host", "redis://u:hidden@", "redis://user@host",
        "redisss://host", "rediss:/host"}) {
    const Result<RedisAddress> address = ParseRedisUrl(url);
    ASSERT_FALSE(address.ok()) << url;
    EXPECT_EQ(address.status().code(), Code::kInvalidArgument) << url;
    EXPECT_EQ(address.status().message().find("hidden"), std::string::npos) << address.status().message();
  }
}

TEST(KnownKeys, ForgetsWhatWasNotedFirst) {
  KnownKeys known(2);
  known.Note({.low = 1}, true, 10);
  known.Note({.low = 2}, false, 10);
  known.Note({.low = 1}, false, 10);
  known.Note({.low = 3}, true, 10);
  EXPECT_EQ(known.Find({.low = 1}, 0), std::nullopt);
  EXPECT_EQ(known.Find({.low = 2}, 0), false);
  EXPECT_EQ(known.Find({.low = 3}, 9), true);
  EXPECT_EQ(known.Find({.low = 3}, 10), std::nullopt);
  EXPECT_EQ(known.size(), 2u);
}

TEST(KnownKeys, AnAnswerNeverReplacesWhatIsNewer) {
  KnownKeys known(2);
  const uint64_t asked = known.turn();
  known.Note({.low = 1}, true, 10);  // written meanwhile
  EXPECT_FALSE(known.NoteAnswer({.low = 1}, false, 10, asked));
  EXPECT_EQ(known.Find({.low = 1}, 0), true);
  EXPECT_TRUE(known.NoteAnswer({.low = 1}, false, 10, known.turn()));
  EXPECT_EQ(known.Find({.low = 1}, 0), false);
  EXPECT_TRUE(known.NoteAnswer({.low = 2}, true, 10, asked)) << "nothing is known of it";
  EXPECT_EQ(known.Find({.low = 2}, 0), true);
}

}  // namespace
}  // namespace prefixd
