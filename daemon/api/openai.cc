#include "daemon/api/openai.h"

#include <utility>

#include "daemon/api/chat_request.h"
#include "daemon/api/completion_request.h"
#include "daemon/api/inference.h"
#include "daemon/api/middleware.h"
#include "daemon/api/response_json.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

constexpr int kDefaultCompletionTokens = 16;

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

struct EncodedPrompts {
  std::vector<InferencePrompt> prompts;
  std::vector<EchoText> echoes;
  size_t tokens = 0;      // of all prompts
  size_t echo_bytes = 0;  // of all echoes
};

Parsed<std::vector<TokenId>> EncodePrompt(const ApiContext& context, const CompletionRequest& request,
                                          const PromptInput& input, Work& work) {
  const std::string* text = std::get_if<std::string>(&input);
  if (text != nullptr && !request.generation.truncate_prompt_tokens) {
    if (auto error = CheckPromptBytes(context, text->size(), "prompt")) return *error;
  }
  Parsed<std::vector<TokenId>> encoded =
      text != nullptr
          ? EncodeText(context, *text, {.add_special_tokens = request.add_special_tokens}, "prompt", work)
          : std::get<std::vector<TokenId>>(input);
  if (!encoded.ok()) return encoded.error();
  std::vector<TokenId> tokens = *std::move(encoded);
  TruncatePrompt(request.generation, &tokens);
  if (tokens.empty() && context.bos) tokens.push_back(*context.bos);
  if (tokens.empty()) {
    return BadParameter(
        "prompt",
        "The prompt is empty, and the model has no BOS token that it could begin with; send a "
        "prompt of at least one token.",
        "invalid_value");
  }
  return tokens;
}

// The prompt as a response repeats it: the text of the request, unless it was truncated.
EchoText Echo(const ApiContext& context, const CompletionRequest& request, const PromptInput& input,
              const std::vector<TokenId>& tokens) {
  const std::string* text = std::get_if<std::string>(&input);
  if (text != nullptr && !request.generation.truncate_prompt_tokens) return {*text, /*verbatim=*/true};
  return {context.tokenizer->Decode(tokens, request.generation.skip_special_tokens)};
}

Parsed<EncodedPrompts> EncodePrompts(const ApiContext& context, const CompletionRequest& request,
                                     Work& work) {
  EncodedPrompts encoded;
  for (const PromptInput& input : request.prompts) {
    Parsed<std::vector<TokenId>> tokens = EncodePrompt(context, request, input, work);
    if (!tokens.ok()) return tokens.error();
    InferencePrompt prompt{.tokens = std::move(*tokens)};
    if (auto error = ResolveMaxTokens(context.context_length, static_cast<int>(prompt.tokens.size()),
                                      request.generation.max_tokens, kDefaultCompletionTokens, "prompt",
                                      &prompt.max_tokens)) {
      return *error;
    }
    encoded.tokens += prompt.tokens.size();
    if (request.echo) {
      encoded.echoes.push_back(Echo(context, request, input, prompt.tokens));
      encoded.echo_bytes += encoded.echoes.back().text.size();
    }
    encoded.prompts.push_back(std::move(prompt));
  }
  return encoded;
}

// The ids of prompts that a response shows, as text.
size_t RepeatedIdBytes(const GenerationRequest& request, size_t tokens) {
  constexpr size_t kId = 8;
  return request.return_token_ids ? tokens * kId : 0;
}

// Returns an error when the log probabilities of a response that is not streamed cannot fit the byte budget,
// if the request gets all the tokens that it asks for.
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

}  // namespace

std::optional<ApiError> HandleChatCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                              const boost::json::object& body, Work& work) {
  Parsed<ChatRequest> request = ReadChatRequest(body, *context);
  if (!request.ok()) return request.error();
  GenerationRequest& generation = request->generation;
  PromptEnd end = PromptEnd::kPlain;
  Parsed<std::vector<TokenId>> tokens = EncodeChat(
      *context, std::move(request->prompt), /*must_fit=*/!generation.truncate_prompt_tokens, work, &end);
  if (!tokens.ok()) return tokens.error();
  generation.output.begins_in_reasoning = end == PromptEnd::kInReasoning;
  if (auto error = SetCallGrammar(*context, end, &*request)) return error;
  InferencePrompt prompt{.tokens = std::move(*tokens)};
  TruncatePrompt(generation, &prompt.tokens);
  if (prompt.tokens.empty()) {
    return BadParameter("messages", "The chat template renders these messages to an empty prompt.",
                        "invalid_value");
  }
  const size_t length = prompt.tokens.size();
  if (auto error = ResolveMaxTokens(context->context_length, static_cast<int>(length), generation.max_tokens,
                                    context->context_length, "messages", &prompt.max_tokens)) {
    return error;
  }
  if (auto error = CheckPromptLogprobs(generation, length, *context)) return error;
  std::vector<InferencePrompt> prompts;
  prompts.push_back(std::move(prompt));
  if (auto error = CheckLogprobs(generation, prompts, exchange->budget())) return error;
  const size_t repeated_bytes = request->echo.size() + RepeatedIdBytes(generation, length);
  auto format = MakeChatFormat(MakeMetadata("chatcmpl-", *exchange, *context, generation.model), generation,
                               *context->tokenizer, prompts.front().tokens, std::move(request->echo));
  InferenceRequest inference{.endpoint = "chat",
                             .tenant = TenantSalt(exchange->request(), *context, generation.cache_salt),
                             .generation = std::move(generation),
                             .prompts = std::move(prompts),
                             .repeated_bytes = repeated_bytes};
  return StartInference(std::move(exchange), context, std::move(inference), std::move(format));
}

std::optional<ApiError> HandleCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                          const boost::json::object& body, Work& work) {
  Parsed<CompletionRequest> request = ReadCompletionRequest(body, *context);
  if (!request.ok()) return request.error();
  GenerationRequest& generation = request->generation;
  Parsed<EncodedPrompts> encoded = EncodePrompts(*context, *request, work);
  if (!encoded.ok()) return encoded.error();
  if (auto error = CheckPromptLogprobs(generation, encoded->tokens, *context)) return error;
  if (auto error = CheckLogprobs(generation, encoded->prompts, exchange->budget())) return error;
  const size_t repeated_bytes = encoded->echo_bytes + RepeatedIdBytes(generation, encoded->tokens);
  std::vector<std::vector<TokenId>> ids;
  if (generation.return_token_ids || (request->echo && generation.sampling.logprobs >= 0)) {
    for (const InferencePrompt& prompt : encoded->prompts) ids.push_back(prompt.tokens);
  }
  auto format = MakeCompletionFormat(MakeMetadata("cmpl-", *exchange, *context, generation.model), generation,
                                     *context->tokenizer, std::move(ids), std::move(encoded->echoes));
  InferenceRequest inference{.endpoint = "completions",
                             .tenant = TenantSalt(exchange->request(), *context, generation.cache_salt),
                             .generation = std::move(generation),
                             .prompts = std::move(encoded->prompts),
                             .repeated_bytes = repeated_bytes};
  return StartInference(std::move(exchange), context, std::move(inference), std::move(format));
}

}  // namespace prefixd
