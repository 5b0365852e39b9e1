// Makes directories of a disk cache for the tests of the program: records as an engine would put them, in a
// DiskStore.
//
//   disk_cache_tool sample DIR        two models and two tenants; prints what it has made as JSON
//   disk_cache_tool tenants DIR       two tenants of a daemon with API keys, each with two salts
//   disk_cache_tool hold DIR          holds DIR open as a daemon does, until stdin ends
//   disk_cache_tool many DIR N        N small records in chains of 16
//
// `sample` puts a record of a block whose token ids begin with 4242 and whose content is damaged.
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "daemon/api/tenant.h"
#include "storage/disk_store.h"
#include "tests/support/record_chain.h"

namespace prefixd {
namespace {

using testing_support::RecordChain;
using testing_support::TokensFrom;

constexpr BlockKey kFirst{0x1111222233334444, 0x92c1b67c0064f7d1};
constexpr BlockKey kSecond{0x5555666677778888, 0x0a12345678901234};
constexpr int64_t kDay = 86'400;

// A day that is given, whatever the time is.
class FixedClock final : public Clock {
 public:
  explicit FixedClock(int64_t unix_seconds) : unix_seconds_(unix_seconds) {}
  int64_t NowNanos() const override { return 0; }
  int64_t UnixSeconds() const override { return unix_seconds_; }

 private:
  const int64_t unix_seconds_;
};

std::unique_ptr<DiskStore> Open(const std::string& path, const BlockKey& model, const Clock* clock,
                                uint64_t capacity = 64 << 20) {
  auto store = DiskStore::Open({.path = path, .capacity = capacity, .group = model, .clock = clock});
  PREFIXD_CHECK(store.ok()) << store.status().ToString();
  return *std::move(store);
}

void Put(DiskStore* store, StoreEntry entry) {
  std::vector<StoreEntry> batch;
  batch.push_back(std::move(entry));
  const Status status = store->PutBatch(std::move(batch));
  PREFIXD_CHECK(status.ok()) << status.ToString();
}

// Of 2 + `questions` x 2 blocks: a system prompt of 32 tokens and questions of 24 that follow it.
void PutConversations(DiskStore* store, const BlockKey& model, std::string_view salt, int questions) {
  RecordChain system(model, salt);
  Put(store, system.Next(TokensFrom(100, 16), 64'000));
  Put(store, system.Next(TokensFrom(200, 16), 64'000));
  for (int i = 0; i < questions; ++i) {
    RecordChain question = system;
    Put(store, question.Next(TokensFrom(1000 + 100 * i, 16), 64'000));
    Put(store, question.Next(TokensFrom(1050 + 100 * i, 8), 64'000));
  }
}

// What the API makes of a key and a cache_salt.
void PutOfTenant(DiskStore* store, const ApiKey& key, std::string_view salt, int records) {
  const CacheNamespace space = NamespaceOf(key, salt);
  RecordChain chain(kSecond, space.tenant, space.salt);
  for (int i = 0; i < records; ++i) Put(store, chain.Next(TokensFrom(5000 + 16 * i, 16), 64'000));
}

// The same tokens of a key that is a tenant of its own, and of one of the tenant "carol", with two salts.
void Tenants(const std::string& path) {
  const SystemClock clock;
  const auto store = Open(path, kSecond, &clock);
  ApiKey carol = PlainKey("key-of-carol");
  carol.tenant = "carol";
  PutOfTenant(store.get(), PlainKey("key-of-bob"), "", 1);
  PutOfTenant(store.get(), PlainKey("key-of-bob"), "s", 2);
  PutOfTenant(store.get(), carol, "", 4);
  PutOfTenant(store.get(), carol, "s", 8);
  PREFIXD_CHECK(store->Sync().ok());
}

void Sample(const std::string& path) {
  const int64_t now = SystemClock().UnixSeconds();
  const FixedClock long_ago(now - 10 * kDay);
  const FixedClock lately(now - kDay / 2);
  {
    const auto store = Open(path, kFirst, &long_ago);
    PutConversations(store.get(), kFirst, "alice", 5);
  }
  {
    const auto store = Open(path, kFirst, &lately);
    PutConversations(store.get(), kFirst, "", 3);
    RecordChain damaged(kFirst, "");
    StoreEntry entry = damaged.Next(TokensFrom(4242, 16), 64'000);
    entry.record.back() ^= 1;
    Put(store.get(), std::move(entry));
  }
  const auto store = Open(path, kSecond, &lately);
  PutConversations(store.get(), kSecond, "alice", 1);
  PutOfTenant(store.get(), PlainKey("key-of-bob"), "", 1);
  // A record that is deleted in a later segment.
  RecordChain gone(kSecond, "");
  Put(store.get(), gone.Next(TokensFrom(9000, 16), 64'000));
  PREFIXD_CHECK(store->Sync().ok());
  PREFIXD_CHECK(store->Delete(gone.key()).ok());
  std::printf("%s\n", boost::json::serialize(boost::json::object{{"first", ToHex(kFirst)},
                                                                 {"second", ToHex(kSecond)},
                                                                 {"alice", ToHex(RootKey(kFirst, "alice"))},
                                                                 {"nobody", ToHex(RootKey(kFirst, ""))}})
                          .c_str());
}

void Many(const std::string& path, uint64_t count) {
  const SystemClock clock;
  const auto store = Open(path, kFirst, &clock, uint64_t{8} << 30);
  for (uint64_t chain = 0; chain * 16 < count; ++chain) {
    RecordChain blocks(kFirst, std::to_string(chain % 1000));
    for (uint64_t i = 0; i < 16 && chain * 16 + i < count; ++i)
      Put(store.get(), blocks.Next(TokensFrom(static_cast<TokenId>(chain * 16 + i), 16), 64));
  }
}

int Run(int argc, char** argv) {
  const std::string_view command = argc > 2 ? argv[1] : "";
  if (command == "sample") {
    Sample(argv[2]);
  } else if (command == "tenants") {
    Tenants(argv[2]);
  } else if (command == "hold") {
    const SystemClock clock;
    const auto store = Open(argv[2], kFirst, &clock);
    std::puts("held");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
  } else if (command == "many" && argc > 3) {
    Many(argv[2], std::strtoull(argv[3], nullptr, 10));
  } else {
    std::fputs("usage: disk_cache_tool sample|hold DIR, or many DIR N\n", stderr);
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Run(argc, argv); }
