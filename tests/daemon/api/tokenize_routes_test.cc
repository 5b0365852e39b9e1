// The routes other than inference: keys, phases, models, metrics, content types and the tokenizer routes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Parse;
using testing_support::PlainKeys;
using testing_support::Text;

TEST_F(ApiTest, KeysProtectInferenceAndSeparateTheCache) {
  api_.context.api_keys = PlainKeys({"sk-one", "sk-two"});
  const std::string body = R"({"prompt":"x","cache_salt":"s"})";
  for (const HttpHeaders& headers :
       {HttpHeaders{}, HttpHeaders{{"authorization", "Bearer sk-onf"}},
        HttpHeaders{{"authorization", "sk-one"}}, HttpHeaders{{"x-api-key", "sk-"}}}) {
    const auto refused = api_.Request("POST", "/v1/completions", body, headers);
    EXPECT_EQ(refused->response.status, 401);
    EXPECT_EQ(refused->header("WWW-Authenticate"), "Bearer");
    EXPECT_EQ(Text(At(Parse(refused->body()), "/error/code")), "invalid_api_key");
  }
  EXPECT_EQ(api_.Request("GET", "/v1/models")->response.status, 401);
  for (const char* path : {"/health", "/v1/health", "/metrics", "/ready"})
    EXPECT_EQ(api_.Request("GET", path)->response.status, 200) << path;
  api_.Request("POST", "/v1/completions", body, {{"authorization", "bearer sk-one"}});
  api_.Request("POST", "/v1/completions", body, {{"x-api-key", "sk-one"}});
  api_.Request("POST", "/v1/completions", body, {{"x-api-key", "sk-two"}});
  ASSERT_EQ(api_.engine.submitted(), 3u);
  const auto space = [&](size_t i) { return api_.engine.request(i).cache_namespace; };
  EXPECT_EQ(space(0), space(1));
  EXPECT_NE(space(0).tenant, space(2).tenant);
  EXPECT_NE(space(0).salt, space(2).salt);
  api_.context.api_keys.clear();
  api_.Request("POST", "/v1/completions", body, {{"x-api-key", "anything"}});
  EXPECT_EQ(space(3), (CacheNamespace{.tenant = "", .salt = "s"}));
}

TEST_F(ApiTest, LargeBodiesAreReadOnlyForRequestsThatMayHaveOne) {
  api_.context.api_keys = PlainKeys({"sk-one"});
  const auto wants = [&](std::string method, std::string path, HttpHeaders headers) {
    return api_.router.WantsBody({.method = std::move(method),
                                  .path = std::move(path),
                                  .query = "",
                                  .headers = std::move(headers),
                                  .body = ""});
  };
  const HttpHeaders key = {{"authorization", "Bearer sk-one"}};
  EXPECT_TRUE(wants("POST", "/v1/completions", key));
  EXPECT_TRUE(wants("POST", "/tokenize", key));
  EXPECT_FALSE(wants("POST", "/v1/completions", {}));
  EXPECT_FALSE(wants("POST", "/v1/completions", {{"x-api-key", "sk-two"}}));
  EXPECT_FALSE(wants("POST", "/v1/completions", {{"x-api-key", "sk-one"}, {"content-type", "text/plain"}}));
  EXPECT_FALSE(wants("POST", "/v1/nowhere", key));
  EXPECT_FALSE(wants("GET", "/v1/completions", key));
  EXPECT_FALSE(wants("GET", "/health", {}));
}

TEST_F(ApiTest, PhasesAndHealth) {
  api_.state.set_phase(ServerPhase::kLoading);
  auto health = api_.Request("GET", "/health");
  EXPECT_EQ(health->response.status, 503);
  EXPECT_EQ(Parse(health->body()),
            Parse(R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})"));
  EXPECT_EQ(
      Parse(api_.Request("GET", "/ready")->body()),
      Parse(R"({"ready":false,"state":"loading","checks":{"model":"loading","device":"ok","host":"off",)"
            R"("disk":"off"}})"));
  auto refused = Completion("");
  EXPECT_EQ(refused->response.status, 503);
  EXPECT_NE(refused->header("Retry-After"), "");
  EXPECT_EQ(api_.Request("GET", "/v1/models")->response.status, 200);

  api_.state.set_phase(ServerPhase::kServing);
  EXPECT_EQ(Parse(api_.Request("GET", "/v1/health")->body()), Parse(R"({"status":"ok"})"));
  api_.context.checks = [] { return ReadyChecks{{"disk", "failed: no space left"}}; };
  const auto degraded = api_.Request("GET", "/ready");
  EXPECT_EQ(degraded->response.status, 200);
  EXPECT_EQ(Text(At(Parse(degraded->body()), "/state")), "degraded");

  api_.state.set_phase(ServerPhase::kDraining);
  EXPECT_EQ(api_.Request("GET", "/ready")->response.status, 503);
  EXPECT_EQ(Completion("")->response.status, 503);
  EXPECT_EQ(api_.engine.submitted(), 0u);
}

TEST_F(ApiTest, ModelsAndVersionAndMetrics) {
  const json::value list = Parse(api_.Request("GET", "/v1/models")->body());
  EXPECT_EQ(Text(At(list, "/object")), "list");
  EXPECT_EQ(Text(At(list, "/data/0/id")), "org/toy model:1");
  EXPECT_EQ(Text(At(list, "/data/0/object")), "model");
  EXPECT_TRUE(At(list, "/data/0/created").is_int64());
  EXPECT_EQ(At(list, "/data/0/max_model_len").as_int64(), 200);
  EXPECT_EQ(Text(At(Parse(api_.Request("GET", "/v1/models/org/toy model:1")->body()), "/id")),
            "org/toy model:1");
  EXPECT_EQ(api_.Request("GET", "/models/alias")->response.status, 200);
  const auto unknown = api_.Request("GET", "/v1/models/nobody");
  EXPECT_EQ(unknown->response.status, 404);
  EXPECT_EQ(Text(At(Parse(unknown->body()), "/error/code")), "model_not_found");
  EXPECT_EQ(Parse(api_.Request("GET", "/version")->body()), Parse(R"({"version":"1.2.3"})"));
  const auto metrics = api_.Request("GET", "/metrics");
  EXPECT_EQ(metrics->body(), "prefixd_up 1\n");
  EXPECT_THAT(metrics->response.content_type, HasSubstr("version=0.0.4"));
}

TEST_F(ApiTest, ContentTypes) {
  for (const auto& [type, status] :
       std::vector<std::pair<std::string, int>>{{"text/plain", 415},
                                                {"application/x-www-form-urlencoded", 415},
                                                {"application/json; charset=utf-8", 0},
                                                {"Application/JSON", 0},
                                                {"application/vnd.x+json", 0}}) {
    const auto exchange =
        api_.Request("POST", "/v1/completions", R"({"prompt":"x"})", {{"content-type", type}});
    EXPECT_EQ(exchange->ended ? exchange->response.status : 0, status) << type;
  }
}

TEST_F(ApiTest, TokenizeAndDetokenize) {
  EXPECT_EQ(Parse(api_.Post("/tokenize", R"({"prompt":"a<|end|>"})")->body()),
            Parse(R"({"count":3,"max_model_len":200,"tokens":[259,97,256],"token_strs":null})"));
  EXPECT_EQ(
      At(Parse(api_.Post("/tokenize", R"({"prompt":"é","add_special_tokens":false,"return_token_strs":true})")
                   ->body()),
         "/token_strs"),
      (json::array{"\xEF\xBF\xBD", "\xEF\xBF\xBD"}));
  EXPECT_EQ(Parse(api_.Post("/tokenize", R"({"messages":[{"role":"user","content":"hi"}]})")->body())
                .at("count")
                .as_int64(),
            9);
  EXPECT_EQ(Parse(api_.Post("/tokenize", R"({"content":"<|end|>","parse_special":false})")->body())
                .at("tokens")
                .as_array()
                .size(),
            7u);
  EXPECT_EQ(Parse(api_.Post("/tokenize", R"({"content":"aé","with_pieces":true})")->body()),
            Parse(R"({"tokens":[{"id":97,"piece":"a"},{"id":195,"piece":[195]},{"id":169,"piece":[169]}]})"));
  EXPECT_EQ(api_.Post("/tokenize", "{}")->response.status, 400);
  EXPECT_EQ(Parse(api_.Post("/detokenize", R"({"tokens":[97,256,98]})")->body()),
            Parse(R"({"prompt":"a<|end|>b","content":"a<|end|>b"})"));
  EXPECT_EQ(Parse(api_.Post("/detokenize", R"({"tokens":[34,92,10,1]})")->body()),
            Parse(R"({"prompt":"\"\\\n\u0001","content":"\"\\\n\u0001"})"));
  EXPECT_EQ(Parse(api_.Post("/detokenize", R"({"tokens":[]})")->body()),
            Parse(R"({"prompt":"","content":""})"));
  EXPECT_EQ(api_.Post("/detokenize", R"({"tokens":[999]})")->response.status, 400);
  EXPECT_EQ(api_.Post("/detokenize", "{}")->response.status, 400);
}

TEST_F(ApiTest, RenderRespondsWithTheTokensOfAPrompt) {
  const std::string chat = R"({"messages":[{"role":"user","content":"hi"}],"unknown_to_all":1,"n":2})";
  const json::value rendered = Parse(api_.Post("/v1/chat/completions/render", chat)->body());
  EXPECT_FALSE(Text(At(rendered, "/request_id")).empty());
  EXPECT_EQ(Text(At(rendered, "/model")), "org/toy model:1");
  EXPECT_EQ(At(rendered, "/token_ids"), At(Parse(api_.Post("/tokenize", chat)->body()), "/tokens"));

  const json::value list =
      Parse(api_.Post("/completions/render", R"({"prompt":["a<|end|>",""],"model":"alias","max_tokens":1})")
                ->body());
  ASSERT_EQ(list.as_array().size(), 2u);
  EXPECT_EQ(Text(At(list, "/0/model")), "alias");
  EXPECT_EQ(At(list, "/0/token_ids"), (json::array{259, 97, 256}));
  EXPECT_EQ(At(list, "/1/token_ids"), (json::array{259}));
  const json::value ids = Parse(api_.Post("/v1/completions/render", R"({"prompt":[5,6,7]})")->body());
  EXPECT_EQ(At(ids, "/0/token_ids"), (json::array{5, 6, 7}));
  EXPECT_EQ(api_.engine.submitted(), 0u) << "the model has nothing to do";
  EXPECT_EQ(api_.Post("/v1/completions/render", R"({"prompt":7})")->response.status, 400);
  EXPECT_EQ(api_.Post("/v1/chat/completions/render", "{}")->response.status, 400);
}

TEST_F(ApiTest, KvEventSourcesAreThoseOfRankZero) {
  EXPECT_EQ(Parse(api_.Request("GET", "/kv_event_sources")->body()), json::object());
  api_.context.kv_events =
      KvEventSource{.endpoint = "tcp://a:1", .topic = "kv@a@m", .buffered = 3, .unread = 2, .queued = 1};
  EXPECT_EQ(Parse(api_.Request("GET", "/kv_event_sources")->body()), Parse(R"({"0":{
      "enable_kv_cache_events":true,"publisher":"zmq","endpoint":"tcp://a:1","replay_endpoint":null,
      "buffer_steps":3,"hwm":2,"max_queue_size":1,"topic":"kv@a@m"}})"));
}

TEST_F(ApiTest, TokenizeUsesAllInputsOfTheTemplate) {
  const std::string messages = R"("messages":[{"role":"user","content":"hi"}])";
  const auto ids = [&](const std::string& more) {
    const auto exchange = api_.Post("/tokenize", "{" + messages + more + "}");
    EXPECT_EQ(exchange->response.status, 200) << exchange->body();
    const json::value body = Parse(exchange->body());
    EXPECT_EQ(At(body, "/count").as_int64(), static_cast<int64_t>(At(body, "/tokens").as_array().size()));
    return At(body, "/count").as_int64();
  };
  EXPECT_EQ(ids(""), 9);
  EXPECT_EQ(ids(R"(,"tools":[{"type":"function","function":{"name":"f"}}])"), 9 + 1)
      << "the name of the tool";
  EXPECT_EQ(ids(R"(,"documents":[{"title":"doc"}])"), 9 + 3) << "the title of the document";
  EXPECT_EQ(ids(R"(,"chat_template_kwargs":{"mood":"!!"})"), 9 + 2);
  EXPECT_EQ(ids(R"(,"add_generation_prompt":false)"), 8);
  EXPECT_EQ(ids(R"(,"continue_final_message":true)"), 8);
  EXPECT_EQ(ids(R"(,"add_special_tokens":true)"), 10);
  const auto refused = api_.Post("/tokenize", "{" + messages + R"(,"chat_template":"{{ 1 }}"})");
  EXPECT_EQ(refused->response.status, 400);
  EXPECT_EQ(Text(At(Parse(refused->body()), "/error/param")), "chat_template");
  EXPECT_EQ(
      Parse(
          api_.Post("/apply-template", "{" + messages + R"(,"tools":[{"function":{"name":"f"}}]})")->body()),
      Parse(R"({"prompt":"f<|user|>user:hi<|assistant|>"})"));
}

TEST_F(ApiTest, ApplyTemplate) {
  EXPECT_EQ(
      Parse(api_.Post("/apply-template",
                      R"({"messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"mood":"!"}})")
                ->body()),
      Parse(R"({"prompt":"<|user|>user:hi<|assistant|>!"})"));
  const std::string continued =
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":" Once "}],)"
      R"("continue_final_message":true})";
  EXPECT_EQ(Parse(api_.Post("/apply-template", continued)->body()),
            Parse(R"({"prompt":"<|user|>user:a<|user|>assistant: Once "})"));
  api_.context.chat_template = nullptr;
  const auto none = api_.Post("/apply-template", R"({"messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(none->response.status, 400);
  EXPECT_THAT(none->body(), HasSubstr("--chat-template"));
}

TEST_F(ApiTest, ContinuesTheFinalMessageAtItsEnd) {
  const auto prompt = [&](std::string_view shown, std::string_view content) {
    const auto made = ChatTemplate::Parse(
        "{% for m in messages %}<|im_start|>{{ " + std::string(shown) + " }}<|im_end|>\n{% endfor %}", {});
    PREFIXD_CHECK(made.ok()) << made.status().message();
    api_.context.chat_template = made->get();
    const json::value body = {{"messages", {{{"role", "assistant"}, {"content", content}}}},
                              {"continue_final_message", true}};
    const auto exchange = api_.Post("/apply-template", json::serialize(body));
    api_.context.chat_template = nullptr;
    return exchange->body();
  };
  // The template appends the same text after a message.
  EXPECT_EQ(Parse(prompt("m.content", "end")), Parse(R"({"prompt":"<|im_start|>end"})"));
  EXPECT_EQ(Parse(prompt("m.content", "So:\n")), Parse(R"({"prompt":"<|im_start|>So:\n"})"));
  EXPECT_EQ(Parse(prompt("m.content | trim", "So:\n")), Parse(R"({"prompt":"<|im_start|>So:"})"));
  EXPECT_THAT(prompt("m.content | upper", "so"), HasSubstr("does not show the last message unchanged"));
  EXPECT_THAT(prompt("m.role", "so"), HasSubstr("does not show the last message unchanged"));
  EXPECT_THAT(prompt("m.content", " \n"), HasSubstr("a last message with text"));
}

TEST_F(ApiTest, PathsWithoutAndWithDoubledVersion) {
  EXPECT_EQ(api_.Post("/completions/", R"({"prompt":"x"})")->answers, 0);
  EXPECT_EQ(api_.engine.submitted(), 1u);
  const auto doubled = api_.Post("/v1/v1/completions", R"({"prompt":"x"})");
  EXPECT_EQ(doubled->response.status, 404);
  EXPECT_THAT(doubled->body(), HasSubstr("twice"));
  const auto wrong = api_.Request("GET", "/v1/chat/completions");
  EXPECT_EQ(wrong->response.status, 405);
  EXPECT_EQ(wrong->header("Allow"), "POST");
  EXPECT_EQ(api_.Request("POST", "/v1/models", "{}")->header("Allow"), "GET, HEAD");
  EXPECT_EQ(api_.Post("/v1/embeddings", "{}")->response.status, 404);
}

}  // namespace
}  // namespace prefixd
