// RedisCluster: a Redis Cluster of a test, of servers without replicas on the loopback interface. Each has an
// equal share of the slots. It serves the slots of the other servers when one is gone. One thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/redis_server.h"
#include "tests/support/temp_dir.h"

namespace prefixd {

class RedisCluster {
 public:
  // `options` are more arguments of each redis-server. Returns when the cluster works.
  explicit RedisCluster(const std::vector<std::string>& options = {}, size_t servers = 3);

  size_t size() const { return servers_.size(); }
  RedisServer& server(size_t i) { return *servers_[i]; }
  RedisAddress address() const { return servers_[0]->address(); }
  // The server that had the slot at first.
  size_t OwnerOf(uint16_t slot) const { return slot / share_; }

  // A slot moves once, in these three steps. Between the first and the last, the keys that have not moved
  // are with `from`, which answers ASK for the others.
  void BeginMove(uint16_t slot, size_t from, size_t to);
  // Moves the keys of the slot. Returns how many there were.
  size_t MoveKeys(uint16_t slot, size_t from, size_t to);
  // Returns when all servers agree.
  void EndMove(uint16_t slot, size_t to);

 private:
  // Whether the server says that the slot is with `owner`.
  bool SaysThatHas(size_t server, uint16_t slot, size_t owner);
  // Fails the test when the server answers with an error.
  std::string Do(size_t server, const std::vector<std::string>& words);

  testing_support::TempDir folder_;
  std::vector<std::unique_ptr<RedisServer>> servers_;
  std::vector<std::string> ids_;
  size_t share_ = 0;
};

}  // namespace prefixd
