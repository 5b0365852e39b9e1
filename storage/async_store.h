// AsyncStore: the front through which one thread (the engine's) uses a BlockStore without ever waiting for
// it. Operations go to an Executor, their completions are polled. All members belong to that one thread.
//
// The store and the executor outlive the AsyncStore; the store also outlives every job the executor has
// taken, so it is destroyed after the executor. An AsyncStore may go while operations run: they end, and
// nobody hears of them.
//
// Invariants
//   1. At most `max_in_flight` operations are accepted and not yet polled; what is beyond is refused at once
//      and dropped.
//   2. Every accepted operation is reported exactly once, in any order; operations on one key may overtake
//      each other.
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
    uint64_t tag;  // the caller's name for the operation
    Status status;
    std::string record;  // of a Get that is ok
  };

  AsyncStore(BlockStore* store, Executor* executor, size_t max_in_flight);
  ~AsyncStore();

  // False: overloaded, the operation does not take place.
  [[nodiscard]] bool TryGet(const BlockKey& key, uint64_t tag);
  [[nodiscard]] bool TryPut(const BlockKey& key, std::string record, uint64_t tag);
  [[nodiscard]] bool TryDelete(const BlockKey& key, uint64_t tag);
  // Covers the operations polled before.
  [[nodiscard]] bool TrySync(uint64_t tag);

  // Appends what has finished since the last call.
  void Poll(std::vector<Completion>* finished);

  size_t in_flight() const { return in_flight_; }

 private:
  struct Finished;  // shared with the jobs
  // `operation` runs on a worker and fills in the status, and the record of a Get.
  bool TrySubmit(uint64_t tag, std::function<void(BlockStore*, Completion*)> operation);

  BlockStore* const store_;
  Executor* const executor_;
  const size_t max_in_flight_;
  size_t in_flight_ = 0;
  std::shared_ptr<Finished> finished_;
};

}  // namespace prefixd
