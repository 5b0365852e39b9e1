#include "daemon/api/generation.h"

#include <utility>

#include "base/fnv.h"
#include "daemon/api/explain/explanation.h"
#include "daemon/api/middleware.h"
#include "daemon/api/response_json.h"

namespace prefixd {

namespace {

// Sets what depends on how the prompt ends. Compiling the grammar of calls may take some milliseconds.
Parsed<std::vector<TokenId>> EncodePrompt(const ApiContext& context, ChatRequest* request, Work& work,
                                          PromptRecord* record, std::vector<Breakpoint>* breakpoints,
                                          AnswerKey* answer) {
  GenerationRequest& generation = request->generation;
  PromptEnd end = PromptEnd::kPlain;
  Parsed<std::vector<TokenId>> tokens =
      EncodeChat(context, std::move(request->prompt), /*must_fit=*/!generation.truncate_prompt_tokens, work,
                 {.end = &end, .record = record, .breakpoints = breakpoints, .answer = answer});
  if (!tokens.ok()) return tokens;
  generation.output.begins_in_reasoning = end == PromptEnd::kInReasoning;
  if (auto error = SetCallGrammar(context, end, request)) return *error;
  TruncatePrompt(generation, &*tokens);
  if (generation.truncate_prompt_tokens) breakpoints->clear();  // they count from the beginning
  if (!tokens->empty()) return tokens;
  return BadParameter("messages", "The chat template renders these messages to an empty prompt.",
                      "invalid_value");
}

// Not where the prompt is cut at the front, or has the additions of the tokenizer at its end.
bool ReusesIds(const ChatRequest& request) {
  return request.generation.reuse_ids && !request.generation.truncate_prompt_tokens &&
         !request.prompt.add_special_tokens;
}

}  // namespace

ResponseMetadata MakeMetadata(std::string_view prefix, const Exchange& exchange, const ApiContext& context,
                              const std::string& model) {
  // The request id, without the prefix of the server's own, so that a response can be matched with its log
  // line.
  constexpr std::string_view kOwnPrefix = "req_";
  std::string_view request_id = exchange.request_id();
  if (request_id.starts_with(kOwnPrefix)) request_id.remove_prefix(kOwnPrefix.size());
  return {.id = std::string(prefix) + std::string(request_id),
          .created = context.clock->UnixSeconds(),
          .model = model,
          .fingerprint = context.fingerprint};
}

std::shared_ptr<PromptRecord> NewRecord(const ApiContext& context, const GenerationRequest& request,
                                        const std::string& response_id) {
  if (request.truncate_prompt_tokens) return nullptr;
  auto record = std::make_shared<PromptRecord>();
  record->id = response_id;
  record->created = context.clock->UnixSeconds();
  record->salt = FnvAdd(kFnvEmpty, request.cache_salt);
  if (!request.cache_key.empty()) record->key = FnvAdd(kFnvEmpty, request.cache_key);
  return record;
}

size_t RepeatedIdBytes(const GenerationRequest& request, size_t tokens) {
  constexpr size_t kId = 8;
  return request.return_token_ids ? tokens * kId : 0;
}

std::optional<ApiError> CheckLogprobs(const GenerationRequest& request,
                                      const std::vector<InferencePrompt>& prompts, const ByteBudget& budget) {
  if (request.stream || request.sampling.logprobs < 0 || !request.max_tokens) return std::nullopt;
  size_t tokens = 0;
  for (const InferencePrompt& prompt : prompts) tokens += static_cast<size_t>(prompt.max_tokens);
  const size_t entries =
      tokens * static_cast<size_t>(request.n) * (static_cast<size_t>(request.sampling.logprobs) + 1);
  const size_t most = budget.LargeLimit() / kLogprobTextBytes;
  if (entries <= most) return std::nullopt;
  return BadParameter("logprobs",
                      "The response may contain " + std::to_string(entries) +
                          " log probabilities, and one that is not streamed can contain " +
                          std::to_string(most) +
                          " (--max-inflight). Ask for fewer of them or fewer tokens, or use 'stream'.",
                      "invalid_value");
}

std::optional<ApiError> StartChat(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                  ChatRequest request, Work& work, const ChatEndpoint& endpoint) {
  std::shared_ptr<PromptRecord> record = NewRecord(*context, request.generation, endpoint.response_id);
  const std::string owner = OwnerOf(exchange->request());
  std::optional<AnswerKey> answer;
  if (ReusesIds(request))
    answer = {.scope = ScopeOfAnswers(owner, request.generation.cache_salt), .place = {}};
  std::vector<Breakpoint> breakpoints;
  Parsed<std::vector<TokenId>> tokens =
      EncodePrompt(*context, &request, work, record.get(), &breakpoints, answer ? &*answer : nullptr);
  if (!tokens.ok()) return tokens.error();
  if (record != nullptr) CompareWithEarlier(*context, owner, endpoint.compare_with, *tokens, record.get());
  InferencePrompt prompt{
      .tokens = *std::move(tokens), .answer = std::move(answer), .record = std::move(record)};
  const size_t length = prompt.tokens.size();
  prompt.use = UseOfPrefix(request.generation.cache, std::move(breakpoints), static_cast<int>(length));
  if (auto error = endpoint.fit(*context, static_cast<int>(length), request.generation.max_tokens,
                                &prompt.max_tokens)) {
    return error;
  }
  if (auto error = CheckPromptLogprobs(request.generation, length, *context)) return error;
  std::vector<InferencePrompt> prompts;
  prompts.push_back(std::move(prompt));
  if (auto error = CheckLogprobs(request.generation, prompts, exchange->budget())) return error;
  const size_t repeated_bytes =
      endpoint.repeated_bytes + request.echo.size() + RepeatedIdBytes(request.generation, length);
  std::unique_ptr<ResponseFormat> format = endpoint.format(request, prompts.front());
  InferenceRequest inference{.endpoint = endpoint.endpoint,
                             .owner = owner,
                             .cache_namespace = NamespaceOf(exchange->request(), request.generation),
                             .generation = std::move(request.generation),
                             .prompts = std::move(prompts),
                             .repeated_bytes = repeated_bytes};
  return StartInference(std::move(exchange), context, std::move(inference), std::move(format));
}

Parsed<std::vector<TokenId>> ChatTokens(const ApiContext& context, ChatRequest request, Work& work) {
  Parsed<std::vector<TokenId>> tokens =
      EncodeChat(context, std::move(request.prompt), /*must_fit=*/false, work);
  if (tokens.ok()) TruncatePrompt(request.generation, &*tokens);
  return tokens;
}

}  // namespace prefixd
