// RedisAddress: where a store that speaks the Redis protocol is, and as whom to ask it. Plain values; any
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

struct RedisAddress {
  std::string host;  // a name, or an IPv4 or IPv6 address without brackets
  uint16_t port = 6379;
  std::string user;      // empty: the default one
  std::string password;  // empty: none
  uint32_t database = 0;
  bool tls = false;  // rediss://

  // redis://host:port/database, for messages. Never has the password.
  std::string Name() const;
};

// Reads redis[s]://[user:password@]host[:port][/database]; rediss is TLS. %XX in the user and the password
// stands for a byte. kInvalidArgument says what is wrong, without the password.
Result<RedisAddress> ParseRedisUrl(std::string_view url);

}  // namespace prefixd
