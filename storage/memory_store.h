// MemoryStore: a BlockStore in RAM with a byte budget. It is not durable: its records are lost when the
// process ends. It makes room by dropping the record that was used least recently. Any thread.
//
// Invariants
//   1. At every moment bytes() is the sum of (size + kRecordOverhead) over all records, and it is at most
//      capacity().
//   2. by_use_ has every key once, the one that was used last at its front.
#pragma once

#include <list>
#include <unordered_map>

#include "base/mutex.h"
#include "storage/block_store.h"

namespace prefixd {

class MemoryStore final : public BlockStore {
 public:
  // Bytes that each record counts in addition to its size: for its key, string, nodes and allocator.
  static constexpr uint64_t kRecordOverhead = 144;

  // `on_drop` may be empty.
  explicit MemoryStore(uint64_t capacity, DropListener on_drop = nullptr)
      : capacity_(capacity), on_drop_(std::move(on_drop)) {}

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override;
  Status PutBatch(std::vector<StoreEntry> batch) override;
  Status Delete(const BlockKey& key) override;
  Status Sync() override { return Status::Ok(); }
  // Holds a copy of all keys during the scan, in addition to bytes().
  Status Scan(const Visitor& visitor) override;
  uint64_t bytes() const override;
  uint64_t capacity() const override { return capacity_; }
  uint64_t max_record_bytes() const override {
    return capacity_ > kRecordOverhead ? capacity_ - kRecordOverhead : 0;
  }

  // Aborts when an invariant does not hold. O(records).
  void CheckInvariants() const;

 private:
  struct Stored {
    std::string record;
    std::list<BlockKey>::iterator use;
  };
  void EraseLocked(std::unordered_map<BlockKey, Stored>::iterator record) REQUIRES(mutex_);

  const uint64_t capacity_;
  const DropListener on_drop_;
  mutable Mutex mutex_;
  std::unordered_map<BlockKey, Stored> records_ GUARDED_BY(mutex_);
  std::list<BlockKey> by_use_ GUARDED_BY(mutex_);
  uint64_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
