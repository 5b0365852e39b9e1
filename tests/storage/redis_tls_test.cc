// RedisStore over TLS, with Debian's redis-server: whom it believes, and what each mistake says.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/storage/redis_store_home.h"
#include "tests/support/certificates.h"
#include "tests/support/scripted_server.h"

namespace prefixd {
namespace {

std::string MissingHere() {
  return RedisServer::Missing().empty() ? Certificates::Missing() : RedisServer::Missing();
}

std::shared_ptr<const TlsClient> Believe(const TlsClientFiles& files) {
  const auto client = TlsClient::Make(files);
  EXPECT_TRUE(client.ok()) << client.status().ToString();
  return client.ok() ? *client : nullptr;
}

std::vector<std::string> ServerOptions(const Certificates& certificates, const Certificates::Pair& pair,
                                       bool asks_clients = false) {
  return {"--tls-cert-file",    pair.certificate,           "--tls-key-file", pair.key,
          "--tls-ca-cert-file", certificates.ca(),          "--maxmemory",    std::to_string(kRedisCapacity),
          "--tls-auth-clients", asks_clients ? "yes" : "no"};
}

class OverTls final : public RedisHome {
  std::unique_ptr<BlockStore> Open(DropListener on_drop) override {
    if (server_ == nullptr) {
      client_ = Believe({.ca = certificates_.ca()});
      server_ = std::make_unique<RedisServer>(
          ServerOptions(certificates_, certificates_.Sign("server", "IP:127.0.0.1")), client_);
    }
    return RedisHome::Open(RedisOptionsFor(server_->address(), client_), std::move(on_drop));
  }
  std::string missing() const override { return MissingHere(); }

  Certificates certificates_;
  std::shared_ptr<const TlsClient> client_;
  std::unique_ptr<RedisServer> server_;
};
INSTANTIATE_TEST_SUITE_P(RedisTls, BlockStoreContract, testing::Values(HomeOf<OverTls>("tls")));

class RedisTlsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!MissingHere().empty()) GTEST_SKIP() << MissingHere();
  }
  static constexpr BlockKey kKey{.low = 1, .high = 1};
  // Puts a record, and returns what that says. A server that accepts it has it.
  static Status Put(const RedisAddress& address, std::shared_ptr<const TlsClient> tls) {
    RedisStore store(RedisOptionsFor(address, std::move(tls)));
    return store.Put(kKey, "one");
  }
  static void ExpectRefused(const Status& status, const char* words) {
    EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  }
};

TEST_F(RedisTlsTest, OnlyACertificateOfTheHostByTheCaIsBelieved) {
  Certificates certificates;
  Certificates others;
  const auto client = Believe({.ca = certificates.ca()});
  const RedisServer server(ServerOptions(certificates, certificates.Sign("server", "IP:127.0.0.1")), client);
  EXPECT_TRUE(Put(server.address(), client).ok());
  ExpectRefused(Put(server.address(), Believe({.ca = others.ca()})), "remote-tls-ca");
  ExpectRefused(Put(server.address(), Believe({})), "remote-tls-ca");  // the system's store
  RedisAddress by_name = server.address();
  by_name.host = "localhost";
  ExpectRefused(Put(by_name, client), "it is not of 'localhost'");
}

TEST_F(RedisTlsTest, AWrongOrOldCertificateIsRefused) {
  Certificates certificates;
  const auto client = Believe({.ca = certificates.ca()});
  const auto answer = [&](const Certificates::Pair& pair) {
    // A server that this client refuses is started by the eyes of one that takes its certificate as a CA.
    const RedisServer server(ServerOptions(certificates, certificates.Sign("right", "IP:127.0.0.1")), client);
    EXPECT_EQ(server.Ask({"CONFIG", "SET", "tls-cert-file", pair.certificate, "tls-key-file", pair.key}).text,
              "OK");
    return Put(server.address(), client);
  };
  ExpectRefused(answer(certificates.Sign("other", "IP:127.0.0.2,DNS:localhost")), "it is not of '127.0.0.1'");
  ExpectRefused(answer(certificates.Sign("old", "IP:127.0.0.1", -1)), "expired");
  ExpectRefused(answer(certificates.Sign("wild", "DNS:*")), "it is not of");
}

TEST_F(RedisTlsTest, ANameIsCheckedAndSent) {
  Certificates certificates;
  const auto client = Believe({.ca = certificates.ca()});
  const RedisServer server(
      ServerOptions(certificates, certificates.Sign("server", "IP:127.0.0.1,DNS:localhost")), client);
  RedisAddress by_name = server.address();
  by_name.host = "localhost";
  EXPECT_TRUE(Put(by_name, client).ok());
}

TEST_F(RedisTlsTest, AServerMayAskForACertificate) {
  Certificates certificates;
  const Certificates::Pair pair = certificates.Sign("client", "DNS:client");
  const auto client = Believe({.ca = certificates.ca(), .certificate = pair.certificate, .key = pair.key});
  const RedisServer server(ServerOptions(certificates, certificates.Sign("server", "IP:127.0.0.1"), true),
                           client);
  EXPECT_TRUE(Put(server.address(), client).ok());
  const Status without = Put(server.address(), Believe({.ca = certificates.ca()}));
  EXPECT_FALSE(without.ok());
  EXPECT_NE(without.message().find("certificate required"), std::string::npos) << without.message();
}

TEST_F(RedisTlsTest, TheWrongSchemeIsTold) {
  Certificates certificates;
  const auto client = Believe({.ca = certificates.ca()});
  const RedisServer tls(ServerOptions(certificates, certificates.Sign("server", "IP:127.0.0.1")), client);
  RedisAddress plainly = tls.address();
  plainly.tls = false;
  const Status no_tls = Put(plainly, nullptr);
  EXPECT_FALSE(no_tls.ok());
  EXPECT_NE(no_tls.message().find("rediss://"), std::string::npos) << no_tls.message();

  const RedisServer plain;
  RedisAddress over_tls = plain.address();
  over_tls.tls = true;
  RedisStoreOptions options = RedisOptionsFor(over_tls, client);
  options.connect_nanos = kSecond / 2;  // it may answer nothing
  RedisStore store(std::move(options));
  ExpectRefused(store.Put(kKey, "one"), "redis://");
}

// A server that accepts the connection and says nothing, or nothing more.
TEST_F(RedisTlsTest, AHalfHandshakeTakesTheTimeOfTheOptions) {
  Certificates certificates;
  const auto client = Believe({.ca = certificates.ca()});
  const RedisServer server(ServerOptions(certificates, certificates.Sign("server", "IP:127.0.0.1")), client);
  server.Stop();
  RedisStoreOptions options = RedisOptionsFor(server.address(), client);
  options.connect_nanos = kSecond / 5;
  RedisStore store(std::move(options));
  const int64_t begun = kRedisClock.NowNanos();
  ExpectRefused(store.Put(kKey, "one"), "in time");
  EXPECT_LT(kRedisClock.NowNanos() - begun, 20 * kSecond) << "not the time of a call";
  server.Continue();
}

TEST_F(RedisTlsTest, WhatIsNoHandshakeIsRefused) {
  const auto client = Believe({});
  for (const std::string& answer : {std::string("-ERR no\r\n"), std::string("\x16\x03\x03\xff\xff", 5),
                                    std::string(100'000, '\x16'), std::string()}) {
    ScriptedServer server(answer);
    RedisAddress address{.host = "127.0.0.1", .port = server.port(), .tls = true};
    EXPECT_EQ(Put(address, client).code(), Code::kUnavailable) << answer.substr(0, 10);
  }
}

TEST_F(RedisTlsTest, AKilledServerIsNoSignal) {
  Certificates certificates;
  const auto client = Believe({.ca = certificates.ca()});
  RedisServer server(ServerOptions(certificates, certificates.Sign("server", "IP:127.0.0.1")), client);
  RedisStore store(RedisOptionsFor(server.address(), client));
  ASSERT_TRUE(store.Put(kKey, "one").ok());
  server.Kill();
  EXPECT_FALSE(store.Put(kKey, std::string(500'000, 'x')).ok());
  EXPECT_EQ(store.Get(kKey).status().code(), Code::kUnavailable);
}

TEST_F(RedisTlsTest, FilesThatAreNoneAreNamed) {
  Certificates certificates;
  const Certificates::Pair pair = certificates.Sign("client", "DNS:client");
  const Certificates::Pair other = certificates.Sign("other", "DNS:other");
  const auto expect = [](const TlsClientFiles& files, const std::string& words) {
    const auto client = TlsClient::Make(files);
    ASSERT_FALSE(client.ok());
    EXPECT_EQ(client.status().code(), Code::kInvalidArgument);
    EXPECT_TRUE(client.status().message().starts_with(words)) << client.status().message();
  };
  expect({.ca = "/none.pem"}, "ca: '/none.pem'");
  expect({.ca = pair.key}, "ca: '" + pair.key);
  expect({.certificate = pair.certificate}, "cert: give the key");
  expect({.key = pair.key}, "key: give the cert");
  expect({.certificate = pair.key, .key = pair.key}, "cert: '");
  expect({.certificate = pair.certificate, .key = other.key}, "key: '");
}

}  // namespace
}  // namespace prefixd
