// Inbox: what other threads ask of the engine between two of its turns: new sequences, cancellations, and
// the news that a step or a transfer has ended.
//
// Threads: any thread calls every member, except that only the engine thread calls Take, Wait, LeftQueue and
// Finished.
//
// Invariants
//   1. At most max_queue accepted sequences have not left the queue, and the prompts of accepted sequences
//      that have not finished have at most max_tokens tokens.
//   2. Every sequence that Add accepts is in the result of exactly one Take.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "engine/sequence.h"

namespace prefixd {

class Inbox {
 public:
  Inbox(int max_queue, int64_t max_tokens) : max_queue_(max_queue), max_tokens_(max_tokens) {}

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
  void LeftQueue() { --queued_; }
  // A sequence has finished; its prompt had that many tokens.
  void Finished(int prompt_tokens) { tokens_ -= prompt_tokens; }

  uint64_t accepted() const { return accepted_.load(); }  // sequences, in all

 private:
  const int max_queue_;
  const int64_t max_tokens_;

  Mutex mutex_;
  CondVar filled_;
  Content content_ GUARDED_BY(mutex_);
  bool draining_ GUARDED_BY(mutex_) = false;
  bool woken_ GUARDED_BY(mutex_) = false;  // since the last Take
  std::atomic<uint64_t> accepted_{0};
  std::atomic<int> queued_{0};      // accepted, and LeftQueue not yet called
  std::atomic<int64_t> tokens_{0};  // of the prompts of accepted sequences that have not finished
};

}  // namespace prefixd
