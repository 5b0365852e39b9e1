#include "daemon/api/submission.h"

#include <algorithm>
#include <utility>

#include "base/prng.h"
#include "daemon/api/engine_error.h"

namespace prefixd {

Submission::Submission(const ApiContext* context, const InferenceRequest* request, Callbacks callbacks)
    : context_(context),
      request_(request),
      callbacks_(std::move(callbacks)),
      seed_(request->generation.seed.value_or(SplitMix64((*context->seeds)++))),
      sequences_(request->prompts.size() * static_cast<size_t>(request->generation.best_of)) {}

Submission::~Submission() { LeaveQueue(); }

const InferencePrompt& Submission::PromptOf(size_t index) const {
  return request_->prompts[index / static_cast<size_t>(request_->generation.best_of)];
}

Request Submission::EngineRequest(size_t index) const {
  const GenerationRequest& asked = request_->generation;
  const size_t k = index % static_cast<size_t>(asked.best_of);
  const InferencePrompt& prompt = PromptOf(index);
  Request request;
  request.name = request_->id;
  request.prompt = prompt.tokens;
  request.sampling = asked.sampling;
  request.sampling.max_tokens = prompt.max_tokens;
  request.sampling.seed = k == 0 ? seed_ : RandomAt(seed_, k);
  if (k > 0)
    request.sampling.prompt_logprobs = -1;  // equal for all sequences of a prompt: the first one returns them
  if (asked.best_of > asked.n) request.sampling.logprobs = std::max(request.sampling.logprobs, 0);
  request.cache_namespace = request_->cache_namespace;
  request.read_cache = asked.read_cache && !UsesNoCache(asked.cache, prompt.use);
  request.prefix_use = prompt.use;
  request.constraint = asked.constraint;
  request.repeats_prompt = k > 0;
  request.listener = callbacks_.listener(index);
  return request;
}

bool Submission::WithinShare() const {
  if (running_ == 0) return true;
  const auto tokens = static_cast<int64_t>(PromptOf(next_).tokens.size());
  return static_cast<int64_t>(queued_) < context_->queue_share && tokens_ + tokens <= context_->token_share;
}

Status Submission::SubmitNext() {
  PREFIXD_ASSIGN_OR_RETURN(const RequestId id, context_->engine->Submit(EngineRequest(next_)));
  sequences_[next_].id = id;
  tokens_ += static_cast<int64_t>(PromptOf(next_).tokens.size());
  ++running_;
  ++queued_;
  ++next_;
  return Status::Ok();
}

std::optional<ApiError> Submission::Start() {
  if (!context_->submissions->MayGo(std::nullopt))
    return EngineError(ResourceExhausted("other requests are waiting for a place in the queue"));
  const Status first = SubmitNext();
  return first.ok() ? Continue() : EngineError(first);
}

std::optional<ApiError> Submission::Continue() {
  while (!complete() && WithinShare()) {
    if (context_->submissions->MayGo(ticket_)) {
      const Status submitted = SubmitNext();
      if (submitted.ok()) {
        LeaveQueue();
        continue;
      }
      if (submitted.code() != Code::kResourceExhausted) return EngineError(submitted);
    }
    // The start of a sequence that waits in the engine, or the queue, comes back here.
    if (queued_ > 0 || ticket_) break;
    ticket_ = context_->submissions->Enter(callbacks_.wake());
  }
  return std::nullopt;
}

void Submission::OnEvent(size_t index, bool finished) {
  Sequence& sequence = sequences_[index];
  const bool starts = !std::exchange(sequence.started, true);
  if (starts) --queued_;
  if (finished) {
    sequence.id.reset();
    --running_;
    tokens_ -= static_cast<int64_t>(PromptOf(index).tokens.size());
  }
  if (starts || finished) context_->submissions->Notify();
}

void Submission::Cancel(size_t index) {
  if (const auto id = std::exchange(sequences_[index].id, std::nullopt)) context_->engine->Cancel(*id);
}

void Submission::Close() {
  next_ = sequences_.size();
  for (size_t index = 0; index < sequences_.size(); ++index) Cancel(index);
  LeaveQueue();
}

void Submission::LeaveQueue() {
  if (const auto ticket = std::exchange(ticket_, std::nullopt)) context_->submissions->Leave(*ticket);
}

}  // namespace prefixd
