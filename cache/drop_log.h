// DropLog: remembers which records the disk tier has dropped by itself, and why, so that a miss can be
// explained. It has a fixed size: the oldest drops are forgotten.
//
// Threads: any thread may call Add; it is quick and never waits for the engine thread. The engine thread
// calls the other members.
//
// Invariant: it holds at most `capacity` drops that Take has taken, and as many that it has not.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "storage/block_store.h"

namespace prefixd {

class DropLog {
 public:
  explicit DropLog(size_t capacity) : capacity_(capacity) {}

  void Add(const BlockKey& key, DropReason reason);
  // Takes what was added since the last call.
  void Take();
  // Why the record under the key was dropped, as far as it was taken and is remembered.
  std::optional<DropReason> Find(const BlockKey& key) const;

  static size_t MaxMemoryBytes(size_t capacity);

 private:
  struct Drop {
    BlockKey key;
    DropReason reason;
  };
  const size_t capacity_;
  mutable Mutex mutex_;
  std::deque<Drop> added_ GUARDED_BY(mutex_);
  // Engine thread.
  std::deque<BlockKey> order_;
  std::unordered_map<BlockKey, DropReason> taken_;
};

}  // namespace prefixd
