// AsyncStore: a non-blocking interface to a BlockStore for one thread, the engine thread. An Executor runs
// the operations; the caller polls for completions. Only the owning thread may call the members. A Scan has
// many results, so it is not an operation here: a job of its own calls it on the store.
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
//   3. `on_completion` runs once for every operation that completes, when Poll can already report it. So an
//      owner that sleeps until the callback wakes it, and then polls, misses no completion. The callback does
//      not run after the destructor has returned.
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

  // Requires `max_in_flight` > 0. `on_completion` may be empty. Threads of the executor call it, one call
  // at a time. It must not throw, and should only wake the owner.
  AsyncStore(BlockStore* store, Executor* executor, size_t max_in_flight,
             std::function<void()> on_completion = nullptr);
  // Waits for a running call of `on_completion`. The caller must not hold a lock that this call takes.
  ~AsyncStore();

  // These return false when too many operations are in flight or the executor is full. The operation then
  // does not take place.
  [[nodiscard]] bool TryGet(const BlockKey& key, uint64_t tag);
  // `encode` makes the record, on a thread of the executor: whoever submits it is not to encode or compress.
  // An error that it returns is the status of the operation.
  [[nodiscard]] bool TryPut(std::function<Result<StoreEntry>()> encode, uint64_t tag);
  [[nodiscard]] bool TryPut(const BlockKey& key, std::string record, uint64_t tag);
  [[nodiscard]] bool TryDelete(const BlockKey& key, uint64_t tag);
  // Makes durable the operations whose completions were polled before this call.
  [[nodiscard]] bool TrySync(uint64_t tag);

  // Appends the operations that have completed since the last call.
  void Poll(std::vector<Completion>* finished);

  size_t in_flight() const { return in_flight_; }

 private:
  struct Shared;  // the completions to poll, and the callback; shared with the jobs
  // An executor thread runs `operation`, which sets the status and, for a Get, the record.
  bool TrySubmit(uint64_t tag, std::function<void(BlockStore*, Completion*)> operation);

  BlockStore* const store_;
  Executor* const executor_;
  const size_t max_in_flight_;
  size_t in_flight_ = 0;
  std::shared_ptr<Shared> shared_;
};

}  // namespace prefixd
