#include "tests/support/redis_cluster.h"

#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"
#include "storage/redis_slots.h"

namespace prefixd {

RedisCluster::RedisCluster(const std::vector<std::string>& options, size_t servers) {
  share_ = (kRedisSlots + servers - 1) / servers;
  for (size_t i = 0; i < servers; ++i) {
    std::vector<std::string> words{"--cluster-enabled",
                                   "yes",
                                   "--dir",
                                   folder_.path().string(),
                                   "--cluster-config-file",
                                   "nodes-" + std::to_string(i),
                                   "--cluster-node-timeout",
                                   "2000",
                                   "--cluster-require-full-coverage",
                                   "no"};
    words.insert(words.end(), options.begin(), options.end());
    servers_.push_back(std::make_unique<RedisServer>(words));
    ids_.push_back(Do(i, {"CLUSTER", "MYID"}));
    // As redis-cli does. Servers of equal epochs raise their own at any time. One that raises its own while
    // it gives a slot away takes the slot back, and the other one then deletes the keys.
    Do(i, {"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
    Do(i, {"CLUSTER", "ADDSLOTSRANGE", std::to_string(i * share_),
           std::to_string(std::min<size_t>((i + 1) * share_, kRedisSlots) - 1)});
  }
  for (size_t i = 1; i < servers; ++i)
    Do(0, {"CLUSTER", "MEET", "127.0.0.1", std::to_string(servers_[i]->address().port),
           std::to_string(servers_[i]->bus_port())});
  const SystemClock clock;
  const int64_t begun = clock.NowNanos();
  const std::string all = "cluster_known_nodes:" + std::to_string(servers);
  for (size_t i = 0; i < servers;) {
    const std::string info = Do(i, {"CLUSTER", "INFO"});
    if (info.find("cluster_state:ok") != std::string::npos && info.find(all) != std::string::npos &&
        info.find("cluster_slots_ok:16384") != std::string::npos) {
      ++i;
      continue;
    }
    PREFIXD_CHECK(clock.NowNanos() - begun < 60'000'000'000) << "the cluster does not form:\n" << info;
    ::usleep(20'000);
  }
}

std::string RedisCluster::Do(size_t server, const std::vector<std::string>& words) {
  RedisReply reply = servers_[server]->Ask(words);
  PREFIXD_CHECK(reply.kind != RedisReply::Kind::kError) << words[0] << ": " << reply.text;
  return std::move(reply.text);
}

void RedisCluster::BeginMove(uint16_t slot, size_t from, size_t to) {
  Do(to, {"CLUSTER", "SETSLOT", std::to_string(slot), "IMPORTING", ids_[from]});
  Do(from, {"CLUSTER", "SETSLOT", std::to_string(slot), "MIGRATING", ids_[to]});
}

size_t RedisCluster::MoveKeys(uint16_t slot, size_t from, size_t to) {
  const RedisReply keys = servers_[from]->Ask({"CLUSTER", "GETKEYSINSLOT", std::to_string(slot), "1000"});
  for (const RedisReply& key : keys.elements)
    Do(from, {"MIGRATE", "127.0.0.1", std::to_string(servers_[to]->address().port), key.text, "0", "20000"});
  return keys.elements.size();
}

void RedisCluster::EndMove(uint16_t slot, size_t to) {
  const auto tell = [&](size_t server) {
    Do(server, {"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", ids_[to]});
  };
  tell(to);  // first: else nobody has it
  for (size_t i = 0; i < servers_.size(); ++i) {
    if (i != to) tell(i);
  }
  const SystemClock clock;
  const int64_t begun = clock.NowNanos();
  for (size_t i = 0; i < servers_.size();) {
    if (SaysThatHas(i, slot, to)) {
      ++i;
      continue;
    }
    tell(i);  // an old message has told it otherwise
    ::usleep(20'000);
    i = 0;
    PREFIXD_CHECK(clock.NowNanos() - begun < 60'000'000'000) << "the servers do not agree on slot " << slot;
  }
}

bool RedisCluster::SaysThatHas(size_t server, uint16_t slot, size_t owner) {
  const auto ranges = ParseSlotRanges(servers_[server]->Ask({"CLUSTER", "SLOTS"}), {});
  PREFIXD_CHECK(ranges.has_value());
  return std::ranges::any_of(*ranges, [&](const RedisSlotRange& range) {
    return range.first <= slot && slot <= range.last && range.server.port == servers_[owner]->address().port;
  });
}

}  // namespace prefixd
