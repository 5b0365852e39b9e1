// DropQueue: carries what the store of the disk tier drops by itself, from any thread, to the engine thread.
// So the engine learns of it between two of its own changes, and tells listeners of both in one order. It has
// a fixed size: the oldest drops are forgotten, and the taker is told so.
//
// Threads: any thread may call Add, which never waits for the engine thread. One thread, the taker, calls the
// other members.
//
// Invariants
//   1. It holds at most `capacity` drops.
//   2. A drop that was added before a call of Take is in the result, or it was forgotten.
//   3. `wake` is called when a drop comes to an empty queue, and never after SetWake has replaced it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "storage/block_store.h"

namespace prefixd {

struct RecordDrop {
  BlockKey key;
  std::optional<DropReason> reason;  // nothing: an operator has deleted it
};

class DropQueue {
 public:
  static constexpr size_t kCapacity = size_t{1} << 16;  // four full segments

  explicit DropQueue(size_t capacity = kCapacity) : capacity_(capacity) {}

  void Add(const BlockKey& key, std::optional<DropReason> reason) EXCLUDES(mutex_);
  // Appends the drops in their order. Returns whether none was forgotten since the last call.
  bool Take(std::vector<RecordDrop>* drops) EXCLUDES(mutex_);
  // May be called within a lock of the caller of Add.
  void SetWake(std::function<void()> wake) EXCLUDES(mutex_);

  // Those in the queue, and those that were taken from a full one.
  static size_t MaxMemoryBytes(size_t capacity = kCapacity) { return 3 * capacity * sizeof(RecordDrop); }

 private:
  const size_t capacity_;
  Mutex mutex_;
  std::vector<RecordDrop> drops_ GUARDED_BY(mutex_);  // a ring, once it is full
  uint64_t added_ GUARDED_BY(mutex_) = 0;             // since the last Take
  std::function<void()> wake_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
