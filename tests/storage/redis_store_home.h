// What the tests of RedisStore share: options with generous times, and homes for the contract of BlockStore.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "storage/redis_store.h"
#include "tests/storage/block_store_contract.h"
#include "tests/support/redis_server.h"

namespace prefixd {

inline const SystemClock kRedisClock;
inline constexpr BlockKey kRedisModel{.low = 7, .high = 0x123456789abcdef0};
inline constexpr int64_t kSecond = 1'000'000'000;

// Generous times: another process may have the processor.
inline RedisStoreOptions RedisOptionsFor(const RedisAddress& address,
                                         std::shared_ptr<const TlsClient> tls = nullptr) {
  return {.address = address,
          .tls = std::move(tls),
          .fingerprint = kRedisModel,
          .clock = &kRedisClock,
          .max_record_bytes = 1 << 20,
          .connect_nanos = 20 * kSecond,
          .find_nanos = 20 * kSecond,
          .call_nanos = 20 * kSecond};
}

// Stores of servers that have kRedisCapacity in all.
inline constexpr uint64_t kRedisCapacity = 384 << 20;
class RedisHome : public BlockStoreHome {
 public:
  uint64_t capacity() const override { return kRedisCapacity; }
  bool makes_room() const override { return false; }
  std::string missing() const override { return RedisServer::Missing(); }

 protected:
  static std::unique_ptr<BlockStore> Open(RedisStoreOptions options, DropListener on_drop) {
    options.on_drop = std::move(on_drop);
    auto store = std::make_unique<RedisStore>(std::move(options));
    EXPECT_TRUE(store->AskUsage().ok());
    return store;
  }
};

}  // namespace prefixd
