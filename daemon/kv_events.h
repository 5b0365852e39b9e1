// KvEvents: the KV events of a running daemon (events/event_publisher.h), as the options say. What the engine
// tells goes through its queue; nothing is published before Start.
//
// Threads: the main thread calls Bind, Start and Stop, and any thread stats. It must outlive the
// engine.
#pragma once

#include <memory>
#include <string>

#include "daemon/api/context.h"
#include "daemon/options.h"
#include "daemon/tier_plan.h"
#include "engine/engine.h"
#include "events/event_publisher.h"

namespace prefixd {

// kInvalidArgument: options of KV events that contradict each other.
Status CheckKvEvents(const Options& options);
// Blocks that are announced at most, and what the events take of memory.
size_t MostEventBlocks(const TierPlan& tiers, const KvLayout& layout, uint32_t blocks);
uint64_t KvEventBytes(size_t most_blocks, int block_tokens);

class KvEvents {
 public:
  // Binds the sockets. Null without --kv-events. The errors are those of EventSockets::Bind and
  // SequenceFile::Open.
  static Result<std::unique_ptr<KvEvents>> Bind(const Options& options, const BlockKey& fingerprint);

  ResidencyListener* listener() { return queue_.get(); }

  // `engine` and `clock` must outlive the next Stop.
  void Start(Engine* engine, size_t most_blocks, const Clock* clock);
  void Stop() { publisher_.reset(); }
  KvEventSource source() const;  // for GET /kv_event_sources
  EventStats stats() const { return publisher_ == nullptr ? EventStats() : publisher_->stats(); }

 private:
  KvEvents(std::string topic, const BlockKey& shared_root, SequenceFile sequence)
      : topic_(std::move(topic)), shared_root_(shared_root), sequence_(std::move(sequence)) {}

  const std::string topic_;
  const BlockKey shared_root_;
  SequenceFile sequence_;
  std::unique_ptr<EventSockets> sockets_;
  std::unique_ptr<ResidencyQueue> queue_;
  std::unique_ptr<EventPublisher> publisher_;
};

}  // namespace prefixd
