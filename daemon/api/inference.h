// Inference: runs one API request in the engine and sends its response. It submits the sequences (prompts
// times n), collects their tokens, and responds with one body or with a stream of server-sent events.
//
// Threads: any thread may call StartInference. Everything else runs on the exchange's io thread; TokenOutbox
// brings the engine's events there.
//
// Invariants
//   1. In every case (response, error, disconnect) the exchange gets at most one response, all sequences that
//      still run are cancelled, and one line is logged when the last sequence has ended.
//   2. The head of a stream waits for the first token, so that it can carry the cache figures, but at most
//      ApiLimits::stream_head_seconds. An error before the head is an HTTP error; after the head it is an
//      event.
//   3. Prompts, generated tokens, log probabilities and the events of a stream are reserved from the byte
//      budget until they are sent. When it has no room, the request ends with the error of NoRoomError.
//   4. cached + computed = prompt tokens, in the headers and in the usage. A prompt counts once, with the
//      usage of its first sequence. All generated tokens count, including those of choices that are not
//      returned.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/generated_ids.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/response_format.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

struct PromptRecord;

struct InferencePrompt {
  std::vector<TokenId> tokens;
  int max_tokens = 0;
  std::optional<AnswerKey> answer;       // by which the ids of answers are remembered; nothing: they are not
  std::shared_ptr<PromptRecord> record;  // which is completed and remembered; null: it is not
  PrefixUse use = {};                    // what of it is kept and written
};

struct InferenceRequest {
  std::string id;        // x-request-id; StartInference sets it
  std::string endpoint;  // for the log
  std::string owner;     // of the records of its prompts
  CacheNamespace cache_namespace;
  TenantShare share;  // StartInference sets it
  GenerationRequest generation;
  std::vector<InferencePrompt> prompts;
  size_t repeated_bytes = 0;  // of the prompts' texts and ids, where every choice of a prompt repeats them
};

// Starts the inference, or returns the error to respond with when the byte budget has no room for the
// prompts. `context` outlives the exchange.
std::optional<ApiError> StartInference(std::shared_ptr<Exchange> exchange, const ApiContext* context,
                                       InferenceRequest request, std::unique_ptr<ResponseFormat> format);

}  // namespace prefixd
