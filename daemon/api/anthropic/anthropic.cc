#include "daemon/api/anthropic/anthropic.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "daemon/api/anthropic/messages_format.h"
#include "daemon/api/anthropic/messages_request.h"
#include "daemon/api/generation.h"
#include "daemon/api/sse.h"

namespace prefixd {

namespace {

namespace json = boost::json;

std::string_view TypeOf(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 408:
      return "timeout_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

// There is no member for the field, so the message names it.
std::string MessageOf(const ApiError& error) {
  constexpr std::string_view kTooLong = "prompt is too long: ";  // clients look for it
  const bool too_long = error.code == "context_length_exceeded" && !error.message.starts_with(kTooLong);
  if (too_long) return std::string(kTooLong) + error.message;
  const bool named = error.param.empty() || error.code == "context_length_exceeded" ||
                     error.message.find(error.param) != std::string::npos;
  return named ? error.message : error.param + ": " + error.message;
}

std::string Body(const ApiError& error, std::string_view request_id) {
  json::object inner = {{"type", TypeOf(error.status)}, {"message", RepairUtf8(MessageOf(error))}};
  if (!error.code.empty()) inner.emplace("details", json::object{{"error_code", error.code}});
  return json::serialize(
      json::object{{"type", "error"}, {"error", std::move(inner)}, {"request_id", request_id}});
}

std::string Event(const ApiError& error, std::string_view request_id) {
  return SseEvent("error", Body(error, request_id));
}

constexpr ErrorStyle kErrors{Body, Event, "request-id"};

// An answer that the context cuts short says so; it is no error.
std::optional<ApiError> Fit(const ApiContext& context, int prompt_tokens, std::optional<int64_t> asked,
                            int* max_tokens) {
  const int64_t left = context.context_length - prompt_tokens;
  if (left < 0 || (left == 0 && asked != 0)) {
    return BadParameter("messages",
                        "prompt is too long: " + std::to_string(prompt_tokens) + " tokens > " +
                            std::to_string(context.context_length) + " maximum",
                        "context_length_exceeded");
  }
  *max_tokens = static_cast<int>(std::min<int64_t>(left, asked.value_or(left)));
  return std::nullopt;
}

std::optional<ApiError> HandleMessages(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                       const json::object& body, Work& work) {
  Parsed<MessagesRequest> request = ReadMessagesRequest(body, *context, /*counts=*/false);
  if (!request.ok()) return request.error();
  MessagesFormatOptions options{
      .metadata = MakeMetadata("msg_", *exchange, *context, request->chat.generation.model)};
  const std::string id = options.metadata.id;
  std::string compare_with = request->compare_with.value_or("");
  const auto format = [&](ChatRequest& asked, const InferencePrompt& prompt) {
    if (request->compare_with) options.compared = prompt.record;
    options.cut = asked.generation.max_tokens > prompt.max_tokens;
    return MakeMessagesFormat(std::move(options));
  };
  return StartChat(context, std::move(exchange), std::move(request->chat), work,
                   {.endpoint = "messages",
                    .response_id = id,
                    .compare_with = std::move(compare_with),
                    .fit = Fit,
                    .format = format});
}

std::optional<ApiError> HandleCountTokens(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                          const json::object& body, Work& work) {
  Parsed<MessagesRequest> request = ReadMessagesRequest(body, *context, /*counts=*/true);
  if (!request.ok()) return request.error();
  Parsed<std::vector<TokenId>> tokens = ChatTokens(*context, std::move(request->chat), work);
  if (!tokens.ok()) return tokens.error();
  exchange->Respond({.body = json::serialize(json::object{{"input_tokens", tokens->size()}})});
  return std::nullopt;
}

constexpr PostRoute kPosts[] = {
    {"/v1/messages",
     HandleMessages,
     {.summary = "Answers a conversation", .answer = "Message", .fields = MessagesFields, .streams = true}},
    {"/v1/messages/count_tokens",
     HandleCountTokens,
     {.summary = "Counts the tokens of a prompt", .answer = "TokenCount", .fields = CountTokensFields}},
};

}  // namespace

constinit const Api kAnthropicApi{
    .prefix = "/v1/messages", .errors = &kErrors, .error_schema = "AnthropicError", .posts = kPosts};

}  // namespace prefixd
