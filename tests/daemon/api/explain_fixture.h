// The fixture of the tests of explanations: conversations through all routes, and what is told of them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "tests/daemon/api/api_fixture.h"
#include "tests/daemon/api/golden_families.h"

namespace prefixd::testing_support {

class ExplainTest : public ApiTest {
 protected:
  // The toy template writes answers otherwise than they were generated; this one appends only.
  ExplainTest() : template_(MakeTemplate("{{ m.content }}")), rewrites_(api_.context.chat_template) {
    api_.context.context_length = 1 << 20;
    api_.context.chat_template = template_.get();
  }

  // `content` is how it shows the content of an answer.
  static std::unique_ptr<ChatTemplate> MakeTemplate(const std::string& content) {
    Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Parse(
        "{%- for t in tools or [] -%}{{ t.function.name }}{%- endfor -%}"
        "{%- for m in messages -%}{%- if m.role == 'assistant' -%}<|assistant|>" +
            content +
            "<|end|>{%- else -%}<|user|>{{ m.role }}:{{ m.content }}{%- endif -%}{%- endfor -%}"
            "{%- if add_generation_prompt -%}<|assistant|>{{ mood|default('') }}"
            "{{ reasoning_effort|default('') }}{%- endif -%}",
        {});
    PREFIXD_CHECK(parsed.ok()) << parsed.status().ToString();
    return *std::move(parsed);
  }

  // From here on, the tokenizer and the template of a family.
  void Use(const Family& family) {
    tokenizer_ = TokenizerOf(family);
    chat_ = ChatOf(family);
    api_.context.tokenizer = tokenizer_.get();
    api_.context.chat_template = chat_.get();
    api_.context.vocab_size = tokenizer_->vocab_size();
    api_.context.eos = {tokenizer_->TokenToId(family.end).value()};
  }

  // The ids of a text that follows another.
  std::vector<TokenId> IdsOf(std::string_view text) const {
    Result<std::vector<TokenId>> ids = api_.context.tokenizer->Encode(
        text, {.add_special_tokens = false, .parse_special = false, .start = TextStart::kWithin});
    PREFIXD_CHECK(ids.ok()) << ids.status().ToString();
    return *std::move(ids);
  }

  // Posts a body and generates the answer. Returns the response.
  json::object Ask(const std::string& path, json::object body, std::string_view answer,
                   HttpHeaders headers = {}) {
    body["request_id"] = "r" + std::to_string(api_.engine.submitted());
    const auto exchange = api_.Request("POST", path, json::serialize(body), headers);
    std::vector<TokenId> tokens = IdsOf(answer);
    tokens.push_back(api_.context.eos.front());
    api_.engine.Generate(api_.engine.submitted() - 1, tokens, FinishReason::kStop);
    exchange->RunJobs();
    EXPECT_EQ(exchange->response.status, 200) << exchange->body();
    return Parse(exchange->body()).as_object();
  }
  json::object Explain(std::string_view id, HttpHeaders headers = {}, int status = 200) {
    HttpRequest request{.method = "GET",
                        .path = "/v1/cache/explain",
                        .query = "response_id=" + std::string(id),
                        .headers = std::move(headers),
                        .body = ""};
    auto exchange = std::make_shared<MemoryExchange>(std::move(request), api_.budget.get());
    api_.router.Handle(exchange);
    exchange->RunJobs();
    EXPECT_EQ(exchange->response.status, status) << exchange->body();
    return Parse(exchange->body()).as_object();
  }
  static std::string IdOf(const json::object& response) { return Text(response.at("id")); }

  std::unique_ptr<Tokenizer> tokenizer_;  // of Use
  std::unique_ptr<ChatTemplate> chat_;
  const std::unique_ptr<ChatTemplate> template_;
  const ChatTemplate* const rewrites_;
};

struct Turn {
  std::string role, content;
  bool operator==(const Turn&) const = default;
};
using Turns = std::vector<Turn>;

enum class Route { kChat, kCompletions, kResponses, kMessages };

inline const char* PathOf(Route route) {
  constexpr const char* kPaths[] = {"/v1/chat/completions", "/v1/completions", "/v1/responses",
                                    "/v1/messages"};
  return kPaths[static_cast<size_t>(route)];
}

// A conversation as a request of a route.
inline json::object BodyOf(Route route, const Turns& turns) {
  json::array messages;
  json::object body = {{"max_tokens", 100}};
  std::string prompt;
  for (const auto& [role, content] : turns) {
    prompt += "<" + role + ">" + content;
    if (role == "system" && route == Route::kMessages) {
      body.emplace("system", content);
    } else if (role == "system" && route == Route::kResponses) {
      body.emplace("instructions", content);
    } else {
      messages.push_back(json::object{{"role", role}, {"content", content}});
    }
  }
  if (route == Route::kCompletions) {
    body.emplace("prompt", prompt);
  } else {
    body.emplace(route == Route::kResponses ? "input" : "messages", std::move(messages));
  }
  return body;
}

}  // namespace prefixd::testing_support
