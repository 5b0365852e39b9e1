// AnswerRecorder: completes the record of a request while it runs, and gives it to the RequestMemory. It
// records the first prompt and its first choice, and does nothing for a prompt without a record.
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
  AnswerRecorder(const ApiContext* context, const InferenceRequest* request)
      : context_(context), request_(request), record_(request->prompts.front().record) {}

  // `choice` is a number among those of all prompts.
  void OnEvent(size_t choice, const RequestEvent& event);
  // A piece of the answer as the client gets it.
  void AddPiece(size_t choice, const TextPiece& piece);
  // Call it before the end of the answer is sent, so that the next request of the client finds it, and when
  // a request is cut off: what it has computed is in the cache. Later calls do nothing.
  void Remember();

 private:
  const ApiContext* const context_;
  const InferenceRequest* const request_;
  std::shared_ptr<PromptRecord> record_;  // null after Remember
};

}  // namespace prefixd
