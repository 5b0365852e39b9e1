// Answers that are sent back keep the ids that were generated: in long conversations of sampled answers, with
// the tokenizers of the reference data.
#include <algorithm>

#include "base/prng.h"
#include "daemon/api/generated_ids.h"
#include "tests/daemon/api/explain_fixture.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using namespace testing_support;
using Tokens = std::vector<TokenId>;

TEST(GeneratedIds, AreFoundByAllTextBeforeThem) {
  GeneratedIds ids;
  ids.Put("a", PlaceAfter(0, "question"), "yes", {1, 2});
  const auto first = ids.Find("a", 0, "questionyes and");
  ASSERT_TRUE(first);
  EXPECT_EQ(first->gap, 8u);
  EXPECT_EQ(first->length, 3u);
  EXPECT_EQ(first->ids, Tokens({1, 2}));
  EXPECT_FALSE(ids.Find("b", 0, "questionyes and")) << "of another scope";
  EXPECT_FALSE(ids.Find("a", 0, "questionye"));
  EXPECT_FALSE(ids.Find("a", 0, "Questionyes"));
  EXPECT_FALSE(ids.Find("a", first->after, "questionyes"));
  ids.Put("a", PlaceAfter(first->after, " and"), "no", {3});
  EXPECT_EQ(ids.Find("a", first->after, " andno")->ids, Tokens({3}));
  ids.Put("a", PlaceAfter(0, "question"), "yes an", {4});
  EXPECT_EQ(ids.Find("a", 0, "questionyes and")->ids, Tokens({4})) << "the longest";
}

TEST(GeneratedIds, AreBoundedAndFairToScopes) {
  GeneratedIds ids(64 << 10);
  ids.Put("quiet", PlaceAfter(0, "q"), "a", Tokens(100, 1));
  for (int i = 0; i < 1000; ++i) {
    ids.Put("loud", PlaceAfter(0, std::to_string(i)), "a", Tokens(100, 2));
    ASSERT_LE(ids.bytes(), size_t{64} << 10);
  }
  EXPECT_TRUE(ids.Find("quiet", 0, "qa"));
  EXPECT_TRUE(ids.Find("loud", 0, "999a"));
  EXPECT_FALSE(ids.Find("loud", 0, "1a"));
}

// How a family of models writes a conversation. The marks are control tokens.
struct Family {
  const char *folder, *chat, *end;
};
const Family kFamilies[] = {
    {"qwen2",
     "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
     "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
     "<|im_end|>"},
    {"llama3",
     "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
     "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
     "<|eot_id|>"},
    {"spm",
     "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %}"
     "{{ m.content }}</s>{% endif %}{% endfor %}",
     "</s>"},
};

class ReuseTest : public ExplainTest {
 protected:
  void Use(const Family& family) {
    const auto folder = SharedDir() / "golden/tokenizers" / family.folder;
    Result<std::unique_ptr<Tokenizer>> tokenizer =
        Tokenizer::FromJson(ReadFileOrDie(folder / "tokenizer.json"));
    PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
    tokenizer_ = *std::move(tokenizer);
    Result<std::unique_ptr<ChatTemplate>> chat = ChatTemplate::Parse(family.chat, {});
    PREFIXD_CHECK(chat.ok()) << chat.status().ToString();
    chat_ = *std::move(chat);
    api_.context.tokenizer = tokenizer_.get();
    api_.context.chat_template = chat_.get();
    api_.context.vocab_size = tokenizer_->vocab_size();
    api_.context.eos = {tokenizer_->TokenToId(family.end).value()};
    said_.clear();
  }

  Tokens SampledAnswer(Prng& prng) const {
    Tokens ids;
    while (ids.size() < 20) {
      const auto id = static_cast<TokenId>(prng.Below(static_cast<uint64_t>(tokenizer_->vocab_size())));
      if (!tokenizer_->IsSpecial(id) && !tokenizer_->TokenBytes(id).empty()) ids.push_back(id);
    }
    return ids;
  }

  // Asks for an answer of these ids. Returns the response; *found is the number of leading tokens of the
  // prompt that an earlier request has computed.
  json::object Turn(json::object body, const Tokens& answer, size_t* found) {
    body["request_id"] = "r" + std::to_string(api_.engine.submitted());
    const auto exchange = api_.Post("/v1/chat/completions", json::serialize(body));
    const size_t index = api_.engine.submitted() - 1;
    Tokens all = api_.engine.request(index).prompt;
    *found = 0;
    for (const Tokens& before : said_) {
      const size_t shorter = std::min(before.size(), all.size());
      const auto end = before.begin() + static_cast<ptrdiff_t>(shorter);
      const auto common = std::mismatch(before.begin(), end, all.begin()).first - before.begin();
      *found = std::max(*found, static_cast<size_t>(common));
    }
    api_.engine.cached_tokens = static_cast<int>(std::min(*found, all.size() - 1));
    Tokens ended = answer;
    ended.push_back(api_.context.eos.front());
    api_.engine.Generate(index, ended, FinishReason::kStop);
    exchange->RunJobs();
    EXPECT_EQ(exchange->response.status, 200) << exchange->body();
    all.insert(all.end(), answer.begin(), answer.end());
    said_.push_back(all);
    return Parse(exchange->body()).as_object();
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_;
  std::vector<Tokens> said_;  // ids of each prompt and its answer
};

TEST_F(ReuseTest, EachTurnFindsAllBeforeTheLastUserMessage) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Use(family);
    Prng prng(5);
    json::array messages;
    size_t before = 0, found = 0;
    for (int turn = 0; turn < 20; ++turn) {
      messages.push_back(json::object{{"role", "user"}, {"content", "And " + std::to_string(turn) + "?"}});
      const Tokens answer = SampledAnswer(prng);
      const json::object body = {{"messages", messages}, {"reuse_generated_ids", true}};
      const json::object response = Turn(body, answer, &found);
      ASSERT_GE(found, before) << family.folder << ", turn " << turn;
      // The text is that of the prompt without reuse.
      const Result<MarkedText> text = chat_->RenderMarked({.messages = messages});
      ASSERT_TRUE(text.ok());
      const Result<Tokens> ids = tokenizer_->Encode(*text, {.add_special_tokens = false});
      ASSERT_TRUE(ids.ok());
      const Tokens& prompt = api_.engine.request(api_.engine.submitted() - 1).prompt;
      ASSERT_EQ(tokenizer_->Decode(prompt, false), tokenizer_->Decode(*ids, false)) << family.folder << turn;
      before = said_.back().size();
      messages.push_back(At(response, "/choices/0/message"));
      if (turn > 0)
        EXPECT_EQ(At(Explain(IdOf(response)), "/comparison/change"), "none") << family.folder << turn;
    }
  }
}

TEST_F(ReuseTest, WithoutReuseTheExplanationNamesEachDivergence) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Use(family);
    Prng prng(5);
    json::array messages;
    size_t before = 0, found = 0;
    int diverged = 0;
    for (int turn = 0; turn < 20; ++turn) {
      messages.push_back(json::object{{"role", "user"}, {"content", "And " + std::to_string(turn) + "?"}});
      const json::object response = Turn({{"messages", messages}}, SampledAnswer(prng), &found);
      if (turn > 0 && found < before) {
        ++diverged;
        const json::object told = Explain(IdOf(response));
        EXPECT_EQ(At(told, "/comparison/change"), "tokenization") << family.folder << json::serialize(told);
        EXPECT_EQ(At(told, "/comparison/message"), json::value(2 * turn - 1)) << json::serialize(told);
        EXPECT_TRUE(At(told, "/comparison/in_answer").as_bool()) << json::serialize(told);
        EXPECT_EQ(At(told, "/first_miss/reason"), "template_diverged");
      }
      before = said_.back().size();
      messages.push_back(At(response, "/choices/0/message"));
    }
    EXPECT_GT(diverged, 10) << family.folder;
  }
}

}  // namespace
}  // namespace prefixd
