// What a client is told of a request and the cache: records of requests, comparisons and their shapes.
#include "base/prng.h"
#include "daemon/api/explain/request_memory.h"
#include "tests/daemon/api/explain_fixture.h"

namespace prefixd {
namespace {

using namespace testing_support;

TEST(PrefixTrace, FindsTheCommonPrefix) {
  Prng prng(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint32_t> a(prng.Below(400));
    for (uint32_t& unit : a) unit = static_cast<uint32_t>(prng.Below(5));
    std::vector<uint32_t> b = a;
    b.resize(prng.Below(400));
    if (!b.empty() && prng.Chance(0.8)) b[prng.Below(b.size())] ^= 8;
    PrefixTrace of_a, of_b;
    for (const uint32_t unit : a) of_a.Append(unit);
    for (const uint32_t unit : b) of_b.Append(unit);
    const size_t shorter = std::min(a.size(), b.size());
    const auto end = a.begin() + static_cast<ptrdiff_t>(shorter);
    const auto expected = static_cast<size_t>(std::mismatch(a.begin(), end, b.begin()).first - a.begin());
    ASSERT_EQ(PrefixTrace::CommonLength(of_a, of_b), expected) << round;
    ASSERT_EQ(PrefixTrace::CommonLength(of_b, of_a), expected) << round;
  }
}

RequestMemory::Record MakeRecord(const std::string& id, const std::vector<TokenId>& tokens) {
  auto record = std::make_shared<PromptRecord>();
  record->id = id;
  for (const TokenId token : tokens) record->tokens.Append(static_cast<uint32_t>(token));
  return record;
}

TEST(RequestMemory, IsBoundedAndFairToOwners) {
  const size_t one = MakeRecord("a100", std::vector<TokenId>(200, 1))->held_bytes();
  RequestMemory memory(20 * one, 8);
  memory.Put("quiet", MakeRecord("q", std::vector<TokenId>(200, 2)));
  for (int i = 0; i < 100; ++i) {
    for (const char* owner : {"loud", "louder", "loudest"})
      memory.Put(owner, MakeRecord("a" + std::to_string(100 + i), std::vector<TokenId>(200, 1)));
    ASSERT_LE(memory.bytes(), 20 * one);
  }
  EXPECT_NE(memory.Find("quiet", "q"), nullptr) << "the owners with many records lose theirs";
  EXPECT_EQ(memory.Find("quiet", "a199"), nullptr);
  EXPECT_EQ(memory.Find("loud", "q"), nullptr);
  EXPECT_NE(memory.Find("loud", "a199"), nullptr);
  EXPECT_EQ(memory.Find("loud", "a150"), nullptr);
  EXPECT_LE(memory.size(), 3u * 8 + 1);
  memory.Put("quiet", MakeRecord("big", std::vector<TokenId>(20000, 2)));
  EXPECT_EQ(memory.Find("quiet", "big"), nullptr) << "it would take more than a quarter";
  const size_t before = memory.bytes();
  memory.Put("quiet", MakeRecord("q", std::vector<TokenId>(200, 3)));
  EXPECT_EQ(memory.bytes(), before) << "it replaces the record of its id";
}

json::object ChatBody(const Turns& turns) { return BodyOf(Route::kChat, turns); }

TEST_F(ExplainTest, OnlyTheSameKeyMayAsk) {
  api_.context.api_keys = testing_support::PlainKeys({"one", "two"});
  const HttpHeaders one = {{"authorization", "Bearer one"}}, two = {{"authorization", "Bearer two"}};
  const std::string id = IdOf(Ask("/v1/chat/completions", ChatBody(Turns{{"user", "hello"}}), "yes", one));
  EXPECT_EQ(Explain(id, one).at("response_id"), json::value(id));
  EXPECT_EQ(At(Explain(id, two, 404), "/error/code"), "response_not_found");
  EXPECT_EQ(At(Explain(id, {}, 401), "/error/code"), "invalid_api_key");
  // The other key has sent nothing before, so nothing is compared.
  json::object body = BodyOf(Route::kResponses, {{"user", "hello"}});
  body["prompt_cache_options"] = json::object{{"comparison_response_id", id}};
  const json::object answer = Ask("/v1/responses", body, "yes", two);
  EXPECT_EQ(At(answer, "/prompt_cache_diagnostics"), Parse(R"({"type":"comparison_response_not_found"})"));
  EXPECT_TRUE(Explain(IdOf(answer), two).at("comparison").is_null());
  EXPECT_EQ(At(Explain("", one, 400), "/error/param"), "response_id");
}

TEST_F(ExplainTest, AnAnswerThatIsOverBeforeTheEngineEndsItIsExplained) {
  json::object body = ChatBody(Turns{{"user", "hello"}});
  body["stop"] = "!";
  const auto exchange = api_.Request("POST", "/v1/chat/completions", json::serialize(body));
  const size_t request = api_.engine.submitted() - 1;
  api_.engine.Generate(request, Bytes("ye"));  // the two events reach the exchange as one
  api_.engine.Generate(request, Bytes("s!"));
  exchange->RunJobs();
  EXPECT_EQ(At(Explain(IdOf(Parse(exchange->body()).as_object())), "/first_miss/reason"), "never_seen");
}

TEST_F(ExplainTest, OfOtherTenantsNothingIsTold) {
  api_.engine.miss.reason = MissReason::kOtherTenant;
  const json::object told =
      Explain(IdOf(Ask("/v1/chat/completions", ChatBody(Turns{{"user", "hello"}}), "yes")));
  EXPECT_EQ(json::serialize(told).find("tenant"), std::string::npos) << json::serialize(told);
  EXPECT_EQ(At(told, "/first_miss/reason"), "never_seen");
  EXPECT_EQ(At(told, "/miss_tokens/never_seen"), At(told, "/computed_tokens"));
}

TEST_F(ExplainTest, AnotherTemplateThanBeforeTheStartIsTold) {
  api_.context.has_other_template = true;
  api_.context.started = 1234;
  const auto ask = [&](const Turns& talk) {
    return Explain(IdOf(Ask("/v1/chat/completions", ChatBody(talk), "yes")));
  };
  const Turns talk = {{"user", "hello"}};
  json::object told = ask(talk);
  EXPECT_EQ(told.at("template_changed"), json::value(1234));
  EXPECT_NE(Text(told.at("explanation")).find("another chat template"), std::string::npos);
  told = ask({{"user", "hello"}, {"assistant", "yes"}, {"user", "why"}});
  EXPECT_TRUE(told.at("template_changed").is_null()) << "it goes on what this template has written";
  api_.engine.miss.reason = MissReason::kEvictedDisk;
  EXPECT_TRUE(ask({{"user", "another"}}).at("template_changed").is_null()) << "another reason";
  api_.engine.miss.reason = MissReason::kNeverSeen;
  const json::object text = Explain(IdOf(Ask("/v1/completions", {{"prompt", "plain"}}, "yes")));
  EXPECT_TRUE(text.at("template_changed").is_null()) << "no template";
  api_.context.has_other_template = false;
  EXPECT_TRUE(ask({{"user", "one more"}}).at("template_changed").is_null());
}

TEST_F(ExplainTest, AMissHasItsPlaceTiersAndTimes) {
  api_.clock.Advance(1000'000'000'000);
  const Turns talk = {{"system", "be good"}, {"user", "hello"}};
  const std::string rendered = "Usystem:be goodUuser:he";  // special tokens are one token each
  api_.engine.cached_tokens = static_cast<int>(rendered.size());
  api_.engine.miss.reason = MissReason::kEvictedDevice;
  api_.engine.miss.place.lost = api_.clock.NowSeconds() - 12;
  const json::object told = Explain(IdOf(Ask("/v1/chat/completions", ChatBody(talk), "yes")));
  EXPECT_EQ(At(told, "/first_miss/reason"), "evicted_device");
  EXPECT_EQ(At(told, "/first_miss/message"), json::value(1));
  EXPECT_EQ(At(told, "/first_miss/character"), json::value(2));
  EXPECT_EQ(At(told, "/first_miss/lost").to_number<double>(),
            static_cast<double>(api_.clock.UnixSeconds()) - 12);
  EXPECT_TRUE(At(told, "/first_miss/last_use").is_null());
  EXPECT_NE(Text(told.at("explanation")).find("12 s before"), std::string::npos);
  EXPECT_EQ(At(told, "/sources/device"), At(told, "/cached_tokens"));
}

// What a change of a request is called by /v1/cache/explain and in the diagnostics of both providers.
TEST_F(ExplainTest, EachChangeHasItsNames) {
  const Turns talk = {{"system", "be good"}, {"user", "hello"}, {"assistant", "yes"}, {"user", "more"}};
  Turns other_system = talk, other_user = talk;
  other_system[0].content = "be bad";
  other_user[1].content = "help";
  const json::array tools = {
      json::object{{"name", "now"}, {"input_schema", json::object{{"type", "object"}}}}};
  struct Case {
    const char *change, *openai, *anthropic;
    Turns turns;
    json::object fields = {};
    json::value place = nullptr;
  };
  const Case cases[] = {
      {"none", "cache_hit", "", talk},
      {"message", "input_changed", "system_changed", other_system, {}, 0},
      {"message", "input_changed", "messages_changed", other_user, {}, 1},
      {"tools", "tools_changed", "tools_changed", talk, {{"tools", tools}}, 0},
      {"cache_salt", "prompt_cache_key_changed", "unavailable", talk, {{"cache_salt", "s"}}},
      {"reasoning_effort",
       "reasoning_effort_changed",
       "messages_changed",
       talk,
       {{"output_config", json::object{{"effort", "low"}}}, {"reasoning", json::object{{"effort", "low"}}}},
       3},
      {"variables",
       "input_changed",
       "messages_changed",
       talk,
       {{"chat_template_kwargs", json::object{{"mood", "glad"}}}},
       3},
  };
  for (const Case& one : cases) {
    for (const Route route : {Route::kResponses, Route::kMessages}) {
      const std::string before = IdOf(Ask(PathOf(route), BodyOf(route, talk), "well"));
      json::object body = BodyOf(route, one.turns);
      for (const auto& [name, value] : one.fields) body[name] = value;
      if (route == Route::kResponses && body.contains("tools"))
        body["tools"] = json::array{json::object{{"type", "function"}, {"name", "now"}}};
      if (route == Route::kResponses) {
        body["prompt_cache_options"] = json::object{{"comparison_response_id", before}};
      } else {
        body["diagnostics"] = json::object{{"previous_message_id", before}};
      }
      const json::object answer = Ask(PathOf(route), body, "well");
      const std::string what = std::string(one.change) + " " + json::serialize(answer);
      const json::object told = Explain(IdOf(answer));
      EXPECT_EQ(At(told, "/comparison/change"), json::value(one.change)) << what;
      EXPECT_EQ(At(told, "/comparison/message"), one.place) << what;
      if (route == Route::kResponses) {
        const json::object& diagnostics = answer.at("prompt_cache_diagnostics").as_object();
        const bool hit = std::string_view(one.openai) == "cache_hit";
        EXPECT_EQ(diagnostics.at(hit ? "type" : "reason"), one.openai) << what;
        EXPECT_EQ(diagnostics.at("type"), hit ? "cache_hit" : "cache_miss") << what;
      } else if (std::string_view(one.anthropic).empty()) {
        EXPECT_TRUE(At(answer, "/diagnostics/cache_miss_reason").is_null()) << what;
      } else {
        EXPECT_EQ(At(answer, "/diagnostics/cache_miss_reason/type"), json::value(one.anthropic)) << what;
      }
    }
  }
}

TEST_F(ExplainTest, WhatWasEvictedIsNoChange) {
  const Turns talk = {{"user", "hello"}};
  const std::string before = IdOf(Ask("/v1/messages", BodyOf(Route::kMessages, talk), "well"));
  json::object body = BodyOf(Route::kMessages, talk);
  body["diagnostics"] = json::object{{"previous_message_id", before}};
  api_.engine.miss.reason = MissReason::kEvictedDisk;
  const json::object answer = Ask("/v1/messages", body, "well");
  EXPECT_EQ(At(answer, "/diagnostics/cache_miss_reason/type"), "unavailable");
  EXPECT_EQ(At(answer, "/diagnostics/cache_miss_reason/prefixd/first_miss/reason"), "evicted_disk");
  body["diagnostics"] = json::object{{"previous_message_id", nullptr}};
  EXPECT_TRUE(At(Ask("/v1/messages", body, "well"), "/diagnostics/cache_miss_reason").is_object());
  body["diagnostics"] = json::object{{"previous_message_id", "msg_unknown"}};
  EXPECT_EQ(At(Ask("/v1/messages", body, "well"), "/diagnostics/cache_miss_reason/type"),
            "previous_message_not_found");
}

// A prompt_cache_key names a conversation: its requests are counted together, and compared with each other.
TEST_F(ExplainTest, AKeyCountsItsRequestsAndChoosesWhatIsCompared) {
  const Turns rules = {{"system", "answer in one word"}, {"user", "hello"}};
  Turns other = rules, changed = rules;
  other[1].content = "hello there";
  changed[0].content = "be good";
  const auto ask = [&](const Turns& turns, const char* key, HttpHeaders headers = {}) {
    json::object body = ChatBody(turns);
    if (key != nullptr) body["prompt_cache_key"] = key;
    return Explain(IdOf(Ask("/v1/chat/completions", body, "yes", headers)), headers);
  };
  const json::object first = ask(changed, "a");
  EXPECT_EQ(At(first, "/prompt_cache_key/requests"), json::value(1));
  ask(rules, "b");
  EXPECT_FALSE(ask(rules, nullptr).contains("prompt_cache_key"));
  const json::object nearest = ask(other, nullptr), same_key = ask(other, "a");
  EXPECT_EQ(At(nearest, "/comparison/message"), json::value(1)) << "another conversation has more in common";
  EXPECT_EQ(At(same_key, "/comparison/response_id"), At(first, "/response_id"));
  EXPECT_EQ(At(same_key, "/comparison/message"), json::value(0));
  EXPECT_EQ(At(same_key, "/prompt_cache_key/requests"), json::value(2));
  EXPECT_EQ(At(same_key, "/prompt_cache_key/prompt_tokens").to_number<uint64_t>(),
            At(first, "/prompt_tokens").to_number<uint64_t>() +
                At(same_key, "/prompt_tokens").to_number<uint64_t>());
  EXPECT_EQ(At(same_key, "/prompt_cache_key/cached_tokens").to_number<uint64_t>(),
            At(first, "/cached_tokens").to_number<uint64_t>() +
                At(same_key, "/cached_tokens").to_number<uint64_t>());
}

// A template that changes earlier turns: it drops what is in brackets, trims, or rewrites them.
class TemplateDivergesTest : public ExplainTest {
 protected:
  void Check(const char* content, const char* answer) {
    const auto rewriting = MakeTemplate(content);
    api_.context.chat_template = rewriting.get();
    const Turns talk = {{"user", "hello"}};
    Turns next = talk;
    next.push_back({"assistant", answer});
    next.push_back({"user", "more"});
    const std::string salt = std::to_string(api_.engine.submitted());  // compared with this one alone
    const auto ask = [&](const Turns& turns, const char* text) {
      json::object body = ChatBody(turns);
      body["cache_salt"] = salt;
      return IdOf(Ask("/v1/chat/completions", std::move(body), text));
    };
    ask(talk, answer);
    const json::object told = Explain(ask(next, "well"));
    EXPECT_EQ(At(told, "/comparison/change"), "template") << json::serialize(told);
    EXPECT_EQ(At(told, "/comparison/message"), json::value(1)) << json::serialize(told);
    EXPECT_TRUE(At(told, "/comparison/in_answer").as_bool());
    EXPECT_EQ(At(told, "/first_miss/reason"), "template_diverged");
    api_.context.chat_template = rewrites_;
  }
};

TEST_F(TemplateDivergesTest, WhereItDropsTrimsOrRewrites) {
  Check("{{ m.content.split(']')[-1] }}", "[think] yes");
  Check("{{ m.content | trim }}", "yes \n");
  Check("{{ m.content | upper }}", "yes");
}

// Byte tokens, such as the end of a line of SentencePiece, are text only when the run of them ends.
TEST_F(TemplateDivergesTest, WhereItTrimsWhatTheLastTokensWrote) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Use(family);
    Check("{{ m.content | trim }}", "yes\n");
    Check("{{ m.content | trim }}", "yes \n\n");
  }
}

}  // namespace
}  // namespace prefixd
