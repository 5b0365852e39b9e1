// RedisNodes: the server of an address, or the servers of the cluster that it belongs to, with idle
// connections to each. It sends each command to the server of its key, and follows redirections.
//
// The first call asks the server for the map of slots (CLUSTER SLOTS). A server that refuses is no cluster,
// nor is one that answers other commands, but not that one, as some proxies do. Then it is the only one,
// until it redirects. The map is asked for again, at most once a second, after a redirection and while a
// server fails: a replica may have taken its place.
//
// A server of a cluster that failed is left alone for a time (base/read_pause.h); the others work on. A
// single server is never left alone here: that is the caller's to decide.
//
// Threads: any. A call takes a connection that no other uses, or makes one; so there are as many to a server
// as calls that ran at once. No call holds a lock while it waits.
//
// Invariants
//   1. No call takes longer than connect_nanos and the time that it is given, together, whatever servers do,
//      with all servers that it asks. Of what is left of that time, each of those that are still to be asked
//      has an equal part: one that hangs leaves theirs to the others.
//      A command is sent at most kMostRedirections + 1 times, and repeated only when it was redirected.
//   2. There are at most kMostNodes servers. What a server says of others is taken when it has the form of a
//      host and a port; see docs/FLEET.md for what a hostile one can do.
//   3. After an error the idle connections to that server are closed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "storage/redis_connection.h"
#include "storage/redis_slots.h"

namespace prefixd {

class RedisNodes {
 public:
  using Command = RedisCommand;
  static constexpr int kMostRedirections = 5;
  static constexpr size_t kMostNodes = 1000;
  struct Node;  // a server

  struct Options {
    RedisAddress address;
    std::shared_ptr<const TlsClient> tls;  // of an address with TLS
    const Clock* clock = nullptr;
    int64_t connect_nanos = 0;
  };
  explicit RedisNodes(Options options);
  ~RedisNodes();

  // Sends each command to the server of its key, which is its second word. Returns a reply for each, in
  // order: one of kNone where a server failed while another replied. `most_bytes` bounds the replies of one
  // server. kIo, kUnavailable: no server replied.
  Result<std::vector<RedisReply>> Call(std::span<const Command> commands, size_t most_bytes, int64_t nanos);
  // The servers that have slots; a single server.
  Result<std::vector<std::shared_ptr<Node>>> Servers(int64_t nanos);
  // Sends one command to one server. What it answers with an error is a reply. kUnavailable: it is left
  // alone.
  Result<RedisReply> CallServer(Node& node, const Command& command, size_t most_bytes, int64_t nanos);

  // Whether the server of the key is left alone, and whether there is one that is. They ask nobody.
  bool IsLeftAlone(std::string_view key) const;
  bool SomeLeftAlone() const { return some_failed_; }
  // Whether servers of a cluster fail, and others work.
  bool WorksInPart() const;

 private:
  struct Errand;
  std::shared_ptr<Node> NodeAt(const RedisEndpoint& endpoint) REQUIRES(mutex_);
  std::shared_ptr<Node> NodeOf(uint16_t slot) const REQUIRES(mutex_);
  // Asks for the map of slots if it is due.
  Status PrepareMap(int64_t deadline, int64_t nanos);
  // When the first of so many calls that are left until the deadline has to end: each has an equal part, but
  // not too little to connect.
  int64_t PartOf(int64_t deadline, size_t calls) const;
  std::vector<std::shared_ptr<Node>> MapSources();
  void TakeMap(const RedisReply& reply, const RedisEndpoint& sender);
  // What is redirected goes to `next`.
  Status CallGroup(std::span<const Errand> group, std::span<const Command> commands, size_t most_bytes,
                   int64_t deadline, int64_t nanos, std::vector<RedisReply>* replies,
                   std::vector<Errand>* next);
  std::shared_ptr<Node> Follow(const RedisRedirection& redirection);
  Result<std::vector<RedisReply>> CallNode(Node& node, std::span<const Command> commands, size_t most_bytes,
                                           int64_t deadline, int64_t nanos);
  Result<std::unique_ptr<RedisConnection>> TakeConnection(Node& node, int64_t deadline);
  static Status LeftAlone(const Node& node);
  void NoteFailure(Node& node, const Status& status, int64_t began);
  void NoteSuccess(Node& node);

  const Options options_;
  const std::shared_ptr<Node> first_;  // the server of the address
  mutable Mutex mutex_;
  enum class Shape { kUnknown, kSingle, kCluster } shape_ GUARDED_BY(mutex_) = Shape::kUnknown;
  std::vector<std::shared_ptr<Node>> nodes_ GUARDED_BY(mutex_);  // of a cluster
  std::vector<uint16_t> owners_ GUARDED_BY(mutex_);  // of slots: indices of nodes_; empty: no cluster
  bool map_is_old_ GUARDED_BY(mutex_) = false;
  int64_t asked_nanos_ GUARDED_BY(mutex_) = 0;  // when the map was asked for last
  std::atomic<bool> some_failed_ = false;       // false: no server of the cluster fails
};

}  // namespace prefixd
