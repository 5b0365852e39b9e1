#include "daemon/api/openai.h"

#include <boost/json.hpp>
#include <utility>

#include "base/utf8.h"
#include "daemon/api/chat_request.h"
#include "daemon/api/completion_request.h"
#include "daemon/api/explain/explanation.h"
#include "daemon/api/generation.h"
#include "daemon/api/inference.h"
#include "daemon/api/middleware.h"
#include "daemon/api/response_json.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

namespace json = boost::json;

constexpr int kDefaultCompletionTokens = 16;

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

// Of several prompts, the first one is remembered.
void RecordPrompt(const ApiContext& context, std::string_view owner, const std::string& id,
                  const CompletionRequest& request, InferencePrompt* prompt) {
  std::shared_ptr<PromptRecord> record = NewRecord(context, request.generation, id);
  if (record == nullptr) return;
  const std::string* text = std::get_if<std::string>(&request.prompts.front());
  const std::string shown = text != nullptr
                                ? RepairUtf8(*text)
                                : context.tokenizer->Decode(prompt->tokens, /*skip_special_tokens=*/false);
  record->AddPrompt(MarkedText::Input(shown), prompt->tokens);
  CompareWithEarlier(context, owner, "", prompt->tokens, record.get());
  prompt->record = std::move(record);
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

// Appends an object of a rendered prompt.
void AppendRendered(const Exchange& exchange, const std::string& model, const std::vector<TokenId>& tokens,
                    std::string* out) {
  out->append("{\"request_id\":").append(json::serialize(json::string(exchange.request_id())));
  out->append(",\"model\":").append(json::serialize(json::string(model))).append(",\"token_ids\":");
  char separator = '[';
  for (const TokenId token : tokens) {
    out->push_back(std::exchange(separator, ','));
    out->append(std::to_string(token));
  }
  out->append(tokens.empty() ? "[]}" : "]}");
}

}  // namespace

std::optional<ApiError> HandleChatRender(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                         const json::object& body, Work& work) {
  Parsed<ChatRequest> request = ReadChatRequest(body, *context);
  if (!request.ok()) return request.error();
  const std::string model = request->generation.model;
  Parsed<std::vector<TokenId>> tokens = ChatTokens(*context, *std::move(request), work);
  if (!tokens.ok()) return tokens.error();
  std::string rendered;
  AppendRendered(*exchange, model, *tokens, &rendered);
  exchange->Respond({.body = std::move(rendered)});
  return std::nullopt;
}

std::optional<ApiError> HandleCompletionsRender(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                                const json::object& body, Work& work) {
  Parsed<CompletionRequest> request = ReadCompletionRequest(body, *context);
  if (!request.ok()) return request.error();
  std::string rendered;
  for (const PromptInput& input : request->prompts) {
    Parsed<std::vector<TokenId>> tokens = EncodePrompt(*context, *request, input, work);
    if (!tokens.ok()) return tokens.error();
    rendered.push_back(rendered.empty() ? '[' : ',');
    AppendRendered(*exchange, request->generation.model, *tokens, &rendered);
  }
  rendered.push_back(']');
  exchange->Respond({.body = std::move(rendered)});
  return std::nullopt;
}

std::optional<ApiError> HandleChatCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                              const boost::json::object& body, Work& work) {
  Parsed<ChatRequest> request = ReadChatRequest(body, *context);
  if (!request.ok()) return request.error();
  ResponseMetadata metadata = MakeMetadata("chatcmpl-", *exchange, *context, request->generation.model);
  const auto fit = [](const ApiContext& model, int prompt_tokens, std::optional<int64_t> asked,
                      int* max_tokens) {
    return ResolveMaxTokens(model.context_length, prompt_tokens, asked, model.context_length, "messages",
                            max_tokens);
  };
  const std::string id = metadata.id;
  const auto format = [&](ChatRequest& asked, const InferencePrompt& prompt) {
    return MakeChatFormat(std::move(metadata), asked.generation, *context->tokenizer, prompt.tokens,
                          std::move(asked.echo));
  };
  return StartChat(context, std::move(exchange), *std::move(request), work,
                   {.endpoint = "chat", .response_id = id, .fit = fit, .format = format});
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
  for (InferencePrompt& prompt : encoded->prompts)
    prompt.use = UseOfPrefix(generation.cache, {}, static_cast<int>(prompt.tokens.size()));
  const size_t repeated_bytes = encoded->echo_bytes + RepeatedIdBytes(generation, encoded->tokens);
  std::vector<std::vector<TokenId>> ids;
  if (generation.return_token_ids || (request->echo && generation.sampling.logprobs >= 0)) {
    for (const InferencePrompt& prompt : encoded->prompts) ids.push_back(prompt.tokens);
  }
  ResponseMetadata metadata = MakeMetadata("cmpl-", *exchange, *context, generation.model);
  const std::string owner = OwnerOf(exchange->request());
  RecordPrompt(*context, owner, metadata.id, *request, &encoded->prompts.front());
  auto format = MakeCompletionFormat(std::move(metadata), generation, *context->tokenizer, std::move(ids),
                                     std::move(encoded->echoes));
  InferenceRequest inference{.endpoint = "completions",
                             .owner = owner,
                             .cache_namespace = NamespaceOf(exchange->request(), generation),
                             .generation = std::move(generation),
                             .prompts = std::move(encoded->prompts),
                             .repeated_bytes = repeated_bytes};
  return StartInference(std::move(exchange), context, std::move(inference), std::move(format));
}

}  // namespace prefixd
