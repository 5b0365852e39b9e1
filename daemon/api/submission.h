// Submission: gives the sequences of one API request to the engine, in order. A request with more sequences
// than the engine admits at once submits the rest as its own sequences start and end, so that it runs in turn
// and others do, too.
//
// Threads: one at a time, that of the exchange.
//
// Invariants
//   1. The first sequence is submitted by Start or the request fails: it needs one place in the engine's
//      queue, and none while other requests wait for one.
//   2. Beyond that, at most context.queue_share sequences of a request wait in the engine, and the prompts
//      of its sequences in the engine have at most context.token_share tokens. With a share of 0 its
//      sequences run one after the other. The rest of the queue is for other requests.
//   3. A request none of whose sequences waits in the engine is in the SubmissionQueue when others fill it,
//      and gets a place before requests that come later. So it always advances.
//   4. A sequence depends only on the request and its index, not on when it is submitted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/inference.h"
#include "daemon/http/error_response.h"

namespace prefixd {

class Submission {
 public:
  struct Callbacks {
    std::function<std::shared_ptr<RequestListener>(size_t index)> listener;  // of a sequence
    // Makes a function that posts a job which calls Continue. It keeps the owner of this submission alive.
    std::function<std::function<void()>()> wake;
  };
  // `context` and `request` outlive it. Sequence `i` is number i % best_of of prompt i / best_of.
  Submission(const ApiContext* context, const InferenceRequest* request, Callbacks callbacks);
  ~Submission();
  Submission(const Submission&) = delete;
  Submission& operator=(const Submission&) = delete;

  // Submits what the engine takes now. Returns the error of the request when it takes not even one.
  std::optional<ApiError> Start();
  // Submits more. Returns an error when a sequence can never be submitted.
  std::optional<ApiError> Continue();
  // The engine has sent an event of the sequence: it has started. `finished`: it has ended.
  void OnEvent(size_t index, bool finished);
  void Cancel(size_t index);
  // Cancels what runs and submits nothing more.
  void Close();

  size_t running() const { return running_; }                   // sequences in the engine
  bool complete() const { return next_ == sequences_.size(); }  // all were submitted

 private:
  struct Sequence {
    std::optional<RequestId> id;  // set while it runs in the engine and is not cancelled
    bool started = false;         // an event has come
  };
  const InferencePrompt& PromptOf(size_t index) const;
  Request EngineRequest(size_t index) const;
  bool WithinShare() const;
  Status SubmitNext();
  void LeaveQueue();

  const ApiContext* const context_;
  const InferenceRequest* const request_;
  const Callbacks callbacks_;
  const uint64_t seed_;
  std::vector<Sequence> sequences_;
  size_t next_ = 0;                  // the first sequence that is not submitted
  size_t running_ = 0, queued_ = 0;  // queued_: of those running, the ones that have not started
  int64_t tokens_ = 0;               // of the prompts of those running
  std::optional<uint64_t> ticket_;   // set while this request is in the SubmissionQueue
};

}  // namespace prefixd
