#include "daemon/kv_events.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "daemon/limit_table.h"

namespace prefixd {

Status CheckKvEvents(const Options& options) {
  if (!options.kv_events.empty()) {
    if (options.no_prefix_cache)
      return InvalidArgument(
          "kv-events: with no-prefix-cache there is nothing to tell; leave out one of them");
    return Status::Ok();
  }
  const auto needs = [](std::string_view name) {
    return InvalidArgument(std::string(name) + ": give kv-events as well");
  };
  if (!options.kv_events_replay.empty()) return needs("kv-events-replay");
  if (!options.kv_events_topic.empty()) return needs("kv-events-topic");
  if (!options.kv_events_sequence.empty()) return needs("kv-events-sequence");
  if (options.kv_events_tenants) return needs("kv-events-tenants");
  return Status::Ok();
}

size_t MostEventBlocks(const TierPlan& tiers, const KvLayout& layout, uint32_t blocks) {
  const uint64_t disk = tiers.disk.on ? tiers.disk.Blocks(layout) : 0;
  return size_t{blocks} + tiers.host_blocks + std::min(disk, Limit<uint64_t>("kv-event-disk-blocks"));
}

uint64_t KvEventBytes(size_t most_blocks, int block_tokens) {
  constexpr uint64_t kHeap = 16;
  const uint64_t tokens = static_cast<uint64_t>(block_tokens) * sizeof(TokenId) + kHeap;
  // In the queue, and taken from it; a vector grows to twice its size.
  const uint64_t queued = 2 * Limit<uint64_t>("kv-event-queue") * (2 * sizeof(ResidencyChange) + tokens);
  // A snapshot for a replay lies beside the index as a whole.
  const uint64_t snapshot = most_blocks * (3 * kTiers + 5) * static_cast<uint64_t>(block_tokens);
  return BlockIndex::MaxMemoryBytes(most_blocks, block_tokens) + queued + snapshot +
         EventPublisher::kMostBufferedBytes;
}

Result<std::unique_ptr<KvEvents>> KvEvents::Bind(const Options& options, const BlockKey& fingerprint) {
  if (options.kv_events.empty()) return std::unique_ptr<KvEvents>();
  const BlockKey shared_root = RootKey(fingerprint, "");
  Result<SequenceFile> sequence = SequenceFile::Open(options.kv_events_sequence);
  if (!sequence.ok()) return sequence.status().WithContext("kv-events-sequence");
  std::unique_ptr<KvEvents> events(new KvEvents(options.kv_events_topic, shared_root, *std::move(sequence)));
  PREFIXD_ASSIGN_OR_RETURN(events->sockets_,
                           EventSockets::Bind({options.kv_events, options.kv_events_replay}));
  const EventEndpoints& bound = events->sockets_->bound();
  Log(LogLevel::kInfo, "KV events",
      {{"endpoint", bound.events},
       {"replay", bound.replay},
       {"topic", options.kv_events_topic},
       {"sequence", events->sequence_.next()}});
  for (const std::string& endpoint : {bound.events, bound.replay}) {
    if (!endpoint.empty() && !IsLocalEndpoint(endpoint))
      Log(LogLevel::kWarning, "others than this machine can read KV events", {{"endpoint", endpoint}});
  }
  events->queue_ = std::make_unique<ResidencyQueue>(
      Limit<size_t>("kv-event-queue"),
      options.kv_events_tenants ? std::nullopt : std::optional<BlockKey>(shared_root),
      [sockets = events->sockets_.get()] { sockets->Wake(); });
  return events;
}

KvEventSource KvEvents::source() const {
  return {.endpoint = sockets_->bound().events,
          .replay_endpoint = sockets_->bound().replay,
          .topic = topic_,
          .buffered = EventPublisher::kMostBuffered,
          .unread = EventSockets::kMostUnread,
          .queued = Limit<size_t>("kv-event-queue")};
}

void KvEvents::Start(Engine* engine, size_t most_blocks, const Clock* clock) {
  publisher_ =
      std::make_unique<EventPublisher>(EventPublisher::Options{.topic = topic_,
                                                               .shared_root = shared_root_,
                                                               .most_blocks = most_blocks,
                                                               .wake = [engine] { engine->view().Wake(); },
                                                               .clock = clock},
                                       sequence_, sockets_.get(), queue_.get());
}

}  // namespace prefixd
