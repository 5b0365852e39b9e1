// The Redis protocol (RESP2) as bytes: what a command looks like, and the replies in what a server sends.
// hiredis reads and writes the bytes. Everything that is read may be anything. One thread at a time.
//
// Invariants
//   1. A reply has at most kMostElements elements in an array, arrays in at most four levels, and takes no
//      more memory than some 30 times the bytes that were fed, and 2 MiB.
//   2. After Next has failed, it fails always.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

struct redisReader;

namespace prefixd {

struct RedisReply {
  enum class Kind : uint8_t {
    kNone,  // there is no reply: the server that was to give it failed, and others did not
    kNil,
    kInteger,
    kText,
    kError,
    kArray,
  };
  static constexpr int kMostElements = 4096;
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  std::string text;  // of kText and kError
  std::vector<RedisReply> elements;
};

using RedisCommand = std::vector<std::string_view>;

// Puts the command behind `bytes`.
Status AppendRedisCommand(const RedisCommand& command, std::string* bytes);

class RedisReplyReader {
 public:
  RedisReplyReader();
  ~RedisReplyReader();
  RedisReplyReader(const RedisReplyReader&) = delete;
  RedisReplyReader& operator=(const RedisReplyReader&) = delete;

  Status Feed(std::string_view bytes);
  // The next whole reply; null: more bytes are needed. kIo: they are no reply.
  Result<std::unique_ptr<RedisReply>> Next();

 private:
  redisReader* const reader_;
};

// What a server says, for a message: short, and without control characters.
std::string PrintableReply(std::string_view text);

}  // namespace prefixd
