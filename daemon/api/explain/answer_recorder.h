// AnswerRecorder: completes the record of a request while it runs, and gives it to the RequestMemory; and
// gives the ids of its answers to GeneratedIds. It records the first prompt of the request with its first
// choice, if the prompt has a record, and the ids of all choices of that prompt, if it has a key for them.
//
// Threads: one owner, the exchange's io thread.
#pragma once

#include <cstddef>
#include <memory>

#include "daemon/api/context.h"
#include "daemon/api/inference.h"

namespace prefixd {

class AnswerRecorder {
 public:
  // `context` and `request` outlive it.
  AnswerRecorder(const ApiContext* context, const InferenceRequest* request);

  // `choice` is a number among those of all prompts.
  void OnEvent(size_t choice, const RequestEvent& event);
  // A token of an answer. Not those behind a stop string: how many the engine computes there is a matter of
  // time.
  void AddId(size_t choice, TokenId id);
  // A piece of the answer as the client gets it.
  void AddPiece(size_t choice, const TextPiece& piece);
  // Call it before the end of the answer is sent, so that the next request of the client finds it, and when
  // a request is cut off: what it has computed is in the cache. Later calls do nothing.
  void Remember();
  size_t held_bytes() const;

 private:
  const ApiContext* const context_;
  const InferenceRequest* const request_;
  std::shared_ptr<PromptRecord> record_;   // null after Remember
  std::vector<std::vector<TokenId>> ids_;  // by choice; empty after Remember, and where none are remembered
};

}  // namespace prefixd
