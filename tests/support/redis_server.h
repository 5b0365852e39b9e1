// RedisServer: a redis-server of a test, on a free port of the loopback interface. It keeps nothing on disk.
// It ends with its object. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "storage/redis_address.h"
#include "storage/redis_protocol.h"
#include "storage/tls_client.h"

namespace prefixd {

class RedisConnection;

// A port of the loopback interface that was free a moment ago.
uint16_t FreePort();

class RedisServer {
 public:
  // Why no server can be started here; empty: it can. Debian's package redis-server has the program.
  static std::string Missing();

  // `options` are more arguments of redis-server, such as {"--maxmemory", "8mb"}. Returns when the server
  // answers. Requires Missing().empty(). A server with TLS takes no plain connection; `tls` believes its
  // certificate.
  explicit RedisServer(std::vector<std::string> options = {}, std::shared_ptr<const TlsClient> tls = nullptr);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  RedisAddress address() const { return {.host = "127.0.0.1", .port = port_, .tls = tls_ != nullptr}; }
  // Of the other servers of its cluster; with "--cluster-enabled" among the options.
  uint16_t bus_port() const { return bus_port_; }
  // Sends one command, and returns its reply. Errors are replies as well.
  RedisReply Ask(const std::vector<std::string>& words) const;
  // A server that is stopped accepts connections and answers nothing.
  void Stop() const;
  void Continue() const;
  void Kill();

 private:
  bool Start(const std::vector<std::string>& options);
  // Whether the server that answers is the one of this object: another test may have got the same free port.
  bool IsOwn(RedisConnection& connection, int64_t deadline) const;

  const std::shared_ptr<const TlsClient> tls_;
  uint16_t port_ = 0, bus_port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace prefixd
