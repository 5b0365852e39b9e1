// What a Redis Cluster says of where keys lie: the slots of keys, redirections, and the map of slots to
// servers. Pure functions; any thread. All that they read comes from a server, and may be anything.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/redis_protocol.h"

namespace prefixd {

inline constexpr int kRedisSlots = 16384;

// CRC16 (of XMODEM) of the key, or of its hash tag: what lies between the first '{' and the next '}', when
// that is not empty.
uint16_t RedisSlotOf(std::string_view key);

struct RedisEndpoint {
  std::string host;  // a name, or an IPv4 or IPv6 address without brackets
  uint16_t port = 0;

  auto operator<=>(const RedisEndpoint&) const = default;
  std::string Name() const;  // host:port, for messages
};

// "MOVED SLOT HOST:PORT": the slot lies there. "ASK ...": this command alone is to be sent there, after
// ASKING.
struct RedisRedirection {
  bool asks = false;
  uint16_t slot = 0;
  RedisEndpoint target;
};
// Nothing: the text of an error is no redirection, or none that can be followed. Without a host it is that
// of the sender.
std::optional<RedisRedirection> ParseRedirection(std::string_view error, const RedisEndpoint& sender);

struct RedisSlotRange {
  uint16_t first = 0, last = 0;
  RedisEndpoint server;  // that writes; replicas are left out
};
// The reply to CLUSTER SLOTS. Nothing: it is none.
std::optional<std::vector<RedisSlotRange>> ParseSlotRanges(const RedisReply& reply,
                                                           const RedisEndpoint& sender);

}  // namespace prefixd
