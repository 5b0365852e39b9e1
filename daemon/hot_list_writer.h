// HotListWriter: tells a fleet which blocks this daemon uses most. A thread of its own merges what requests
// took from the cache into the hot list of the store (storage/hot_list.h), every kInterval while there is
// something new. While the store fails, it keeps what it knows.
//
// Threads: any thread may call the members. The store outlives it, and it outlives the engine that counts.
//
// Invariants
//   1. Its memory is at most kMostBytes, whatever is served and whatever the store has.
//   2. What it writes has at most HotList::kMostBytes bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/remote_tier.h"
#include "engine/hot_blocks.h"
#include "storage/hot_list.h"

namespace prefixd {

struct HotListStats {
  uint64_t blocks = 0;  // of the list of the fleet, when it was written last
  uint64_t writes = 0;
};

class HotListWriter {
 public:
  static constexpr std::chrono::seconds kInterval{10};
  static constexpr size_t kCountedBlocks = 2 * HotList::kMostBlocks;  // in an interval
  // The counts twice; the lists of the daemon and of the fleet, their sum, and their bytes on the way.
  static constexpr size_t kMostBytes =
      2 * kCountedBlocks * HotBlocks::kBytesPerBlock + 8 * HotList::kMostBytes;

  HotListWriter(const BlockKey& fingerprint, int block_tokens, RemoteTier* store, const Clock* clock,
                std::chrono::milliseconds interval = kInterval);
  ~HotListWriter();

  HotBlocks* counts() { return &counts_; }  // for the engine
  HotListStats stats() const;

 private:
  void Run();
  void Merge();

  const BlockKey fingerprint_;
  const double interval_;  // seconds
  RemoteTier& store_;
  const Clock& clock_;
  HotBlocks counts_;
  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  HotListStats stats_ GUARDED_BY(mutex_);
  // Its thread.
  HotList own_;
  double faded_ = 0;     // when `own_` was as it is, in seconds of the clock
  bool is_new_ = false;  // something in `own_` has not been written
  std::thread thread_;   // last member: it starts when the others are constructed
};

}  // namespace prefixd
