// AsyncStore: a non-blocking interface to a BlockStore for one thread, the engine thread. An Executor runs
// the operations; the caller polls for completions. Only the owning thread may call the members.
//
// The store and the executor must outlive the AsyncStore. The store must also outlive every job that the
// executor has accepted, so destroy the executor first. An AsyncStore may be destroyed while operations run:
// they complete, and their completions are dropped.
//
// Invariants
//   1. At most `max_in_flight` operations are accepted and not yet polled. A further operation is rejected at
//      once and does not take place.
//   2. Poll reports every accepted operation exactly once. Operations complete in any order, those on one key
//      too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "storage/block_store.h"

namespace prefixd {

class AsyncStore {
 public:
  struct Completion {
    uint64_t tag;  // the caller's id of the operation
    Status status;
    std::string record;  // the result of a Get whose status is ok
  };

  // `max_in_flight` > 0.
  AsyncStore(BlockStore* store, Executor* executor, size_t max_in_flight);
  ~AsyncStore();

  // These return false when too many operations are in flight or the executor is full. The operation then
  // does not take place.
  [[nodiscard]] bool TryGet(const BlockKey& key, uint64_t tag);
  [[nodiscard]] bool TryPut(const BlockKey& key, std::string record, uint64_t tag);
  [[nodiscard]] bool TryDelete(const BlockKey& key, uint64_t tag);
  // Makes durable the operations whose completions were polled before this call.
  [[nodiscard]] bool TrySync(uint64_t tag);

  // Appends the operations that have completed since the last call.
  void Poll(std::vector<Completion>* finished);

  size_t in_flight() const { return in_flight_; }

 private:
  struct Finished;  // the completions to poll; shared with the jobs
  // An executor thread runs `operation`, which sets the status and, for a Get, the record.
  bool TrySubmit(uint64_t tag, std::function<void(BlockStore*, Completion*)> operation);

  BlockStore* const store_;
  Executor* const executor_;
  const size_t max_in_flight_;
  size_t in_flight_ = 0;
  std::shared_ptr<Finished> finished_;
};

}  // namespace prefixd
