#include "storage/redis_slots.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/support/redis_server.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

const RedisEndpoint kSender{"10.0.0.9", 7000};

// The specification of Redis Cluster names the first.
TEST(RedisSlots, AreThoseOfTheSpecification) {
  EXPECT_EQ(RedisSlotOf("123456789"), 0x31C3 % kRedisSlots);
  EXPECT_EQ(RedisSlotOf(""), 0);
  EXPECT_EQ(RedisSlotOf("{user1000}.following"), RedisSlotOf("{user1000}.followers"));
  EXPECT_EQ(RedisSlotOf("foo{{bar}}zap"), RedisSlotOf("{bar"));
  EXPECT_EQ(RedisSlotOf("foo{bar}{zap}"), RedisSlotOf("bar"));
  EXPECT_NE(RedisSlotOf("foo{}{bar}"), RedisSlotOf("bar"));
  EXPECT_NE(RedisSlotOf("foo{bar"), RedisSlotOf("bar"));
}

TEST(RedisSlots, AreThoseOfAServer) {
  if (!RedisServer::Missing().empty()) GTEST_SKIP() << RedisServer::Missing();
  const testing_support::TempDir folder;
  const RedisServer server({"--cluster-enabled", "yes", "--dir", folder.path().string()});
  for (const char* key : {"", "a", "{", "}", "{}", "{}a", "a{b}c", "a{b", "}{a}", "{{a}}", "a{}b{c}",
                          "\xff\xfe", "prefixd:1:123456789abcdef0:00000000000000010000000000000001"}) {
    EXPECT_EQ(RedisSlotOf(key), server.Ask({"CLUSTER", "KEYSLOT", key}).integer) << key;
  }
}

TEST(Redirections, HaveASlotAHostAndAPort) {
  const auto moved = ParseRedirection("MOVED 3999 127.0.0.1:6381", kSender);
  ASSERT_TRUE(moved);
  EXPECT_FALSE(moved->asks);
  EXPECT_EQ(moved->slot, 3999);
  EXPECT_EQ(moved->target, (RedisEndpoint{"127.0.0.1", 6381}));
  const auto ask = ParseRedirection("ASK 16383 ::1:65535", kSender);
  ASSERT_TRUE(ask);
  EXPECT_TRUE(ask->asks);
  EXPECT_EQ(ask->target, (RedisEndpoint{"::1", 65535}));
  EXPECT_EQ(ask->target.Name(), "[::1]:65535");
  EXPECT_EQ(ParseRedirection("MOVED 0 node-1.cache_a.example:1", kSender)->target.host,
            "node-1.cache_a.example");
  EXPECT_EQ(ParseRedirection("MOVED 0 :6380", kSender)->target, (RedisEndpoint{"10.0.0.9", 6380}));
}

TEST(Redirections, ThatCannotBeFollowedAreNone) {
  for (const std::string& text : {std::string("MOVED"),
                                  std::string("MOVED 1"),
                                  std::string("MOVED 1 "),
                                  std::string("MOVED 1 host"),
                                  std::string("MOVED 1 host:"),
                                  std::string("MOVED 1 host:0"),
                                  std::string("MOVED 1 host:65536"),
                                  std::string("MOVED 1 host:-1"),
                                  std::string("MOVED 1 host: 1"),
                                  std::string("MOVED 16384 host:1"),
                                  std::string("MOVED -1 host:1"),
                                  std::string("MOVED x host:1"),
                                  std::string("MOVED 1 ?:1"),
                                  std::string("MOVED 1 a b:1"),
                                  std::string("MOVED 1 a/b:1"),
                                  std::string("MOVED 1 a@b:1"),
                                  std::string("MOVED 1 -a:1"),
                                  std::string("MOVED 1 fe80%251:1"),
                                  std::string("MOVED 1 a\0b:1", 13),
                                  "MOVED 1 " + std::string(254, 'a') + ":1",
                                  std::string("moved 1 host:1"),
                                  std::string("ASKING 1 h:1"),
                                  std::string("ERR no"),
                                  std::string()}) {
    EXPECT_FALSE(ParseRedirection(text, kSender)) << text;
  }
}

RedisReply Reply(std::string_view bytes) {
  RedisReplyReader reader;
  EXPECT_TRUE(reader.Feed(bytes).ok());
  auto reply = reader.Next();
  EXPECT_TRUE(reply.ok() && *reply != nullptr) << bytes;
  return std::move(**reply);
}

TEST(SlotRanges, HaveTheServersThatWrite) {
  const auto ranges = ParseSlotRanges(
      Reply("*2\r\n*4\r\n:0\r\n:99\r\n*4\r\n$5\r\nnodeA\r\n:1\r\n$2\r\nid\r\n*2\r\n+hostname\r\n+x\r\n"
            "*3\r\n$5\r\nnodeB\r\n:2\r\n$2\r\nid\r\n"
            "*3\r\n:100\r\n:16383\r\n*3\r\n$-1\r\n:3\r\n$2\r\nid\r\n"),
      kSender);
  ASSERT_TRUE(ranges);
  ASSERT_EQ(ranges->size(), 2u);
  EXPECT_EQ((*ranges)[0].last, 99);
  EXPECT_EQ((*ranges)[0].server, (RedisEndpoint{"nodeA", 1}));
  EXPECT_EQ((*ranges)[1].first, 100);
  EXPECT_EQ((*ranges)[1].server, (RedisEndpoint{"10.0.0.9", 3})) << "nil is the host that was asked";
  EXPECT_TRUE(ParseSlotRanges(Reply("*0\r\n"), kSender)->empty());
}

TEST(SlotRanges, WithSlotsThatAreThereTwiceAreRefused) {
  const std::string server = "*2\r\n+h\r\n:1\r\n";
  const auto map = [&](int first, int last) {
    return "*2\r\n*3\r\n:0\r\n:99\r\n" + server + "*3\r\n:" + std::to_string(first) +
           "\r\n:" + std::to_string(last) + "\r\n" + server;
  };
  EXPECT_TRUE(ParseSlotRanges(Reply(map(100, 16383)), kSender));
  for (const int first : {99, 50, 0}) EXPECT_FALSE(ParseSlotRanges(Reply(map(first, 120)), kSender)) << first;
}

TEST(SlotRanges, ThatAreNoneAreRefused) {
  const std::string server = "*2\r\n+h\r\n:1\r\n";
  for (const std::string& bytes :
       {std::string("+OK\r\n"), std::string("-ERR cluster support disabled\r\n"), std::string("*1\r\n:1\r\n"),
        "*1\r\n*3\r\n:-1\r\n:5\r\n" + server, "*1\r\n*3\r\n:0\r\n:16384\r\n" + server,
        "*1\r\n*3\r\n:6\r\n:5\r\n" + server, "*1\r\n*3\r\n+0\r\n:5\r\n" + server,
        std::string("*1\r\n*2\r\n:0\r\n:5\r\n")}) {
    EXPECT_FALSE(ParseSlotRanges(Reply(bytes), kSender)) << bytes;
  }
  for (const char* unknown : {":1\r\n", "*2\r\n+?\r\n:1\r\n", "*2\r\n+h\r\n:0\r\n", "*2\r\n+h\r\n:65536\r\n",
                              "*2\r\n:1\r\n:1\r\n", "*1\r\n+h\r\n"}) {
    const auto ranges = ParseSlotRanges(Reply("*1\r\n*3\r\n:0\r\n:5\r\n" + std::string(unknown)), kSender);
    ASSERT_TRUE(ranges) << unknown;
    EXPECT_TRUE(ranges->empty()) << unknown;
  }
}

}  // namespace
}  // namespace prefixd
