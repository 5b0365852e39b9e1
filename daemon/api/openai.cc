#include "daemon/api/openai.h"

#include <utility>

#include "daemon/api/chat_request.h"
#include "daemon/api/completion_request.h"
#include "daemon/api/guard.h"
#include "daemon/api/inference.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

constexpr int kDefaultCompletionTokens = 16;

Envelope MakeEnvelope(std::string_view prefix, const Exchange& exchange, const ApiContext& context,
                      const std::string& model) {
  // The same digits as in the request id, so that an answer leads to its log line.
  const std::string& request_id = exchange.request_id();
  const size_t underscore = request_id.find('_');
  return {.id = std::string(prefix) + request_id.substr(underscore == std::string::npos ? 0 : underscore + 1),
          .created = context.clock->UnixSeconds(),
          .model = model,
          .fingerprint = context.fingerprint};
}

struct EncodedPrompts {
  std::vector<InferencePrompt> prompts;
  std::vector<std::string> echoes;
};

Parsed<EncodedPrompts> EncodePrompts(const ApiContext& context, CompletionRequest& request) {
  EncodedPrompts encoded;
  for (PromptInput& input : request.prompts) {
    const std::string* text = std::get_if<std::string>(&input);
    InferencePrompt prompt;
    Result<std::vector<TokenId>> tokens =
        text != nullptr ? context.tokenizer->Encode(*text, {.add_special_tokens = request.add_special_tokens})
                        : std::move(std::get<std::vector<TokenId>>(input));
    if (!tokens.ok()) return BadParameter("prompt", tokens.status().message(), "invalid_value");
    prompt.tokens = *std::move(tokens);
    if (prompt.tokens.empty()) {
      return BadParameter("prompt", "The prompt is empty, and the model has no token to begin with.",
                          "invalid_value");
    }
    if (auto error = FitContext(context.context_length, static_cast<int>(prompt.tokens.size()),
                                request.generation.max_tokens, kDefaultCompletionTokens, "prompt",
                                &prompt.max_tokens)) {
      return *error;
    }
    if (request.echo)
      encoded.echoes.push_back(
          text != nullptr ? *text
                          : context.tokenizer->Decode(prompt.tokens, request.generation.skip_special_tokens));
    encoded.prompts.push_back(std::move(prompt));
  }
  return encoded;
}

}  // namespace

void HandleChatCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                           const boost::json::object& body) {
  Parsed<ChatRequest> request = ReadChatRequest(body, *context);
  if (!request.ok()) return exchange->Respond(ErrorResponse(request.error()));
  Parsed<std::vector<TokenId>> tokens = EncodeChat(*context, std::move(request->prompt));
  if (!tokens.ok()) return exchange->Respond(ErrorResponse(tokens.error()));
  InferencePrompt prompt{.tokens = std::move(*tokens)};
  if (prompt.tokens.empty()) {
    return exchange->Respond(ErrorResponse(BadParameter(
        "messages", "The chat template makes an empty prompt of these messages.", "invalid_value")));
  }
  if (auto error = FitContext(context->context_length, static_cast<int>(prompt.tokens.size()),
                              request->generation.max_tokens, context->context_length, "messages",
                              &prompt.max_tokens)) {
    return exchange->Respond(ErrorResponse(*error));
  }
  auto format = MakeChatFormat(MakeEnvelope("chatcmpl-", *exchange, *context, request->generation.model),
                               request->generation, *context->tokenizer, prompt.tokens);
  InferenceRequest inference{
      .endpoint = "chat",
      .tenant = TenantOf(exchange->request(), *context, request->generation.cache_salt),
      .generation = std::move(request->generation),
      .prompts = {}};
  inference.prompts.push_back(std::move(prompt));
  StartInference(std::move(exchange), context, std::move(inference), std::move(format));
}

void HandleCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                       const boost::json::object& body) {
  Parsed<CompletionRequest> request = ReadCompletionRequest(body, *context);
  if (!request.ok()) return exchange->Respond(ErrorResponse(request.error()));
  Parsed<EncodedPrompts> encoded = EncodePrompts(*context, *request);
  if (!encoded.ok()) return exchange->Respond(ErrorResponse(encoded.error()));
  std::vector<std::vector<TokenId>> ids;
  if (request->generation.return_token_ids) {
    for (const InferencePrompt& prompt : encoded->prompts) ids.push_back(prompt.tokens);
  }
  auto format = MakeCompletionFormat(MakeEnvelope("cmpl-", *exchange, *context, request->generation.model),
                                     request->generation, *context->tokenizer, std::move(ids),
                                     std::move(encoded->echoes));
  InferenceRequest inference{
      .endpoint = "completions",
      .tenant = TenantOf(exchange->request(), *context, request->generation.cache_salt),
      .generation = std::move(request->generation),
      .prompts = std::move(encoded->prompts)};
  StartInference(std::move(exchange), context, std::move(inference), std::move(format));
}

}  // namespace prefixd
