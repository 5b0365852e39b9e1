// Conversations of sampled answers through the API, with the tokenizers of the reference data: with reuse of
// ids each turn begins with all ids of the turn before and its answer, and without it the explanation says
// where it does not.
#include <algorithm>
#include <tuple>

#include "base/prng.h"
#include "base/utf8.h"
#include "daemon/api/choice_decoder.h"
#include "tests/daemon/api/explain_fixture.h"
#include "tests/support/shared_data.h"
#include "text/output/tool_format.h"

namespace prefixd {
namespace {

using namespace testing_support;
using Tokens = std::vector<TokenId>;

constexpr size_t kAnswerIds = 20;

class ReuseTest : public ExplainTest {
 protected:
  void Begin(const Family& family) {
    Use(family);
    marked_ = family.marked;
    said_.clear();
  }

  // Ids as a model may choose them, also parts of code points. Where a text may follow them, that text could
  // go on with their code point: then it has whole ones alone.
  Tokens SampledAnswer(Prng& prng) const {
    Tokens ids;
    while (ids.size() < kAnswerIds) {
      const auto id = static_cast<TokenId>(prng.Below(static_cast<uint64_t>(tokenizer_->vocab_size())));
      const std::string bytes = tokenizer_->TokenBytes(id);
      if (!tokenizer_->IsSpecial(id) && !bytes.empty() && (marked_ || IsValidUtf8(bytes))) ids.push_back(id);
    }
    return ids;
  }

  // A word of one token, with its ids and those of its letters.
  std::tuple<std::string, Tokens, Tokens> Word() const {
    for (TokenId id = 0; id < tokenizer_->vocab_size(); ++id) {
      const std::string text = tokenizer_->TokenBytes(id);
      if (text.size() < 3 || !std::ranges::all_of(text, [](char c) { return c >= 'a' && c <= 'z'; }))
        continue;
      Tokens letters;
      for (const char c : text) letters.push_back(IdsOf(std::string(1, c)).at(0));
      if (IdsOf(text) == Tokens({id})) return {text, {id}, letters};
    }
    PREFIXD_CHECK(false) << "no word is a token";
    return {};
  }

  // Asks for an answer of these ids, and then the end token, unless its length ends it. Returns the response;
  // *found is the number of leading tokens of the prompt that an earlier request has computed.
  json::object Turn(json::object body, Tokens answer, size_t* found, HttpHeaders headers = {},
                    FinishReason finish = FinishReason::kStop) {
    body["request_id"] = "r" + std::to_string(api_.engine.submitted());
    const auto exchange =
        api_.Request("POST", "/v1/chat/completions", json::serialize(body), std::move(headers));
    const size_t index = api_.engine.submitted() - 1;
    Tokens all = api_.engine.request(index).prompt;
    *found = 0;
    for (const Tokens& before : said_) {
      const auto common = std::ranges::mismatch(before, all).in1 - before.begin();
      *found = std::max(*found, static_cast<size_t>(common));
    }
    api_.engine.cached_tokens = static_cast<int>(std::min(*found, all.size() - 1));
    if (finish == FinishReason::kStop) answer.push_back(api_.context.eos.front());
    api_.engine.Generate(index, answer, finish);
    exchange->RunJobs();
    EXPECT_EQ(exchange->response.status, 200) << exchange->body();
    all.insert(all.end(), answer.begin(), answer.end() - 1);  // the last one has no KV
    said_.push_back(all);
    return Parse(exchange->body()).as_object();
  }
  const Tokens& Prompt() const { return api_.engine.request(api_.engine.submitted() - 1).prompt; }

  // The character of the answer before the last one in which the ids part: the first `found` are common. They
  // may have a part of it.
  std::pair<size_t, size_t> PartsAt(size_t found) const {
    const std::span<const TokenId> all = said_[said_.size() - 2];
    const size_t begin = api_.engine.request(api_.engine.submitted() - 2).prompt.size();
    if (found <= begin) return {0, 0};
    std::string text = DecodeAfter(*tokenizer_, all.first(begin), all.subspan(begin, found - begin));
    const size_t most = CodePoints(text);
    while (text.ends_with("\uFFFD")) text.resize(text.size() - 3);
    return {CodePoints(text), most};
  }

  // The prompt that a conversation has without reuse.
  Tokens Plain(const json::array& messages) const {
    const Result<MarkedText> text = chat_->RenderMarked({.messages = messages});
    PREFIXD_CHECK(text.ok());
    Result<Tokens> ids = tokenizer_->Encode(*text, {.add_special_tokens = false});
    PREFIXD_CHECK(ids.ok());
    return *std::move(ids);
  }

  bool marked_ = true;        // as of the family
  std::vector<Tokens> said_;  // ids of each prompt and its answer that have KV
};

FinishReason FinishOf(int turn) { return turn % 2 == 0 ? FinishReason::kStop : FinishReason::kLength; }

json::object UserSays(const std::string& text) { return {{"role", "user"}, {"content", text}}; }

TEST_F(ReuseTest, EachTurnFindsAllBeforeTheLastUserMessage) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Begin(family);
    Prng prng(5);
    json::array messages;
    size_t before = 0, found = 0;
    for (int turn = 0; turn < 20; ++turn) {
      messages.push_back(UserSays("And " + std::to_string(turn) + "?"));
      const json::object response = Turn({{"messages", messages}, {"reuse_generated_ids", true}},
                                         SampledAnswer(prng), &found, {}, FinishOf(turn));
      ASSERT_GE(found, before) << family.folder << ", turn " << turn;
      ASSERT_EQ(tokenizer_->Decode(Prompt(), false), tokenizer_->Decode(Plain(messages), false))
          << family.folder << turn;
      before = said_.back().size();
      messages.push_back(At(response, "/choices/0/message"));
      if (turn == 0) continue;
      EXPECT_EQ(At(Explain(IdOf(response)), "/comparison/change"), "none") << family.folder << turn;
    }
  }
}

TEST_F(ReuseTest, WithoutReuseTheExplanationNamesEachDivergence) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Begin(family);
    Prng prng(5);
    json::array messages;
    size_t before = 0, found = 0;
    int diverged = 0;
    for (int turn = 0; turn < 20; ++turn) {
      messages.push_back(UserSays("And " + std::to_string(turn) + "?"));
      const json::object response =
          Turn({{"messages", messages}}, SampledAnswer(prng), &found, {}, FinishOf(turn));
      ASSERT_EQ(Prompt(), Plain(messages));
      if (turn > 0 && found < before) {
        ++diverged;
        const json::object told = Explain(IdOf(response));
        EXPECT_EQ(At(told, "/comparison/change"), "tokenization") << family.folder << json::serialize(told);
        EXPECT_EQ(At(told, "/comparison/message"), json::value(2 * turn - 1)) << json::serialize(told);
        EXPECT_TRUE(At(told, "/comparison/in_answer").as_bool()) << json::serialize(told);
        const auto [least, most] = PartsAt(found);
        const auto character = At(told, "/comparison/character").to_number<size_t>();
        EXPECT_TRUE(least <= character && character <= most)
            << family.folder << turn << " " << least << " to " << most << json::serialize(told);
        EXPECT_EQ(At(told, "/first_miss/reason"), "template_diverged");
      }
      before = said_.back().size();
      messages.push_back(At(response, "/choices/0/message"));
    }
    EXPECT_GT(diverged, 5) << family.folder;
  }
}

// A model may spell its calls in other ids than their text is encoded to, where no grammar forces them.
class CallLoopTest : public ReuseTest {
 protected:
  struct Marks {
    const char *folder, *begin, *end;
  };
  static constexpr Marks kMarks[] = {{"qwen2", "<|im_start|>", "<|im_end|>"},
                                     {"llama3", "<|start_header_id|>", "<|eot_id|>"},
                                     {"spm", "<s>", "</s>"}};

  // Ten calls, each in ids of single characters. Returns how many turns did not find all.
  int Loop(const Marks& marks, bool reuse) {
    const std::string begin = marks.begin, end = marks.end;
    const std::string chat =
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}" + begin +
        "{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \""
        "{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>"
        "{% endfor %}" +
        end + "{% endfor %}{% if add_generation_prompt %}" + begin + "assistant\n{% endif %}";
    Begin({marks.folder, chat.c_str(), marks.end, /*marked=*/true});
    api_.context.tool_format = FindToolFormat("hermes");
    api_.context.call_writing = WritingOf(*api_.context.tool_format);
    Prng prng(5);
    json::array messages = {UserSays("Which tier is full?")};
    size_t before = 0, found = 0;
    int diverged = 0;
    for (int turn = 0; turn < 10; ++turn) {
      std::string word;
      for (int i = 0; i < 12; ++i) word += static_cast<char>('a' + prng.Below(26));
      Tokens ids;
      const std::string call =
          "<tool_call>\n{\"name\": \"note\", \"arguments\": {\"text\": \"the " + word + "\"}}\n</tool_call>";
      for (const char c : call) ids.push_back(IdsOf(std::string(1, c)).back());
      const json::object response =
          Turn({{"messages", messages},
                {"reuse_generated_ids", reuse},
                {"tools", json::parse(R"([{"type":"function","function":{"name":"note"}}])")}},
               ids, &found);
      const std::string what = std::string(marks.folder) + std::to_string(turn) + json::serialize(response);
      EXPECT_EQ(At(response, "/choices/0/finish_reason"), "tool_calls") << what;
      if (turn > 0) {
        const json::object told = Explain(IdOf(response));
        const bool all = found >= before;
        EXPECT_EQ(At(told, "/comparison/change"), all ? "none" : "tokenization") << json::serialize(told);
        if (!all) {
          EXPECT_EQ(At(told, "/comparison/message"), json::value(2 * turn - 1)) << json::serialize(told);
          EXPECT_TRUE(At(told, "/comparison/in_answer").as_bool()) << json::serialize(told);
        }
        diverged += all ? 0 : 1;
      }
      before = said_.back().size();
      messages.push_back(At(response, "/choices/0/message"));
      messages.push_back(json::object{{"role", "tool"},
                                      {"tool_call_id", At(messages.back(), "/tool_calls/0/id")},
                                      {"content", "result " + std::to_string(turn)}});
    }
    return diverged;
  }
};

TEST_F(CallLoopTest, EachTurnFindsAllBeforeTheLastResultOrIsExplained) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Marks& marks : kMarks) {
    EXPECT_EQ(Loop(marks, /*reuse=*/true), 0) << marks.folder;
    EXPECT_EQ(Loop(marks, /*reuse=*/false), 9) << marks.folder;
  }
}

// What a client gets of an answer that a stop string cuts ends within its ids.
TEST_F(ReuseTest, AnAnswerThatIsCutKeepsItsIdsUpToThere) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Begin(family);
    Prng prng(9);
    json::array messages;
    size_t before = 0, found = 0;
    for (int turn = 0; turn < 10; ++turn) {
      messages.push_back(UserSays("And " + std::to_string(turn) + "?"));
      const Tokens shown = SampledAnswer(prng);
      Tokens answer = shown;
      for (const char* text : {"STOP", " behind"}) {
        const Tokens more = IdsOf(text);
        answer.insert(answer.end(), more.begin(), more.end());
      }
      const json::object response =
          Turn({{"messages", messages}, {"reuse_generated_ids", true}, {"stop", "STOP"}}, answer, &found);
      ASSERT_GE(found, before) << family.folder << turn;
      ASSERT_EQ(tokenizer_->Decode(Prompt(), false), tokenizer_->Decode(Plain(messages), false));
      before = Prompt().size() + shown.size();
      messages.push_back(At(response, "/choices/0/message"));
      ASSERT_EQ(json::serialize(messages).find("STOP"), std::string::npos);
    }
  }
}

// Each asks twice: the first answer is remembered for the key and the salt of its request.
TEST_F(ReuseTest, IdsAreReusedByTheSameKeyAndSaltAlone) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  Begin(kFamilies[0]);
  api_.context.api_keys = PlainKeys({"one", "two"});
  const HttpHeaders one = {{"authorization", "Bearer one"}}, two = {{"authorization", "Bearer two"}};
  Prng prng(4);
  size_t found = 0;
  json::array messages = {UserSays("Why?")};
  const json::object request = {{"reuse_generated_ids", true}, {"cache_scope", "public"}};
  const auto with = [&](std::initializer_list<std::pair<const char*, json::value>> fields) {
    json::object body = request;
    for (const auto& [name, value] : fields) body[name] = value;
    body["messages"] = messages;
    return body;
  };
  const json::object response = Turn(with({}), std::get<2>(Word()), &found, one);
  messages.push_back(At(response, "/choices/0/message"));
  messages.push_back(UserSays("And?"));
  const Tokens plain = Plain(messages);
  Turn(with({}), SampledAnswer(prng), &found, two);
  EXPECT_EQ(Prompt(), plain) << "what is cached for all is remembered for one key";
  Turn(with({{"cache_scope", "tenant"}, {"cache_salt", "other"}}), SampledAnswer(prng), &found, one);
  EXPECT_EQ(Prompt(), plain) << "another salt";
  Turn(with({{"reuse_generated_ids", false}}), SampledAnswer(prng), &found, one);
  EXPECT_EQ(Prompt(), plain) << "not asked for";
  Turn(with({{"cache_scope", "tenant"}}), SampledAnswer(prng), &found, one);
  EXPECT_NE(Prompt(), plain) << "of the same key, also where its KV is another";
}

TEST_F(ReuseTest, TheSameAnswerInTwoConversationsHasTheIdsOfEach) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  Begin(kFamilies[1]);
  const auto [word, whole, letters] = Word();
  size_t found = 0;
  for (const bool again : {false, true}) {
    for (const auto& [question, answer] : {std::pair{"a?", letters}, {"b?", whole}}) {
      json::array messages = {UserSays(question)};
      if (again) {
        messages.push_back(json::object{{"role", "assistant"}, {"content", word}});
        messages.push_back(UserSays("and?"));
      }
      Turn({{"messages", messages}, {"reuse_generated_ids", true}}, answer, &found);
      if (!again) continue;
      Tokens begin = said_[question == std::string_view("a?") ? 0 : 1];
      EXPECT_TRUE(std::ranges::equal(begin, std::span(Prompt()).first(begin.size()))) << question;
    }
  }
}

}  // namespace
}  // namespace prefixd
