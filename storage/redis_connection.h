// RedisConnection: one connection to a server that speaks the Redis protocol (RESP2), plain or with TLS. It
// sends commands and reads their replies, each within a time that its caller states. It does not retry.
//
// Threads: one at a time.
//
// Invariants
//   1. No call takes longer than until its deadline.
//   2. A reply takes at most the bytes that the caller allows, and an array at most RedisReply::kMostElements
//      elements, whatever the server sends.
//   3. After a call that failed the connection is of no use: replies may still be under way on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "storage/redis_address.h"
#include "storage/redis_protocol.h"
#include "storage/server_socket.h"

namespace prefixd {

class RedisConnection {
 public:
  using Command = RedisCommand;

  // Connects and logs in. `tls` is there when the address has TLS. It and `clock` must outlive the
  // connection; the deadline is a time of the clock, in nanoseconds. kUnavailable: the server cannot be
  // reached, or refuses.
  static Result<std::unique_ptr<RedisConnection>> Open(const RedisAddress& address, const Clock* clock,
                                                       int64_t deadline, const TlsClient* tls = nullptr);

  // Sends all commands, then reads a reply for each. What the server answers with an error is a reply of
  // kError. `most_bytes` bounds all replies together. kIo: the connection is lost, the time is up, or the
  // server sends what it should not.
  Result<std::vector<RedisReply>> Call(std::span<const Command> commands, size_t most_bytes,
                                       int64_t deadline);
  // Whether the server has neither closed it nor sent what nobody asked for.
  bool IsUsable() { return socket_->IsQuiet(); }

 private:
  explicit RedisConnection(std::unique_ptr<ServerSocket> socket) : socket_(std::move(socket)) {}
  Status Login(const RedisAddress& address, int64_t deadline);
  Result<RedisReply> ReadReply(size_t* most_bytes, int64_t deadline);

  const std::unique_ptr<ServerSocket> socket_;
  RedisReplyReader reader_;
};

}  // namespace prefixd
