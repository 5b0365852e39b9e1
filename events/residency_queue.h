// ResidencyQueue: carries what the cache tells of its blocks from the engine thread to the thread that
// publishes it. It never waits.
//
//   full: everything in it is dropped, and what comes is dropped, until Take has told of it
//         -> the taker forgets what it knows and calls WantReport: the engine tells the whole tree again
//
// Threads: the engine thread calls the members of ResidencyListener; one thread, the taker, calls the others.
//
// Invariants
//   1. At most `most` changes are held.
//   2. Between two losses the taker gets every change, in its order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "cache/residency_listener.h"

namespace prefixd {

struct ResidencyChange {
  enum class Kind : uint8_t { kStored, kRemoved, kReported };
  Kind kind = Kind::kStored;
  Tier tier = Tier::kDevice;
  BlockKey key;
  // Of what is stored.
  BlockKey parent = {}, root = {};
  std::vector<TokenId> tokens = {};
  uint64_t report = 0;  // of kReported
};

class ResidencyQueue final : public ResidencyListener {
 public:
  // `only_root`: other namespaces are left out. `filled` is called on the thread that fills the empty queue.
  ResidencyQueue(size_t most, std::optional<BlockKey> only_root, std::function<void()> filled);

  void OnStored(const Block& block, Tier tier) override;
  void OnRemoved(const BlockKey& root, const BlockKey& key, Tier tier) override;
  void OnDropped(const BlockKey& key) override;
  void OnLost() override;
  uint64_t WantedReport() const override;
  void OnReported(uint64_t report) override;

  struct Taken {
    std::vector<ResidencyChange> changes;
    bool lost = false;  // changes before these were dropped
  };
  Taken Take();
  // Asks for a report under a new number, and returns that. It ends any other report.
  uint64_t WantReport();
  uint64_t lost() const {
    return lost_count_.load(std::memory_order_relaxed);
  }  // changes, in all; any thread

 private:
  void Push(ResidencyChange change);
  void LoseAllLocked() REQUIRES(mutex_);  // what the queue has, and one change more

  const size_t most_;
  const std::optional<BlockKey> only_root_;
  const std::function<void()> filled_;
  std::atomic<uint64_t> wanted_{0};
  std::atomic<uint64_t> last_report_{0};
  std::atomic<uint64_t> lost_count_{0};
  std::atomic<size_t> held_{0};  // changes in the queue
  mutable Mutex mutex_;
  std::vector<ResidencyChange> changes_ GUARDED_BY(mutex_);
  bool lost_ GUARDED_BY(mutex_) = false;
};

}  // namespace prefixd
