// Inbox: what other threads ask of the engine between two of its turns: new sequences, cancellations, and
// the news that a step or a transfer has ended.
//
// Threads: any thread calls every member, except that only the engine thread calls Take, Wait, LeftQueue and
// Finished.
//
// Invariants
//   1. At most max_queue accepted sequences have not left the queue, and the prompts of accepted sequences
//      that have not finished have at most max_tokens tokens; and beside these what is reserved. The reserve
//      is for sequences whose tenant has no more than the reserve with them, so that a tenant that fills the
//      queue does not close it to others.
//   2. Every sequence that Add accepts is in the result of exactly one Take.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "engine/sequence.h"

namespace prefixd {

class Inbox {
 public:
  static constexpr int Reserve(int max_queue) { return std::max(1, max_queue / 4); }
  // A prompt has at most `context` tokens.
  static constexpr int64_t Reserve(int64_t max_tokens, int context) {
    return std::max<int64_t>(context, max_tokens / 4);
  }

  Inbox(int max_queue, int64_t max_tokens, int context)
      : max_queue_(max_queue), max_tokens_(max_tokens), reserved_tokens_(Reserve(max_tokens, context)) {}

  // Takes a new sequence and sets its time of submission. kResourceExhausted: the queue, or the tokens of all
  // prompts, would exceed their limit. kUnavailable: after Drain.
  Status Add(std::unique_ptr<Sequence> sequence, const Clock& clock);
  void Cancel(RequestId id);
  void Drain();
  // Ends a Wait: a step or a transfer has ended.
  void Wake();

  struct Content {
    std::vector<std::unique_ptr<Sequence>> submitted;
    std::unordered_set<RequestId> cancelled;
  };
  Content Take();
  // Sleeps until something has come since the last Take, or `timeout` has passed. May return earlier.
  void Wait(std::chrono::nanoseconds timeout);

  // A sequence has left the queue: it is admitted for the first time, or finished before that.
  void LeftQueue(const Sequence& sequence) { Leave(sequence.request.share.tenant, 1, 0); }
  void Finished(const Sequence& sequence) { Leave(sequence.request.share.tenant, 0, sequence.prompt_tokens); }

  uint64_t accepted() const { return accepted_.load(); }  // sequences, in all

 private:
  struct Load {
    int queued = 0;      // accepted, and LeftQueue not yet called
    int64_t tokens = 0;  // of the prompts of accepted sequences that have not finished
  };
  Status CheckRoom(const Load& own, const Sequence& sequence) const REQUIRES(mutex_);
  void Leave(const std::string& tenant, int queued, int64_t tokens) EXCLUDES(mutex_);

  const int max_queue_;
  const int64_t max_tokens_;
  const int64_t reserved_tokens_;

  mutable Mutex mutex_;
  CondVar filled_;
  Content content_ GUARDED_BY(mutex_);
  bool draining_ GUARDED_BY(mutex_) = false;
  bool woken_ GUARDED_BY(mutex_) = false;  // since the last Take
  Load all_ GUARDED_BY(mutex_);
  std::map<std::string, Load> tenants_ GUARDED_BY(mutex_);  // those with a load
  std::atomic<uint64_t> accepted_{0};
};

}  // namespace prefixd
