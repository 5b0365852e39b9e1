// RedisConnection: one connection to a server that speaks the Redis protocol (RESP2). It sends commands and
// reads their replies, each within a time that its caller states. It does not retry.
//
// Threads: one at a time.
//
// Invariants
//   1. No call takes longer than until its deadline, but for the look-up of a host name.
//   2. A reply takes at most the bytes that the caller allows, and an array at most kMostElements elements,
//      whatever the server sends.
//   3. After a call that failed the connection is of no use: replies may still be under way on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "storage/redis_address.h"

namespace prefixd {

struct RedisReply {
  enum class Kind : uint8_t { kNil, kInteger, kText, kError, kArray };
  Kind kind = Kind::kNil;
  int64_t integer = 0;
  std::string text;  // of kText and kError
  std::vector<RedisReply> elements;
};

class RedisConnection {
 public:
  static constexpr int kMostElements = 4096;
  using Command = std::vector<std::string_view>;

  // Connects and logs in. `clock` must outlive the connection; the deadline is a time of it, in nanoseconds.
  // kUnavailable: the server cannot be reached, or refuses.
  static Result<std::unique_ptr<RedisConnection>> Open(const RedisAddress& address, const Clock* clock,
                                                       int64_t deadline);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Sends all commands, then reads a reply for each. What the server answers with an error is a reply of
  // kError. `most_bytes` bounds all replies together. kIo: the connection is lost, the time is up, or the
  // server sends what it should not.
  Result<std::vector<RedisReply>> Call(std::span<const Command> commands, size_t most_bytes,
                                       int64_t deadline);
  // Whether the server has neither closed it nor sent what nobody asked for.
  bool IsUsable() const;

 private:
  class Reader;
  RedisConnection(int socket, const Clock* clock);
  Status Connect(const RedisAddress& address, int64_t deadline);
  Status Login(const RedisAddress& address, int64_t deadline);
  Status WaitFor(short events, int64_t deadline) const;
  Status Send(std::string_view bytes, int64_t deadline);
  Result<RedisReply> ReadReply(size_t* most_bytes, int64_t deadline);

  int socket_;
  const Clock* const clock_;
  std::unique_ptr<Reader> reader_;
};

}  // namespace prefixd
