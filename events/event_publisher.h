// EventPublisher: tells routers which prefixes this daemon has, as KV events on vLLM's wire. It takes what
// the cache tells from a ResidencyQueue, keeps what subscribers know in a BlockIndex, and publishes the
// changes.
//
//   start, and whenever changes were lost     AllBlocksCleared; then the engine is asked for a report, and
//                                             nothing is published until it is complete
//   report complete, new subscription         AllBlocksCleared and all blocks, to all subscribers
//   end                                       AllBlocksCleared
//
// A replay from a number that is still buffered has the buffered batches. From an older one it has all blocks
// under that number and those after it, then empty batches up to the last number, so that the numbers are
// contiguous. Where that takes more than kMostReplayed batches it is empty.
//
// Threads: the constructor starts the thread that does it all, the destructor ends it. Any thread calls the
// other members.
//
// Invariants
//   1. A subscriber that has seen every batch since the last AllBlocksCleared knows no block that the daemon
//      did not have when the last of them was made; only the disk may have dropped one since.
//   2. The number of a batch is that of the batch before it plus 1, also over restarts if there is a
//      SequenceFile (but for a gap after a kill).
//   3. At most kMostBuffered batches of kMostBufferedBytes bytes are buffered for replays.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "events/block_index.h"
#include "events/event_batch.h"
#include "events/event_sockets.h"
#include "events/residency_queue.h"
#include "events/sequence_file.h"

namespace prefixd {

struct EventStats {
  uint64_t batches = 0, stored = 0, removed = 0, cleared = 0;  // stored and removed: events, not blocks
  uint64_t lost = 0;                                           // changes
  uint64_t snapshots = 0;                                      // all blocks, for subscribers
  uint64_t replays = 0;                                        // requests
};

class EventPublisher {
 public:
  static constexpr size_t kMostBuffered = 10'000, kMostBufferedBytes = 16 << 20;
  static constexpr size_t kMostReplayed = 100'000;
  static constexpr double kSnapshotSeconds = 1;  // between two for subscriptions

  struct Options {
    std::string topic;
    BlockKey shared_root;          // the namespace without extra keys
    size_t most_blocks = 1 << 20;  // that are announced
    std::function<void()> wake;    // makes the engine thread see whether a report is wanted
    const Clock* clock = nullptr;
  };
  // `sockets` and `queue` outlive it; nobody else uses the sockets, and the queue calls their Wake.
  EventPublisher(Options options, SequenceFile sequence, EventSockets* sockets, ResidencyQueue* queue);
  ~EventPublisher();

  EventStats stats() const;

 private:
  void Run();
  void TakeChanges();
  void Apply(ResidencyChange change);
  void Store(ResidencyChange change);
  void Gather(const BlockIndex::Entry* entry, Tier tier);  // for the next BlockStored
  void Flush();                                            // puts what was gathered into the batch
  void Send();
  void SendPayload(std::string payload);
  void SendCleared();
  // AllBlocksCleared and all blocks, in payloads of about kBatchBytes.
  std::vector<std::string> Snapshot(size_t batch_bytes) const;
  void SendSnapshot();
  void Replay(const EventSockets::ReplayRequest& request);
  double Now() const { return options_.clock->NowSeconds(); }

  const Options options_;
  EventSockets* const sockets_;
  ResidencyQueue* const queue_;
  SequenceFile sequence_;
  BlockIndex index_;
  EventBatch batch_;
  // Gathered for one event: blocks that follow each other, or keys.
  std::vector<const BlockIndex::Entry*> stored_;
  std::vector<BlockKey> removed_;
  Tier tier_ = Tier::kDevice;
  uint64_t report_ = 0;  // that is waited for; 0: none
  bool asked_ = false;   // for a snapshot
  double last_snapshot_ = -kSnapshotSeconds;
  struct Buffered {
    uint64_t sequence;
    std::string payload;
  };
  std::deque<Buffered> buffered_;
  size_t buffered_bytes_ = 0;
  struct Counters {
    std::atomic<uint64_t> batches{0}, stored{0}, removed{0}, cleared{0}, snapshots{0}, replays{0};
  };
  mutable Counters counters_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace prefixd
