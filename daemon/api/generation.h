// The generation core: what every API does with a request once it has read it. An API is a reader, which
// makes a ChatRequest of a body; a writer, which is a ResponseFormat; an ErrorStyle; and routes (api.h).
// Everything between is here and in inference.h.
//
// Threads: any, that of the handler.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/chat_request.h"
#include "daemon/api/inference.h"
#include "daemon/api/response_format.h"
#include "daemon/api/work.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// What all bodies and chunks of the answer share. The id is `prefix` and the id of the request, so that an
// answer can be matched with its log line.
ResponseMetadata MakeMetadata(std::string_view prefix, const Exchange& exchange, const ApiContext& context,
                              const std::string& model);

// How an API differs from the others in the generation itself.
struct ChatEndpoint {
  std::string endpoint;  // for the log
  std::string response_id;
  std::string compare_with;  // the response to which the request asks to be compared; empty: none
  // Sets *max_tokens so that prompt and answer fit the context, or returns the error.
  std::optional<ApiError> (*fit)(const ApiContext& context, int prompt_tokens, std::optional<int64_t> asked,
                                 int* max_tokens);
  // Makes the writer. It may move from the request what only the writer needs.
  std::function<std::unique_ptr<ResponseFormat>(ChatRequest& request, const InferencePrompt& prompt)> format;
  size_t repeated_bytes = 0;  // of the request, which the writer keeps and shows
};

// Renders and encodes the conversation, and starts the inference; or returns the error to respond with.
std::optional<ApiError> StartChat(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                  ChatRequest request, Work& work, const ChatEndpoint& endpoint);
// The tokens that StartChat would give to the model, also if they are too many.
Parsed<std::vector<TokenId>> ChatTokens(const ApiContext& context, ChatRequest request, Work& work);

// The record of a prompt, in which the prompt itself is not yet; null where none is remembered.
std::shared_ptr<PromptRecord> NewRecord(const ApiContext& context, const GenerationRequest& request,
                                        const std::string& response_id);

// The ids of prompts that a response shows, as text.
size_t RepeatedIdBytes(const GenerationRequest& request, size_t tokens);
// Returns an error when the log probabilities of a response that is not streamed cannot fit the byte budget,
// if the request gets all the tokens that it asks for.
std::optional<ApiError> CheckLogprobs(const GenerationRequest& request,
                                      const std::vector<InferencePrompt>& prompts, const ByteBudget& budget);

}  // namespace prefixd
