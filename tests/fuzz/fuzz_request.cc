// Parses any bytes as the body of a request of each API, as a request target, and as the values of headers.
// The body is rejected with an error that a client can read, or it gives a request within the limits of the
// server.
#include <boost/json.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "daemon/api/anthropic/messages_request.h"
#include "daemon/api/chat_request.h"
#include "daemon/api/completion_request.h"
#include "daemon/api/middleware.h"
#include "daemon/api/responses/responses_request.h"
#include "daemon/http/cors.h"
#include "daemon/http/request_head.h"

namespace {

using prefixd::ApiContext;
using prefixd::ApiError;
using prefixd::GenerationRequest;

const ApiContext& Context() {
  static ApiContext context;
  static const bool made = [] {
    context.model_names = {"m"};
    context.vocab_size = 1000;
    context.context_length = 512;
    return true;
  }();
  PREFIXD_CHECK(made);
  return context;
}

void CheckError(const ApiError& error) {
  PREFIXD_CHECK(error.status == 400 || error.status == 404) << error.status;
  PREFIXD_CHECK(!error.message.empty());
  PREFIXD_CHECK(boost::json::parse(prefixd::ErrorBody(error)).is_object());
}

void CheckGeneration(const GenerationRequest& request) {
  const ApiContext& context = Context();
  const prefixd::SamplingParams& sampling = request.sampling;
  PREFIXD_CHECK(std::isfinite(sampling.temperature) && sampling.temperature >= 0 &&
                sampling.temperature <= 2);
  PREFIXD_CHECK(sampling.top_p > 0 && sampling.top_p <= 1) << sampling.top_p;
  PREFIXD_CHECK(sampling.min_p >= 0 && sampling.min_p < 1) << sampling.min_p;
  PREFIXD_CHECK(sampling.top_k >= 0 && sampling.min_tokens >= 0);
  PREFIXD_CHECK(sampling.logprobs >= -1 && sampling.logprobs <= context.limits.max_logprobs)
      << sampling.logprobs;
  PREFIXD_CHECK(request.prompt_logprobs >= -1 && request.prompt_logprobs <= sampling.prompt_logprobs &&
                sampling.prompt_logprobs <= context.limits.max_logprobs)
      << sampling.prompt_logprobs;
  PREFIXD_CHECK(std::abs(sampling.presence_penalty) <= 2 && std::abs(sampling.frequency_penalty) <= 2);
  PREFIXD_CHECK(sampling.repetition_penalty >= 0.0099f && sampling.repetition_penalty <= 100)
      << sampling.repetition_penalty;
  PREFIXD_CHECK(sampling.logit_bias.size() <= context.limits.max_logit_biases);
  std::set<prefixd::TokenId> biased;
  for (const prefixd::LogitBias& bias : sampling.logit_bias) {
    PREFIXD_CHECK(bias.token >= 0 && bias.token < context.vocab_size) << bias.token;
    PREFIXD_CHECK(std::abs(bias.bias) <= 100) << bias.bias;
    PREFIXD_CHECK(biased.insert(bias.token).second) << bias.token;
  }
  PREFIXD_CHECK(request.n >= 1 && request.n <= context.limits.max_n) << request.n;
  PREFIXD_CHECK(request.best_of >= request.n && request.best_of <= context.limits.max_best_of)
      << request.best_of;
  PREFIXD_CHECK(!request.stream || (request.best_of == request.n && request.prompt_logprobs < 0));
  std::vector<prefixd::TokenId> tokens(10, 1);
  prefixd::TruncatePrompt(request, &tokens);
  PREFIXD_CHECK(!tokens.empty() && tokens.size() <= 10);
  PREFIXD_CHECK(request.stop.size() <= static_cast<size_t>(context.limits.max_stops));
  for (const std::string& stop : request.stop) PREFIXD_CHECK(!stop.empty());
  for (const prefixd::TokenId id : sampling.stop_token_ids)
    PREFIXD_CHECK(id >= 0 && id < context.vocab_size) << id;
  int max_tokens = -1;
  if (!prefixd::ResolveMaxTokens(context.context_length, 10, request.max_tokens, 16, "prompt", &max_tokens)) {
    PREFIXD_CHECK(max_tokens >= 0 && max_tokens + 10 <= context.context_length) << max_tokens;
  }
}

}  // namespace

namespace {

// Bytes as the value of a header, and of the option that lists origins.
void CheckHeaders(std::string_view text) {
  prefixd::HttpRequest request;
  request.method = "OPTIONS";
  request.headers = {{"origin", std::string(text)},
                     {"content-encoding", std::string(text)},
                     {"access-control-request-method", "POST"},
                     {"access-control-request-headers", std::string(text)}};
  if (const auto error = prefixd::CheckContentEncoding(request)) PREFIXD_CHECK(error->status == 415);
  const auto any = prefixd::CorsPolicy::Parse("*");
  const auto answer = any->PreflightResponse(request);
  PREFIXD_CHECK(answer.has_value() == !text.empty());
  if (answer) {
    for (const auto& [name, value] : answer->headers)
      for (const char c : value) PREFIXD_CHECK(c >= ' ' && c < 0x7f) << name;
  }
  if (prefixd::IsRequestId(text)) PREFIXD_CHECK(text.size() <= 128 && text.find('\n') == text.npos);
  const auto listed = prefixd::CorsPolicy::Parse(text);
  if (!listed.ok()) PREFIXD_CHECK(!listed.status().message().empty());
}

const prefixd::ChatRequest& ChatOf(const prefixd::ChatRequest& request) { return request; }
const prefixd::ChatRequest& ChatOf(const prefixd::ResponsesRequest& request) { return request.chat; }

void CheckOtherApis(const boost::json::object& body) {
  const auto check = [](const auto& read) {
    if (!read.ok()) return CheckError(read.error());
    CheckGeneration(ChatOf(*read).generation);
    PREFIXD_CHECK(!ChatOf(*read).prompt.input.messages.empty());
  };
  for (const bool counts : {false, true}) check(prefixd::ReadMessagesRequest(body, Context(), counts));
  prefixd::ByteBudget budget(64 << 20, 1 << 20);
  prefixd::Work work(budget, prefixd::ByteBudget::Use::kWork);
  for (const bool counts : {false, true})
    check(prefixd::ReadResponsesRequest(body, Context(), {"owner", "1"}, counts, work));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto target = prefixd::SplitTarget(text))
    PREFIXD_CHECK(target->first.find('\0') == std::string::npos);
  CheckHeaders(text);
  const auto body = prefixd::ParseBody(text);
  if (!body.ok()) {
    CheckError(body.error());
    return 0;
  }
  const auto completion = prefixd::ReadCompletionRequest(*body, Context());
  if (completion.ok()) {
    CheckGeneration(completion->generation);
    PREFIXD_CHECK(!completion->prompts.empty());
    for (const auto& prompt : completion->prompts) {
      const auto* ids = std::get_if<std::vector<prefixd::TokenId>>(&prompt);
      if (ids == nullptr) continue;
      for (const prefixd::TokenId id : *ids) PREFIXD_CHECK(id >= 0 && id < Context().vocab_size) << id;
    }
  } else {
    CheckError(completion.error());
  }
  const auto chat = prefixd::ReadChatRequest(*body, Context());
  if (chat.ok()) {
    CheckGeneration(chat->generation);
    PREFIXD_CHECK(!chat->prompt.input.messages.empty());
  } else {
    CheckError(chat.error());
  }
  CheckOtherApis(*body);
  return 0;
}
