#include "storage/redis_nodes.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/read_pause.h"

namespace prefixd {
namespace {

constexpr int64_t kMapNanos = 1'000'000'000;  // from one look at the map to the next, at least
constexpr int64_t kLeastPart = 50'000'000;    // a server that works needs less for a connection and a reply
constexpr size_t kMapReply = 2 << 20;
constexpr size_t kMapSources = 2;  // that are asked for the map, beside the server of the address

constexpr size_t kRedirectionBytes = 320;  // at most: the name of a host has up to 253

// Whether a server says that it cannot answer for its keys now.
bool SaysThatItFails(const RedisReply& reply) {
  return reply.kind == RedisReply::Kind::kError &&
         (reply.text.starts_with("CLUSTERDOWN") || reply.text.starts_with("LOADING"));
}

}  // namespace

struct RedisNodes::Node {
  explicit Node(RedisEndpoint at) : endpoint(std::move(at)) {}

  const RedisEndpoint endpoint;
  ReadPause pause;
  Mutex mutex;
  std::vector<std::unique_ptr<RedisConnection>> idle GUARDED_BY(mutex);
  std::atomic<bool> fails = false;  // since its last call; of a cluster
};

Status RedisNodes::LeftAlone(const Node& node) {
  return Unavailable(node.endpoint.Name() + " has failed, and is left alone for a while");
}

struct RedisNodes::Errand {
  size_t command;  // its index
  std::shared_ptr<Node> node;
  bool asks;  // after ASKING
};

RedisNodes::RedisNodes(Options options)
    : options_(std::move(options)),
      first_(std::make_shared<Node>(RedisEndpoint{options_.address.host, options_.address.port})) {
  PREFIXD_CHECK(options_.clock != nullptr && options_.address.tls == (options_.tls != nullptr));
}

RedisNodes::~RedisNodes() = default;

// --- One server ---

Result<std::unique_ptr<RedisConnection>> RedisNodes::TakeConnection(Node& node, int64_t deadline) {
  {
    MutexLock lock(node.mutex);
    while (!node.idle.empty()) {
      std::unique_ptr<RedisConnection> connection = std::move(node.idle.back());
      node.idle.pop_back();
      if (connection->IsUsable()) return connection;
    }
  }
  RedisAddress address = options_.address;
  address.host = node.endpoint.host;
  address.port = node.endpoint.port;
  return RedisConnection::Open(address, options_.clock, deadline, options_.tls.get());
}

Result<std::vector<RedisReply>> RedisNodes::CallNode(Node& node, std::span<const Command> commands,
                                                     size_t most_bytes, int64_t deadline, int64_t nanos) {
  const Clock& clock = *options_.clock;
  const int64_t began = clock.NowNanos();
  Result<std::unique_ptr<RedisConnection>> connection =
      TakeConnection(node, std::min(deadline, began + options_.connect_nanos));
  if (!connection.ok()) {
    NoteFailure(node, connection.status(), began);
    return connection.status();
  }
  Result<std::vector<RedisReply>> replies =
      (*connection)->Call(commands, most_bytes, std::min(deadline, clock.NowNanos() + nanos));
  if (!replies.ok()) {
    NoteFailure(node, replies.status(), began);
    return replies;
  }
  MutexLock lock(node.mutex);
  node.idle.push_back(*std::move(connection));
  return replies;
}

void RedisNodes::NoteFailure(Node& node, const Status& status, int64_t began) {
  bool is_cluster = false;
  {
    MutexLock lock(mutex_);
    is_cluster = shape_ == Shape::kCluster;
    map_is_old_ = map_is_old_ || is_cluster;
  }
  std::vector<std::unique_ptr<RedisConnection>> closed;  // after the lock
  {
    MutexLock lock(node.mutex);
    closed.swap(node.idle);
  }
  if (!is_cluster) return;
  node.pause.Failed(began, options_.clock->NowNanos());
  some_failed_ = true;
  if (!node.fails.exchange(true))
    Log(LogLevel::kWarning, "a server of the remote cache fails; its blocks are missing until it works",
        {{"server", node.endpoint.Name()}, {"error", status.message()}});
}

void RedisNodes::NoteSuccess(Node& node) {
  if (!node.fails || node.pause.IsOn(*options_.clock)) return;  // another call has failed meanwhile
  node.pause.Succeeded();
  if (node.fails.exchange(false))
    Log(LogLevel::kInfo, "a server of the remote cache works again", {{"server", node.endpoint.Name()}});
}

Result<RedisReply> RedisNodes::CallServer(Node& node, const Command& command, size_t most_bytes,
                                          int64_t nanos) {
  if (node.pause.IsOn(*options_.clock)) return LeftAlone(node);
  const int64_t deadline = options_.clock->NowNanos() + options_.connect_nanos + nanos;
  PREFIXD_ASSIGN_OR_RETURN(std::vector<RedisReply> replies,
                           CallNode(node, std::span(&command, 1), most_bytes, deadline, nanos));
  return std::move(replies.front());
}

int64_t RedisNodes::PartOf(int64_t deadline, size_t calls) const {
  const int64_t now = options_.clock->NowNanos();
  return std::min(deadline, now + std::max((deadline - now) / static_cast<int64_t>(calls), kLeastPart));
}

// --- The map ---

std::shared_ptr<RedisNodes::Node> RedisNodes::NodeAt(const RedisEndpoint& endpoint) {
  const auto known = std::ranges::find(nodes_, endpoint, [](const auto& node) { return node->endpoint; });
  if (known != nodes_.end()) return *known;
  if (nodes_.size() >= kMostNodes) return nullptr;
  return nodes_.emplace_back(endpoint == first_->endpoint ? first_ : std::make_shared<Node>(endpoint));
}

// A slot of no server is asked of the first: it says why.
std::shared_ptr<RedisNodes::Node> RedisNodes::NodeOf(uint16_t slot) const {
  if (owners_.empty() || owners_[slot] >= nodes_.size()) return first_;
  return nodes_[owners_[slot]];
}

// Servers that work, then the server of the address.
std::vector<std::shared_ptr<RedisNodes::Node>> RedisNodes::MapSources() {
  std::vector<std::shared_ptr<Node>> sources;
  MutexLock lock(mutex_);
  for (const std::shared_ptr<Node>& node : nodes_) {
    if (sources.size() < kMapSources && node != first_ && !node->pause.IsOn(*options_.clock))
      sources.push_back(node);
  }
  sources.push_back(first_);
  return sources;
}

Status RedisNodes::PrepareMap(int64_t deadline, int64_t nanos) {
  {
    const int64_t now = options_.clock->NowNanos();
    MutexLock lock(mutex_);
    const bool is_due = map_is_old_ && now >= asked_nanos_ + kMapNanos;
    if (shape_ != Shape::kUnknown && !is_due) return Status::Ok();
    asked_nanos_ = now;
  }
  const Command command{"CLUSTER", "SLOTS"};
  Status failed = Status::Ok();
  const std::vector<std::shared_ptr<Node>> sources = MapSources();
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::shared_ptr<Node>& source = sources[i];
    // The call for which the map is asked for comes after these.
    Result<std::vector<RedisReply>> replies =
        CallNode(*source, std::span(&command, 1), kMapReply, PartOf(deadline, sources.size() - i + 1), nanos);
    if (replies.ok() && SaysThatItFails(replies->front())) {
      failed = Unavailable(source->endpoint.Name() + " says that it cannot answer now");
      continue;
    }
    if (replies.ok()) {
      TakeMap(replies->front(), source->endpoint);
      return Status::Ok();
    }
    failed = replies.status();
  }
  // The old map serves as long as it can. What answers other commands, but not this one, is no cluster.
  MutexLock lock(mutex_);
  return shape_ == Shape::kUnknown && failed.code() != Code::kIo ? failed : Status::Ok();
}

// A reply that is no map: the server is no cluster, or the user may not ask. Redirections tell the rest.
void RedisNodes::TakeMap(const RedisReply& reply, const RedisEndpoint& sender) {
  const auto ranges = ParseSlotRanges(reply, sender);
  MutexLock lock(mutex_);
  map_is_old_ = false;
  if (!ranges) {
    if (shape_ == Shape::kUnknown) shape_ = Shape::kSingle;
    return;
  }
  shape_ = Shape::kCluster;
  const std::vector<std::shared_ptr<Node>> before = std::exchange(nodes_, {});
  owners_.assign(kRedisSlots, UINT16_MAX);
  // Servers that stay keep their connections and pauses.
  for (const RedisSlotRange& range : *ranges) {
    const auto known =
        std::ranges::find(before, range.server, [](const auto& node) { return node->endpoint; });
    if (known != before.end() && std::ranges::find(nodes_, *known) == nodes_.end()) nodes_.push_back(*known);
    const std::shared_ptr<Node> node = NodeAt(range.server);
    const auto index = std::ranges::find(nodes_, node) - nodes_.begin();  // its size: there are too many
    for (size_t slot = range.first; slot <= range.last; ++slot) owners_[slot] = static_cast<uint16_t>(index);
  }
  some_failed_ = false;
  for (const std::shared_ptr<Node>& node : nodes_) {
    if (node->fails) some_failed_ = map_is_old_ = true;
  }
}

std::shared_ptr<RedisNodes::Node> RedisNodes::Follow(const RedisRedirection& redirection) {
  MutexLock lock(mutex_);
  if (shape_ != Shape::kCluster) {  // it has become one, or did not tell its map
    shape_ = Shape::kCluster;
    nodes_ = {first_};
    owners_.assign(kRedisSlots, 0);
  }
  const std::shared_ptr<Node> target = NodeAt(redirection.target);
  if (target == nullptr || redirection.asks) return target;
  map_is_old_ = true;
  owners_[redirection.slot] = static_cast<uint16_t>(std::ranges::find(nodes_, target) - nodes_.begin());
  return target;
}

// --- Calls ---

Status RedisNodes::CallGroup(std::span<const Errand> group, std::span<const Command> commands,
                             size_t most_bytes, int64_t deadline, int64_t nanos,
                             std::vector<RedisReply>* replies, std::vector<Errand>* next) {
  Node& node = *group.front().node;
  if (node.pause.IsOn(*options_.clock)) return LeftAlone(node);
  if (options_.clock->NowNanos() >= deadline)
    return Unavailable("another server of the cluster has taken all the time");
  const int64_t began = options_.clock->NowNanos();
  std::vector<Command> sent;
  for (const Errand& errand : group) {
    if (errand.asks) sent.push_back({"ASKING"});
    sent.push_back(commands[errand.command]);
  }
  // Each may be answered by a redirection.
  most_bytes += sent.size() * kRedirectionBytes;
  Result<std::vector<RedisReply>> got = CallNode(node, sent, most_bytes, deadline, nanos);
  PREFIXD_RETURN_IF_ERROR(got.status());
  // A server that loads its data answers other questions, so they say nothing.
  if (std::ranges::any_of(*got, SaysThatItFails)) {
    NoteFailure(node, Unavailable("it says that it cannot answer now"), began);
  } else {
    NoteSuccess(node);
  }
  size_t at = 0;
  for (const Errand& errand : group) {
    RedisReply& reply = (*got)[at++];
    if (errand.asks && reply.kind != RedisReply::Kind::kError) reply = std::move((*got)[at]);
    if (errand.asks) ++at;
    const auto redirection =
        reply.kind == RedisReply::Kind::kError ? ParseRedirection(reply.text, node.endpoint) : std::nullopt;
    const bool is_followed = redirection && redirection->slot == RedisSlotOf(commands[errand.command].at(1));
    const std::shared_ptr<Node> target = is_followed ? Follow(*redirection) : nullptr;
    if (target != nullptr) {
      next->push_back({errand.command, target, redirection->asks});
    } else {
      (*replies)[errand.command] = std::move(reply);
    }
  }
  return Status::Ok();
}

Result<std::vector<RedisReply>> RedisNodes::Call(std::span<const Command> commands, size_t most_bytes,
                                                 int64_t nanos) {
  const int64_t deadline = options_.clock->NowNanos() + options_.connect_nanos + nanos;
  PREFIXD_RETURN_IF_ERROR(PrepareMap(deadline, nanos));
  std::vector<Errand> errands;
  {
    MutexLock lock(mutex_);
    for (size_t i = 0; i < commands.size(); ++i)
      errands.push_back({i, NodeOf(RedisSlotOf(commands[i].at(1))), false});
  }
  std::vector<RedisReply> replies(commands.size());
  Status failed = Status::Ok();
  for (int hop = 0; !errands.empty() && hop <= kMostRedirections; ++hop) {
    std::map<const Node*, std::vector<Errand>> groups;
    for (Errand& errand : errands) groups[errand.node.get()].push_back(std::move(errand));
    errands.clear();
    size_t left = groups.size();
    for (const auto& [node, group] : groups) {
      const int64_t end = PartOf(deadline, left--);
      const Status status = CallGroup(group, commands, most_bytes, end, nanos, &replies, &errands);
      if (!status.ok()) failed = status;
    }
  }
  if (!errands.empty()) failed = Unavailable("the servers of the cluster redirect without end");
  const bool has_reply = std::ranges::any_of(
      replies, [](const RedisReply& reply) { return reply.kind != RedisReply::Kind::kNone; });
  if (!failed.ok() && !has_reply) return failed;
  MutexLock lock(mutex_);
  if (shape_ == Shape::kUnknown) shape_ = Shape::kSingle;
  return replies;
}

Result<std::vector<std::shared_ptr<RedisNodes::Node>>> RedisNodes::Servers(int64_t nanos) {
  PREFIXD_RETURN_IF_ERROR(PrepareMap(options_.clock->NowNanos() + options_.connect_nanos + nanos, nanos));
  MutexLock lock(mutex_);
  if (shape_ != Shape::kCluster) return std::vector<std::shared_ptr<Node>>{first_};
  std::vector<std::shared_ptr<Node>> servers;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (std::ranges::find(owners_, i) != owners_.end()) servers.push_back(nodes_[i]);
  }
  return servers;
}

bool RedisNodes::IsLeftAlone(std::string_view key) const {
  MutexLock lock(mutex_);
  return NodeOf(RedisSlotOf(key))->pause.IsOn(*options_.clock);
}

bool RedisNodes::WorksInPart() const {
  if (!some_failed_) return false;
  MutexLock lock(mutex_);
  const auto fails = [](const std::shared_ptr<Node>& node) { return node->fails.load(); };
  return std::ranges::any_of(nodes_, fails) && !std::ranges::all_of(nodes_, fails);
}

}  // namespace prefixd
