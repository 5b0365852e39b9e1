// Every field of a request, as tables: valid, null, of the wrong type and out of range.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/daemon/api/request_fixture.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing_support::RequestTest;

TEST_F(RequestTest, BodiesMustBeObjects) {
  for (const char* body :
       {"", " ", "{", "[]", "1", "null", "\"x\"", "{}x", "{\"a\":NaN}", "{\"a\":01}", "{'a':1}",
        "{\"a\":\"\\ud800\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xc3\"}", "{\"a\":\"\n\"}"}) {
    const auto parsed = ParseBody(body);
    ASSERT_FALSE(parsed.ok()) << body;
    EXPECT_EQ(parsed.error().status, 400) << body;
  }
  EXPECT_FALSE(ParseBody("{\"a\":" + std::string(10'000, '[') + std::string(10'000, ']') + "}").ok());
  EXPECT_TRUE(ParseBody("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}").ok());
  EXPECT_TRUE(ParseBody("{\"a\":\"\\u0000\",\"a\":1e999}").ok());
}

// Every choice copies these texts. Without limits one body could take a thousand times its size in memory.
TEST_F(RequestTest, TextsThatEveryChoiceCopiesAreBounded) {
  const size_t limit = api_.context.limits.max_stop_or_salt_bytes;
  for (const char* name : {"stop", "cache_salt"}) {
    const std::string field = "\"" + std::string(name) + "\":";
    EXPECT_TRUE(Completion(field + "\"" + std::string(limit, 'a') + "\"").ok()) << name;
    const auto longer = Completion(field + "\"" + std::string(limit + 1, 'a') + "\"");
    ExpectError(longer, name, name);
    EXPECT_EQ(longer.error().code, "string_above_max_length") << name;
  }
  const auto repeated = Completion("\"stop_token_ids\":[7,3,7,7,3]");
  ASSERT_TRUE(repeated.ok());
  EXPECT_EQ(repeated->generation.sampling.stop_token_ids, (std::vector<TokenId>{3, 7}));
}

TEST_F(RequestTest, ValidValuesAreRead) {
  const auto parsed =
      Completion(R"("model":"alias","temperature":0.5,"top_p":0.25,"min_p":0.125,"top_k":7,"min_tokens":2,)"
                 R"("max_tokens":9,"n":3,"seed":-5,
         "stop":["a","bc"],"stop_token_ids":[1,2.0],"ignore_eos":true,"include_stop_str_in_output":true,)"
                 R"("skip_special_tokens":false,
         "return_token_ids":true,"stream":true,"stream_options":{"include_usage":true},"cache_salt":"s",)"
                 R"("logprobs":4,"echo":false)");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const GenerationRequest& asked = parsed->generation;
  EXPECT_EQ(asked.model, "alias");
  EXPECT_EQ(asked.sampling.temperature, 0.5f);
  EXPECT_EQ(asked.sampling.top_p, 0.25f);
  EXPECT_EQ(asked.sampling.min_p, 0.125f);
  EXPECT_EQ(asked.sampling.top_k, 7);
  EXPECT_EQ(asked.sampling.min_tokens, 2);
  EXPECT_EQ(asked.sampling.logprobs, 4);
  EXPECT_EQ(asked.max_tokens, 9);
  EXPECT_EQ(asked.n, 3);
  EXPECT_EQ(asked.seed, static_cast<uint64_t>(-5));
  EXPECT_EQ(asked.stop, (std::vector<std::string>{"a", "bc"}));
  EXPECT_EQ(asked.sampling.stop_token_ids, (std::vector<TokenId>{1, 2}));
  EXPECT_TRUE(asked.sampling.ignore_eos && asked.include_stop && asked.return_token_ids && asked.stream &&
              asked.include_usage);
  EXPECT_FALSE(asked.skip_special_tokens);
  EXPECT_EQ(asked.cache_salt, "s");
}

TEST_F(RequestTest, AbsentAndNullAreTheSame) {
  api_.context.defaults.temperature = 0.75f;
  std::string nulls;
  for (const char* name : {"model",
                           "temperature",
                           "top_p",
                           "min_p",
                           "top_k",
                           "min_tokens",
                           "max_tokens",
                           "n",
                           "seed",
                           "stop",
                           "stop_token_ids",
                           "ignore_eos",
                           "stream",
                           "stream_options",
                           "cache_salt",
                           "logprobs",
                           "echo",
                           "best_of",
                           "suffix",
                           "logit_bias",
                           "presence_penalty",
                           "frequency_penalty",
                           "user",
                           "include_stop_str_in_output"}) {
    nulls += std::string(nulls.empty() ? "" : ",") + "\"" + name + "\":null";
  }
  for (const std::string& fields : {std::string(), nulls}) {
    const auto parsed = Completion(fields);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    EXPECT_EQ(parsed->generation.sampling.temperature, 0.75f);
    EXPECT_EQ(parsed->generation.sampling.logprobs, -1);
    EXPECT_EQ(parsed->generation.model, "org/toy model:1");
    EXPECT_EQ(parsed->generation.n, 1);
    EXPECT_FALSE(parsed->generation.max_tokens || parsed->generation.seed || parsed->generation.stream);
  }
  const auto chat = Chat(
      "\"tools\":null,\"tool_choice\":null,\"response_format\":null,\"max_completion_tokens\":null,\"top_"
      "logprobs\":null,"
      "\"logprobs\":null,\"functions\":null,\"modalities\":null,\"audio\":null,\"chat_template_kwargs\":"
      "null");
  EXPECT_TRUE(chat.ok()) << chat.error().message;
}

// RequestFields of a completion, and the parameter that the error names.
const struct {
  const char* fields;
  const char* param;
} kWrongValues[] = {
    {"\"temperature\":2.1", "temperature"},
    {"\"temperature\":-0.1", "temperature"},
    {"\"temperature\":\"1\"", "temperature"},
    {"\"temperature\":1e999", "temperature"},
    {"\"temperature\":true", "temperature"},
    {"\"top_p\":-0.1", "top_p"},
    {"\"top_p\":1.1", "top_p"},
    {"\"min_p\":-1", "min_p"},
    {"\"min_p\":1.5", "min_p"},
    {"\"top_k\":-2", "top_k"},
    {"\"top_k\":1.5", "top_k"},
    {"\"top_k\":\"3\"", "top_k"},
    {"\"max_tokens\":-5", "max_tokens"},
    {"\"max_tokens\":\"7\"", "max_tokens"},
    {"\"max_tokens\":1e30", "max_tokens"},
    {"\"max_tokens\":18446744073709551615", "max_tokens"},
    {"\"n\":0", "n"},
    {"\"n\":17", "n"},
    {"\"n\":[1]", "n"},
    {"\"seed\":\"x\"", "seed"},
    {"\"seed\":1.5", "seed"},
    {"\"stop\":\"\"", "stop"},
    {"\"stop\":[\"a\",\"\"]", "stop"},
    {"\"stop\":[1]", "stop"},
    {"\"stop\":{}", "stop"},
    {"\"stop\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
     "\"a\",\"a\"]",
     "stop"},
    {"\"stop_token_ids\":[260]", "stop_token_ids"},
    {"\"stop_token_ids\":[-1]", "stop_token_ids"},
    {"\"stop_token_ids\":1", "stop_token_ids"},
    {"\"stream\":1", "stream"},
    {"\"stream\":\"true\"", "stream"},
    {"\"stream_options\":true", "stream_options"},
    {"\"stream_options\":{\"include_usage\":1}", "stream_options.include_usage"},
    {"\"ignore_eos\":\"no\"", "ignore_eos"},
    {"\"min_tokens\":-1", "min_tokens"},
    {"\"min_tokens\":5,\"max_tokens\":4", "min_tokens"},
    {"\"logprobs\":21", "logprobs"},
    {"\"logprobs\":true", "logprobs"},
    {"\"cache_salt\":\"\"", "cache_salt"},
    {"\"cache_salt\":1", "cache_salt"},
    {"\"model\":1", "model"},
    {"\"presence_penalty\":3", "presence_penalty"},
    {"\"presence_penalty\":\"1\"", "presence_penalty"},
    {"\"frequency_penalty\":-3", "frequency_penalty"},
    {"\"repetition_penalty\":0", "repetition_penalty"},
    {"\"repetition_penalty\":-1", "repetition_penalty"},
    {"\"repetition_penalty\":101", "repetition_penalty"},
    {"\"repetition_penalty\":1e999", "repetition_penalty"},
    {"\"logit_bias\":{\"1\":101}", "logit_bias"},
    {"\"logit_bias\":{\"1\":-100.5}", "logit_bias"},
    {"\"logit_bias\":{\"1\":\"5\"}", "logit_bias"},
    {"\"logit_bias\":{\"1\":null}", "logit_bias"},
    {"\"logit_bias\":{\"1\":1e999}", "logit_bias"},
    {"\"logit_bias\":{\"a\":1}", "logit_bias"},
    {"\"logit_bias\":{\"\":1}", "logit_bias"},
    {"\"logit_bias\":{\"-1\":1}", "logit_bias"},
    {"\"logit_bias\":{\"260\":1}", "logit_bias"},
    {"\"logit_bias\":{\"01\":1}", "logit_bias"},
    {"\"logit_bias\":{\"1.0\":1}", "logit_bias"},
    {"\"logit_bias\":{\" 1\":1}", "logit_bias"},
    {"\"logit_bias\":{\"99999999999999999999\":1}", "logit_bias"},
    {"\"logit_bias\":[[1,5]]", "logit_bias"},
    {"\"best_of\":21", "best_of"},
    {"\"best_of\":-1", "best_of"},
    {"\"best_of\":2,\"stream\":true", "best_of"},
    {"\"n\":3,\"best_of\":2", "best_of"},
    {"\"suffix\":\"end\"", "suffix"},
    {"\"prompt_logprobs\":-1", "prompt_logprobs"},
    {"\"prompt_logprobs\":21", "prompt_logprobs"},
    {"\"prompt_logprobs\":true", "prompt_logprobs"},
    {"\"prompt_logprobs\":0,\"stream\":true", "prompt_logprobs"},
    {"\"truncate_prompt_tokens\":0", "truncate_prompt_tokens"},
    {"\"truncate_prompt_tokens\":-1", "truncate_prompt_tokens"},
    {"\"cache_prompt\":1", "cache_prompt"},
    {"\"allowed_token_ids\":[1]", "allowed_token_ids"},
    {"\"bad_words\":[\"a\"]", "bad_words"},
    {"\"use_beam_search\":true", "use_beam_search"},
    {"\"response_format\":{\"type\":\"xml\"}", "response_format.type"},
    {"\"response_format\":{\"type\":\"json_schema\"}", "response_format.json_schema"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}",
     "response_format.json_schema.schema"},
    {R"("response_format":{"type":"json_schema","json_schema":{"name":"a b","schema":true}})",
     "response_format.json_schema.name"},
    {R"("response_format":{"type":"json_schema","json_schema":{"name":"","schema":true}})",
     "response_format.json_schema.name"},
    {R"("response_format":{"type":"json_schema","json_schema":{"name":5,"schema":true}})",
     "response_format.json_schema.name"},
    {R"("guided_json":{},"guided_whitespace_pattern":" *")", "guided_whitespace_pattern"},
    {"\"response_format\":5", "response_format"},
    {"\"guided_json\":5", "guided_json"},
    {"\"guided_regex\":{}", "guided_regex"},
    {"\"guided_choice\":[]", "guided_choice"},
    {"\"guided_choice\":[1]", "guided_choice"},
    {"\"guided_regex\":\"a\",\"guided_choice\":[\"a\"]", "guided_choice"},
    {"\"structured_outputs\":{\"json\":1}", "structured_outputs.json"},
    {"\"structured_outputs\":{\"structural_tag\":{}}", "structured_outputs.structural_tag"},
    {"\"structured_outputs\":{}", "structured_outputs"},
    {"\"structured_outputs\":{\"json\":null,\"json_object\":false}", "structured_outputs"},
    {"\"structured_outputs\":{\"regexp\":\"a\"}", "structured_outputs.regexp"},
    {"\"structured_outputs\":{\"regex\":\"a\",\"whitespace_pattern\":\" \"}",
     "structured_outputs.whitespace_pattern"},
    {"\"prompt\":5", "prompt"},
    {"\"prompt\":null", "prompt"},
    {"\"prompt\":[1,\"a\"]", "prompt"},
    {"\"prompt\":[\"a\",1]", "prompt"},
    {"\"prompt\":[260]", "prompt"},
    {"\"prompt\":[-1]", "prompt"},
    {"\"prompt\":[1.5]", "prompt"},
    {"\"prompt\":[[1],[300]]", "prompt"},
    {"\"prompt\":{}", "prompt"},
};

// 128 of them times 16 choices are the limit.
std::string Prompts(int count) {
  std::string list;
  for (int i = 0; i < count; ++i) list += i == 0 ? "\"a\"" : ",\"a\"";
  return "\"prompt\":[" + list + "]";
}

TEST_F(RequestTest, PromptsTimesChoicesAreLimited) {
  EXPECT_TRUE(Completion("\"n\":16," + Prompts(128)).ok());
  ExpectError(Completion("\"n\":16," + Prompts(129)), "129 prompts, n 16", "n");
  ExpectError(Completion("\"best_of\":20," + Prompts(103)), "103 prompts, best_of 20", "best_of");
  EXPECT_TRUE(Completion(Prompts(2048)).ok());
  ExpectError(Completion(Prompts(2049)), "2049 prompts", "prompt");
}

TEST_F(RequestTest, ErrorsNameTheWrongField) {
  for (const auto& [fields, param] : kWrongValues) ExpectError(Completion(fields), fields, param);
  ExpectError(Completion("\"model\":\"other\""), "unknown model", "model", 404);
  EXPECT_EQ(Completion("\"model\":\"other\"").error().code, "model_not_found");
}

TEST_F(RequestTest, AllowedValuesOfUnsupportedFieldsAreAccepted) {
  for (const char* fields :
       {"\"allowed_token_ids\":[]", "\"stream\":true,\"best_of\":1", "\"n\":2,\"stream\":true,\"best_of\":2",
        "\"logit_bias\":{}", "\"best_of\":0", "\"n\":2,\"best_of\":2", "\"suffix\":\"\"",
        "\"response_format\":{\"type\":\"text\"}", "\"use_beam_search\":false", "\"bad_words\":[]",
        "\"foo\":{\"bar\":1}", "\"user\":\"u\"", "\"max_tokens\":-1", "\"top_k\":-1", "\"max_tokens\":3.0",
        "\"logprobs\":0", "\"logprobs\":20", "\"echo\":true"}) {
    const auto parsed = Completion(fields);
    EXPECT_TRUE(parsed.ok()) << fields << ": " << parsed.error().message;
  }
  for (const char* fields :
       {"\"tools\":[]", "\"tool_choice\":\"auto\"", "\"tool_choice\":\"none\"", "\"modalities\":[\"text\"]",
        "\"store\":true", "\"metadata\":{\"a\":\"b\"}", "\"service_tier\":\"auto\"", "\"verbosity\":\"low\"",
        "\"prediction\":{\"type\":\"content\"}", "\"reasoning_effort\":\"low\"",
        "\"parallel_tool_calls\":true", "\"echo\":false", "\"best_of\":1"}) {
    const auto parsed = Chat(fields);
    EXPECT_TRUE(parsed.ok()) << fields << ": " << parsed.error().message;
  }
}

// Fields of other servers that would change the answer. Each of them with a value that does, and with one
// that does not.
constexpr struct {
  const char* name;
  const char* wrong;
  const char* off;
} kForeignFields[] = {
    {"typical_p", "0.9", "1.0"},
    {"tfs_z", "0.5", "1"},
    {"top_a", "0.1", "0"},
    {"epsilon_cutoff", "0.1", "0.0"},
    {"eta_cutoff", "1e-3", "0"},
    {"top_n_sigma", "1", "-1"},
    {"xtc_probability", "0.5", "0"},
    {"dynatemp_range", "0.5", "0"},
    {"smoothing_factor", "0.5", "0"},
    {"mirostat", "2", "0"},
    {"mirostat_mode", "1", "0"},
    {"dry_multiplier", "0.8", "0"},
    {"repeat_penalty", "1.1", "1.0"},
    {"no_repeat_ngram_size", "3", "0"},
    {"samplers", "[\"top_k\"]", "[]"},
    {"length_penalty", "2", "1"},
    {"n_probs", "5", "0"},
    {"logits_processors", "[\"a.b\"]", "[]"},
    {"lora", "[{\"id\":0}]", "[]"},
    {"suffix", "\"x\"", "\"\""},
};

TEST_F(RequestTest, FieldsOfOtherServersAreNotIgnoredInSilence) {
  for (const auto& [name, wrong, off] : kForeignFields) {
    const std::string field = "\"" + std::string(name) + "\":";
    for (const char* value : {wrong, "\"some text\"", "true"}) {
      ExpectError(Chat(field + value), field + value, name);
      ExpectError(Completion(field + value), field + value, name);
    }
    EXPECT_EQ(Completion(field + wrong).error().code, "unsupported_parameter") << name;
    for (const char* value : {off, "null"}) {
      EXPECT_TRUE(Chat(field + value).ok()) << field << value;
      EXPECT_TRUE(Completion(field + value).ok()) << field << value;
    }
  }
  ExpectError(Chat("\"best_of\":3"), "best_of", "best_of");
  ExpectError(Completion("\"top_logprobs\":2"), "top_logprobs", "top_logprobs");
  EXPECT_TRUE(Completion("\"top_logprobs\":0").ok());
}

TEST_F(RequestTest, EchoOfAChatNeedsATextOfTheAssistant) {
  const auto echo = [&](const std::string& last) {
    return Chat("\"echo\":true", "[{\"role\":\"user\",\"content\":\"hi\"}," + last + "]");
  };
  for (const char* content : {R"("text")", R"([{"type":"text","text":"text"}])", R"(["text"])",
                              R"([{"type":"refusal","refusal":"text"}])"}) {
    const auto parsed = echo(R"({"role":"assistant","content":)" + std::string(content) + "}");
    ASSERT_TRUE(parsed.ok()) << content << parsed.error().message;
    EXPECT_EQ(parsed->echo, "text") << content;
  }
  EXPECT_EQ(echo(R"({"role":"assistant","content":""})")->echo, "");
  for (const char* last :
       {R"({"role":"user","content":"text"})", R"({"role":"system","content":"text"})",
        R"({"role":"tool","tool_call_id":"c","content":"text"})",
        R"({"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]})",
        R"({"role":"assistant","content":[]})", R"({"role":"assistant","content":null})",
        R"({"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f"}}]})"}) {
    ExpectError(echo(last), last, "echo");
  }
}

TEST_F(RequestTest, PromptForms) {
  EXPECT_EQ(std::get<std::string>(Completion("\"prompt\":\"text\"")->prompts.at(0)), "text");
  EXPECT_EQ(Completion("\"prompt\":[\"a\",\"b\"]")->prompts.size(), 2u);
  EXPECT_EQ(std::get<std::vector<TokenId>>(Completion("\"prompt\":[1,2,3]")->prompts.at(0)),
            (std::vector<TokenId>{1, 2, 3}));
  const auto lists = Completion("\"prompt\":[[1],[2,3]]");
  ASSERT_EQ(lists->prompts.size(), 2u);
  EXPECT_EQ(std::get<std::vector<TokenId>>(lists->prompts[1]), (std::vector<TokenId>{2, 3}));
}

TEST_F(RequestTest, AcceptsValidMessages) {
  for (const char* messages : {
           R"([{"role":"system","content":"s"},{"role":"user","content":""}])",
           R"([{"role":"developer","content":"d","name":"n"},{"role":"user","content":[{"type":"text",)"
           R"("text":"a"},{"type":"text","text":"b"}]}])",
           R"([{"role":"user","content":[]},{"role":"assistant","content":null,"refusal":null,)"
           R"("tool_calls":null,"audio":null,"annotations":[]}])",
           R"([{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f",)"
           R"("arguments":"{}"}}]},
               {"role":"tool","tool_call_id":"c","content":"42"}])",
           R"([{"role":"function","name":"f","content":"x"},{"role":"assistant",)"
           R"("content":[{"type":"refusal","refusal":"no"}]}])",
       }) {
    const auto parsed = Chat("\"temperature\":1", messages);
    EXPECT_TRUE(parsed.ok()) << messages << parsed.error().message;
  }
}

TEST_F(RequestTest, RejectsInvalidMessages) {
  const struct {
    const char* messages;
    const char* param;
  } kCases[] = {
      {"[]", "messages"},
      {"null", "messages"},
      {"\"hi\"", "messages"},
      {"[1]", "messages[0]"},
      {"[{}]", "messages[0].role"},
      {R"([{"role":"foo","content":"x"}])", "messages[0].role"},
      {R"([{"role":1,"content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":null}])", "messages[0].content"},
      {R"([{"role":"user","content":5}])", "messages[0].content"},
      {R"([{"role":"user","content":"a"},{"role":"user","content":[{"type":"image_url",)"
       R"("image_url":{"url":"x"}}]}])",
       "messages[1].content[0]"},
      {R"([{"role":"user","content":[{"type":"text","text":"a"},{"type":"input_audio"}]}])",
       "messages[0].content[1]"},
      {R"([{"role":"user","content":[{"type":"text","text":5}]}])", "messages[0].content[0]"},
      {R"([{"role":"user","content":[5]}])", "messages[0].content[0]"},
      {R"([{"role":"tool","content":"x"}])", "messages[0].tool_call_id"},
      {R"([{"role":"assistant","content":null,"tool_calls":{}}])", "messages[0].tool_calls"},
      {R"([{"role":"assistant","content":null,"tool_calls":[{}]}])", "messages[0].tool_calls[0]"},
  };
  for (const auto& [messages, param] : kCases)
    ExpectError(Chat("\"temperature\":1", messages), messages, param);
}

TEST_F(RequestTest, RejectsUnsupportedChatFields) {
  const struct {
    const char* fields;
    const char* param;
  } kCases[] = {
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice"},
      {R"("functions":[{}])", "functions[0].name"},
      {R"("modalities":["audio"])", "modalities"},
      {R"("modalities":"text")", "modalities"},
      {R"("audio":{})", "audio"},
      {R"("web_search_options":{})", "web_search_options"},
      {R"("chat_template":"{{ x }}")", "chat_template"},
      {R"("tools":[1])", "tools[0]"},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
      {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
      {R"("continue_final_message":true,"add_generation_prompt":true)", "continue_final_message"},
      {R"("documents":{})", "documents"},
  };
  for (const auto& [fields, param] : kCases) ExpectError(Chat(fields), fields, param);
}

TEST_F(RequestTest, TheContextErrorHasTheTextThatClientsMatch) {
  int max_tokens = -1;
  const auto too_long = ResolveMaxTokens(8192, 8500, std::nullopt, 16, "messages", &max_tokens);
  ASSERT_TRUE(too_long);
  EXPECT_EQ(too_long->code, "context_length_exceeded");
  EXPECT_EQ(too_long->message,
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 8500 "
            "tokens. Please reduce the length of "
            "the messages.");
  const auto too_much = ResolveMaxTokens(8192, 8000, 500, 16, "messages", &max_tokens);
  ASSERT_TRUE(too_much);
  EXPECT_EQ(too_much->message,
            "This model's maximum context length is 8192 tokens. However, you requested 8500 tokens (8000 in "
            "the messages, 500 in the "
            "completion). Please reduce the length of the messages or completion.");
  EXPECT_FALSE(ResolveMaxTokens(8192, 8190, std::nullopt, 16, "prompt", &max_tokens));
  EXPECT_EQ(max_tokens, 2);
  EXPECT_FALSE(ResolveMaxTokens(8192, 8190, 2, 16, "prompt", &max_tokens));
  EXPECT_EQ(max_tokens, 2);
  EXPECT_FALSE(ResolveMaxTokens(8192, 8192, 0, 16, "prompt", &max_tokens)) << "no token is generated";
  EXPECT_EQ(max_tokens, 0);
  EXPECT_TRUE(ResolveMaxTokens(8192, 8192, std::nullopt, 16, "prompt", &max_tokens));
  EXPECT_TRUE(ResolveMaxTokens(8192, 8193, 0, 16, "prompt", &max_tokens));

  EXPECT_FALSE(CheckPromptBytes(api_.context, 1u << 30, "prompt")) << "the limit is unknown";
  api_.context.max_prompt_bytes = 1000;
  EXPECT_FALSE(CheckPromptBytes(api_.context, 1000, "prompt"));
  const auto certain = CheckPromptBytes(api_.context, 1001, "prompt");
  ASSERT_TRUE(certain);
  EXPECT_EQ(certain->code, "context_length_exceeded");
  EXPECT_THAT(certain->message, HasSubstr("maximum context length is 200 tokens"));
}

}  // namespace
}  // namespace prefixd
