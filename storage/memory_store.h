// MemoryStore: a BlockStore in RAM with a byte budget. It is not durable: its records are lost when the
// process ends. Any thread.
//
// Invariants
//   1. At every moment bytes() is the sum of (size + kRecordOverhead) over all records, and it is at most
//      capacity().
#pragma once

#include <unordered_map>

#include "base/mutex.h"
#include "storage/block_store.h"

namespace prefixd {

class MemoryStore final : public BlockStore {
 public:
  // Bytes that each record counts in addition to its size: for its key, string, hash node and allocator.
  static constexpr uint64_t kRecordOverhead = 96;

  explicit MemoryStore(uint64_t capacity) : capacity_(capacity) {}

  Result<std::string> Get(const BlockKey& key) override;
  Status Put(const BlockKey& key, std::string_view record) override;
  Status Delete(const BlockKey& key) override;
  Status Sync() override { return Status::Ok(); }
  // Holds a copy of all keys during the scan, in addition to bytes().
  Status Scan(const Visitor& visitor) override;
  uint64_t bytes() const override;
  uint64_t capacity() const override { return capacity_; }

  // Aborts when an invariant does not hold. O(records).
  void CheckInvariants() const;

 private:
  const uint64_t capacity_;
  mutable Mutex mutex_;
  std::unordered_map<BlockKey, std::string> records_ GUARDED_BY(mutex_);
  uint64_t bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd
