// RedisServer: a redis-server of a test, on a free port of the loopback interface. It keeps nothing on disk.
// It ends with its object. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "storage/redis_address.h"

namespace prefixd {

class RedisServer {
 public:
  // Why no server can be started here; empty: it can. Debian's package redis-server has the program.
  static std::string Missing();

  // `options` are more arguments of redis-server, such as {"--maxmemory", "8mb"}. Returns when the server
  // answers. Requires Missing().empty().
  explicit RedisServer(std::vector<std::string> options = {});
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  RedisAddress address() const { return {.host = "127.0.0.1", .port = port_}; }
  // A server that is stopped accepts connections and answers nothing.
  void Stop() const;
  void Continue() const;
  void Kill();

 private:
  bool Start(const std::vector<std::string>& options);

  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace prefixd
