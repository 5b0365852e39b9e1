// Inference: one API request on its way through the engine: its sequences (prompts times n), what they
// answer, and the answer over HTTP, whole or as a stream of server-sent events.
//
// Threads: StartInference on any; everything else on the exchange's io thread, where the engine's news comes
// through TokenOutbox.
//
// Invariants
//   1. Whatever happens (answer, error, client gone), the exchange gets one answer or none, every sequence
//   that is still running
//      is cancelled, and one line is logged when the last of them has ended.
//   2. A stream's head waits for the first token, so that it can carry the figures of the cache, but at most
//   kHeadSeconds.
//      An error before the head is an HTTP error; after it, an event.
//   3. cached + computed = prompt, in the headers as in the usage. A prompt counts once, as its first
//   sequence found it; generated tokens count all, also those of answers that are not shown.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/response_format.h"
#include "daemon/http/exchange.h"

namespace prefixd {

inline constexpr double kHeadSeconds = 10;
inline constexpr double kPingSeconds = 15;

struct InferencePrompt {
  std::vector<TokenId> tokens;
  int max_tokens = 0;
};

struct InferenceRequest {
  std::string endpoint;  // for the log
  std::string tenant;    // salt of the cache: whose requests may share
  GenerationRequest generation;
  std::vector<InferencePrompt> prompts;
};

// `context` outlives the exchange.
void StartInference(std::shared_ptr<Exchange> exchange, const ApiContext* context, InferenceRequest request,
                    std::unique_ptr<ResponseFormat> format);

}  // namespace prefixd
