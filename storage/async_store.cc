#include "storage/async_store.h"

#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"

namespace prefixd {

struct AsyncStore::Shared {
  explicit Shared(std::function<void()> callback) : on_completion(std::move(callback)) {}

  void Complete(Completion completion) {
    {
      MutexLock lock(mutex);
      completions.push_back(std::move(completion));
    }
    // `mutex` is free again: Poll takes it, and the caller of Poll may hold a lock that the callback takes.
    MutexLock lock(callback_mutex);
    if (on_completion) on_completion();
  }

  Mutex mutex;
  std::vector<Completion> completions GUARDED_BY(mutex);           // at most max_in_flight
  Mutex callback_mutex;                                            // held during the callback
  std::function<void()> on_completion GUARDED_BY(callback_mutex);  // empty after the AsyncStore has gone
};

AsyncStore::AsyncStore(BlockStore* store, Executor* executor, size_t max_in_flight,
                       std::function<void()> on_completion)
    : store_(store),
      executor_(executor),
      max_in_flight_(max_in_flight),
      shared_(std::make_shared<Shared>(std::move(on_completion))) {
  PREFIXD_CHECK(store != nullptr && executor != nullptr);
  PREFIXD_CHECK(max_in_flight > 0);
}

AsyncStore::~AsyncStore() {
  MutexLock lock(shared_->callback_mutex);
  shared_->on_completion = nullptr;
}

bool AsyncStore::TrySubmit(uint64_t tag, std::function<void(BlockStore*, Completion*)> operation) {
  if (in_flight_ == max_in_flight_) return false;
  const bool accepted =
      executor_->TrySubmit([store = store_, shared = shared_, tag, operation = std::move(operation)] {
        Completion completion{.tag = tag, .status = {}, .record = {}};
        operation(store, &completion);
        shared->Complete(std::move(completion));
      });
  if (accepted) ++in_flight_;
  return accepted;
}

bool AsyncStore::TryGet(const BlockKey& key, uint64_t tag) {
  return TrySubmit(tag, [key](BlockStore* store, Completion* completion) {
    Result<std::string> record = store->Get(key);
    completion->status = record.status();
    if (record.ok()) completion->record = *std::move(record);
  });
}

bool AsyncStore::TryPut(std::function<Result<StoreEntry>()> encode, uint64_t tag) {
  return TrySubmit(tag, [encode = std::move(encode)](BlockStore* store, Completion* completion) {
    Result<StoreEntry> entry = encode();
    completion->status = entry.status();
    if (!entry.ok()) return;
    std::vector<StoreEntry> batch;
    batch.push_back(*std::move(entry));
    completion->status = store->PutBatch(std::move(batch));
  });
}

bool AsyncStore::TryPut(const BlockKey& key, std::string record, uint64_t tag) {
  return TryPut(
      [key, record = std::move(record)]() -> Result<StoreEntry> {
        return StoreEntry{.key = key, .record = record};
      },
      tag);
}

bool AsyncStore::TryDelete(const BlockKey& key, uint64_t tag) {
  return TrySubmit(
      tag, [key](BlockStore* store, Completion* completion) { completion->status = store->Delete(key); });
}

bool AsyncStore::TrySync(uint64_t tag) {
  return TrySubmit(tag,
                   [](BlockStore* store, Completion* completion) { completion->status = store->Sync(); });
}

void AsyncStore::Poll(std::vector<Completion>* finished) {
  std::vector<Completion> taken;
  {
    MutexLock lock(shared_->mutex);
    taken.swap(shared_->completions);
  }
  PREFIXD_CHECK(taken.size() <= in_flight_) << taken.size() << " of " << in_flight_;
  in_flight_ -= taken.size();
  finished->insert(finished->end(), std::make_move_iterator(taken.begin()),
                   std::make_move_iterator(taken.end()));
}

}  // namespace prefixd
