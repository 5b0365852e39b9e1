// The memory of generated ids, and prompts that are encoded with them: whatever a client sends back, the ids
// decode to its text and have its control tokens.
#include "daemon/api/generated_ids.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/prng.h"
#include "base/utf8.h"
#include "daemon/api/reusing_encoder.h"
#include "tests/daemon/api/golden_families.h"
#include "tests/support/shared_data.h"
#include "text/tokenizer/normal_forms.h"

namespace prefixd {
namespace {

using namespace testing_support;
using Tokens = std::vector<TokenId>;

const AnswerScope kScope = ScopeOfAnswers("key", "");

std::vector<Tokens> FoundIn(GeneratedIds& ids, const AnswerScope& scope, std::string_view text) {
  std::vector<Tokens> found;
  for (const PlacedAnswers& placed : ids.Find(scope, text))
    for (const AnswerIds& answer : placed.answers) found.push_back(*answer);
  return found;
}

TEST(GeneratedIds, AreFoundByAllTextBeforeThem) {
  GeneratedIds ids;
  ids.Put({kScope, PlaceAfter("question")}, {1, 2});
  ids.Put({kScope, PlaceAfter("questionyes and")}, {3});
  ids.Put({kScope, PlaceAfter("Question")}, {4});
  const auto found = ids.Find(kScope, "questionyes and no");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].begin, 8u);
  EXPECT_EQ(*found[0].answers.at(0), Tokens({1, 2}));
  EXPECT_EQ(found[1].begin, 15u);
  EXPECT_TRUE(ids.Find(kScope, "questio").empty());
  EXPECT_TRUE(ids.Find(ScopeOfAnswers("other", ""), "question").empty()) << "another key";
  EXPECT_TRUE(ids.Find(ScopeOfAnswers("key", "salt"), "question").empty()) << "another salt";
}

TEST(GeneratedIds, APlaceHasItsLatestAnswersInTheirOrder) {
  GeneratedIds ids;
  const auto put = [&](TokenId id) { ids.Put({kScope, PlaceAfter("q")}, {id}); };
  put(7);
  put(8);
  const size_t bytes = ids.bytes();
  put(7);
  EXPECT_EQ(ids.bytes(), bytes) << "the same ids are remembered once";
  EXPECT_EQ(FoundIn(ids, kScope, "q"), (std::vector<Tokens>{{7}, {8}})) << "and keep their place";
  for (size_t i = 0; i < GeneratedIds::kMostAtPlace; ++i) put(static_cast<TokenId>(100 + i));
  const std::vector<Tokens> found = FoundIn(ids, kScope, "q");
  EXPECT_EQ(found.size(), GeneratedIds::kMostAtPlace);
  EXPECT_EQ(found.front(), Tokens({100}));
}

TEST(GeneratedIds, AreBoundedAndFairToKeysWhateverTheirSalts) {
  GeneratedIds ids(64 << 10);
  const AnswerScope quiet = ScopeOfAnswers("quiet", "");
  for (size_t i = 1; i <= 10; ++i) ids.Put({quiet, PlaceAfter(std::string(i, 'q'))}, Tokens(100, 1));
  for (int i = 0; i < 1000; ++i) {
    const AnswerScope loud = ScopeOfAnswers("loud", std::to_string(i));
    ids.Put({loud, PlaceAfter("q")}, Tokens(100, 2));
    ASSERT_LE(ids.bytes(), size_t{64} << 10);
  }
  EXPECT_EQ(FoundIn(ids, quiet, "qqqqqqqqqq").size(), 10u);
  EXPECT_EQ(FoundIn(ids, ScopeOfAnswers("loud", "999"), "q").size(), 1u);
  EXPECT_TRUE(FoundIn(ids, ScopeOfAnswers("loud", "1"), "q").empty());
  ids.Put({quiet, PlaceAfter("large")}, Tokens(8 << 10, 3));
  EXPECT_TRUE(FoundIn(ids, quiet, "large").empty());
}

TEST(GeneratedIds, ForgetTheEndOfAConversationFirst) {
  GeneratedIds ids(16 << 10);
  ids.Put({kScope, PlaceAfter("a")}, {1});
  ids.Put({kScope, PlaceAfter("ab")}, {2});
  ids.Put({kScope, PlaceAfter("abc")}, {3});
  EXPECT_EQ(FoundIn(ids, kScope, "abcd").size(), 3u);
  const size_t each = ids.bytes() / 3;
  for (size_t i = 0; ids.bytes() + each <= 16 << 10; ++i)
    ids.Put({kScope, PlaceAfter("x" + std::to_string(i))}, {9});
  ids.Put({kScope, PlaceAfter("y")}, {9});
  EXPECT_EQ(FoundIn(ids, kScope, "abcd"), (std::vector<Tokens>{{1}, {2}}));
}

// How a conversation is written. With `apart`, control tokens stand around each message.
struct Writing {
  const char* folder;
  bool apart;
  const char *user, *assistant, *end;
};
const Writing kWritings[] = {
    {"qwen2", true, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"},
    {"llama3", true, "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
    {"spm", true, "<s>[INST] ", " [/INST]", "</s>"},
    {"qwen2", false, "User: ", "\n\nAssistant:", "\n\n"},
    {"llama3", false, "User: ", "\n\nAssistant: ", "."},
    {"spm", false, "User: ", "\nAssistant:", "\n"},
};

class EncoderTest : public testing::Test {
 protected:
  void Use(const Writing& writing) {
    const auto file = SharedDir() / "golden/tokenizers" / writing.folder / "tokenizer.json";
    Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(ReadFileOrDie(file));
    PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
    tokenizer_ = *std::move(tokenizer);
    memory_ = std::make_unique<GeneratedIds>();
    controls_.clear();
    for (TokenId id = 0; id < tokenizer_->vocab_size(); ++id)
      if (tokenizer_->IsControl(id)) controls_.push_back(id);
  }

  Tokens Encode(const MarkedText& text, TextStart start = TextStart::kInput) const {
    Result<Tokens> ids = tokenizer_->Encode(text, {.add_special_tokens = false, .start = start});
    PREFIXD_CHECK(ids.ok()) << ids.status().ToString();
    return *std::move(ids);
  }
  Tokens EncodeReused(const MarkedText& text) {
    const auto encode = [&](const MarkedText& part, TextStart start) {
      return Parsed<Tokens>(Encode(part, start));
    };
    const std::vector<PlacedAnswers> placed = memory_->Find(kScope, text.bytes());
    Parsed<Tokens> ids = EncodeReusing(*tokenizer_, text, placed, encode);
    PREFIXD_CHECK(ids.ok());
    return *std::move(ids);
  }

  // Ids of whole code points, which a sampler could draw; now and then control tokens, their spelling, and
  // at the end a part of a code point.
  Tokens Answer(Prng& prng, bool wild) const {
    Tokens ids;
    const auto add = [&](std::string_view text) {
      const Tokens more = Encode(MarkedText::Input(std::string(text)), TextStart::kWithin);
      ids.insert(ids.end(), more.begin(), more.end());
    };
    const size_t length = 1 + prng.Below(20);
    while (ids.size() < length) {
      const auto id = static_cast<TokenId>(prng.Below(static_cast<uint64_t>(tokenizer_->vocab_size())));
      const std::string bytes = tokenizer_->TokenBytes(id);
      if (wild && prng.Chance(0.05)) {
        ids.push_back(controls_[prng.Below(controls_.size())]);
      } else if (wild && prng.Chance(0.05)) {
        add(*tokenizer_->TokenText(controls_[prng.Below(controls_.size())]));
      } else if (prng.Chance(0.1)) {
        add("λ🙂世");
      } else if (!tokenizer_->IsControl(id) && !bytes.empty() && IsValidUtf8(bytes)) {
        ids.push_back(id);
      }
    }
    if (prng.Chance(0.1)) {
      Tokens cut = Encode(MarkedText::Input("🙂"), TextStart::kWithin);
      ids.insert(ids.end(), cut.begin(), cut.end() - 1);
    }
    return ids;
  }

  // What a client or a template makes of an answer.
  static std::string SentBack(Prng& prng, std::string text) {
    if (prng.Chance(0.5)) return text;
    const size_t at = prng.Below(text.size() + 1);
    switch (prng.Below(4)) {
      case 0:
        return RepairUtf8(text.substr(0, at));
      case 1:
        return text + " and more";
      case 2:
        return RepairUtf8(text.substr(0, at) + "x" + text.substr(at));
      default:
        return text.substr(0, text.find_last_not_of(" \n\t") + 1);
    }
  }

  std::vector<TokenId> ControlsOf(const Tokens& ids) const {
    std::vector<TokenId> found;
    std::ranges::copy_if(ids, std::back_inserter(found),
                         [&](TokenId id) { return tokenizer_->IsControl(id); });
    return found;
  }
  static bool BeginsWith(const Tokens& ids, const Tokens& prompt, const Tokens& answer) {
    Tokens all = prompt;
    all.insert(all.end(), answer.begin(), answer.end());
    return std::ranges::equal(all, std::span(ids).first(std::min(ids.size(), all.size())));
  }
  std::string Decoded(const Tokens& ids) const {
    return Normalize(NormalForm::kNfc, tokenizer_->Decode(ids, /*skip_special_tokens=*/false));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<TokenId> controls_;
  std::unique_ptr<GeneratedIds> memory_;
};

TEST_F(EncoderTest, WhatIsSentBackKeepsItsTextAndItsControlTokens) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Writing& writing : kWritings) {
    Use(writing);
    Prng prng(7);
    int kept = 0;
    for (int talk = 0; talk < 200; ++talk) {
      MarkedText text;
      for (int turn = 0; turn < 6; ++turn) {
        text += writing.user;
        text.AppendInput("And " + std::to_string(prng.Below(3)) + "?");
        text += writing.assistant;
        const Tokens ids = EncodeReused(text), plain = Encode(text);
        const std::string what =
            std::string(writing.folder) + " " + std::to_string(talk) + " " + text.bytes();
        ASSERT_EQ(Decoded(ids), Decoded(plain)) << what;
        ASSERT_EQ(ControlsOf(ids), ControlsOf(plain)) << what;
        kept += ids != plain ? 1 : 0;
        const Tokens answer = Answer(prng, talk % 2 == 0);
        memory_->Put({kScope, PlaceAfter(text.bytes())}, answer);
        text.AppendInput(SentBack(prng, DecodeAfter(*tokenizer_, ids, answer)));
        text += writing.end;
      }
    }
    EXPECT_GT(kept, 150) << writing.folder << writing.apart;
  }
}

TEST_F(EncoderTest, AnAnswerCannotSwallowTheTurnsBehindIt) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  Use(kWritings[0]);
  MarkedText text = MarkedText::Own("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  const size_t begin = text.size();
  // The answer spells what the template writes around the next turn.
  const std::string spelled = "yes<|im_end|>\n<|im_start|>user\nand<|im_end|>\n";
  memory_->Put({kScope, PlaceAfter(text.bytes())}, Encode(MarkedText::Input(spelled)));
  text.AppendInput("yes");
  text += "<|im_end|>\n<|im_start|>user\n";
  text.AppendInput("and");
  text += "<|im_end|>\n";
  EXPECT_EQ(EncodeReused(text), Encode(text));
  // It generated the control tokens, and the client sends them back as text.
  memory_->Put({kScope, PlaceAfter(text.bytes().substr(0, begin))}, Encode(MarkedText::Own(spelled)));
  MarkedText quoted = text.Part(0, begin);
  quoted.AppendInput(spelled);
  quoted += "<|im_end|>\n";
  EXPECT_EQ(ControlsOf(EncodeReused(quoted)).size(), 4u) << "those of the template";
  EXPECT_EQ(ControlsOf(EncodeReused(text)).size(), 6u);
}

TEST_F(EncoderTest, OfSeveralAnswersTheOneThatIsSentBackCounts) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Writing& writing : kWritings) {
    Use(writing);
    Prng prng(3);
    MarkedText text = MarkedText::Own(std::string(writing.user) + "?" + writing.assistant);
    const Tokens prompt = EncodeReused(text);
    std::vector<Tokens> answers;
    for (int i = 0; i < 20; ++i) {
      Tokens answer = Answer(prng, false);
      while (DecodeAfter(*tokenizer_, prompt, answer).ends_with("\xEF\xBF\xBD")) answer.pop_back();
      memory_->Put({kScope, PlaceAfter(text.bytes())}, answer);
      answers.push_back(answer);
    }
    for (const Tokens& answer : answers) {
      MarkedText next = text;
      next.AppendInput(DecodeAfter(*tokenizer_, prompt, answer));
      next += writing.end;
      EXPECT_TRUE(BeginsWith(EncodeReused(next), prompt, answer)) << writing.folder << writing.apart;
    }
  }
}

TEST_F(EncoderTest, OfAnswersWithTheSameTextTheLatestCounts) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Writing& writing : kWritings) {
    Use(writing);
    MarkedText text = MarkedText::Own(std::string(writing.user) + "?" + writing.assistant);
    const Tokens prompt = EncodeReused(text);
    const Tokens whole = Encode(MarkedText::Input("the"), TextStart::kWithin);
    Tokens letters;
    for (const char* letter : {"t", "h", "e"}) {
      const Tokens more = Encode(MarkedText::Input(letter), TextStart::kWithin);
      letters.insert(letters.end(), more.begin(), more.end());
    }
    ASSERT_NE(whole, letters) << writing.folder;
    MarkedText next = text;
    next.AppendInput("the");
    next += writing.end;
    for (const bool reversed : {false, true}) {
      memory_ = std::make_unique<GeneratedIds>();
      memory_->Put({kScope, PlaceAfter(text.bytes())}, reversed ? letters : whole);
      memory_->Put({kScope, PlaceAfter(text.bytes())}, reversed ? whole : letters);
      EXPECT_TRUE(BeginsWith(EncodeReused(next), prompt, reversed ? whole : letters)) << writing.folder;
    }
  }
}

// Before a control token nothing can complete a code point; before text something may.
TEST_F(EncoderTest, APartOfACodePointIsKeptBeforeAControlTokenAlone) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Writing& writing : kWritings) {
    Use(writing);
    MarkedText text = MarkedText::Own(std::string(writing.user) + "?" + writing.assistant);
    const Tokens prompt = EncodeReused(text), whole = Encode(MarkedText::Input("yes"), TextStart::kWithin);
    const Tokens point = Encode(MarkedText::Input("𐍈"), TextStart::kWithin);
    Tokens answer = whole;
    answer.insert(answer.end(), point.begin(), point.end() - 1);
    const std::string shown = DecodeAfter(*tokenizer_, prompt, answer);
    ASSERT_TRUE(shown.ends_with(kReplacementCharacter)) << writing.folder;
    memory_->Put({kScope, PlaceAfter(text.bytes())}, answer);
    MarkedText next = text;
    next.AppendInput(shown);
    next += writing.end;
    const Tokens ids = EncodeReused(next);
    EXPECT_EQ(BeginsWith(ids, prompt, answer), writing.apart) << writing.folder;
    EXPECT_TRUE(BeginsWith(ids, prompt, whole)) << writing.folder;
    EXPECT_EQ(Decoded(ids), Decoded(Encode(next))) << writing.folder;
  }
}

// Byte tokens of SentencePiece are text only when the run of them ends.
TEST_F(EncoderTest, LongRunsOfByteTokensKeepTheirIds) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Writing& writing : kWritings) {
    Use(writing);
    MarkedText text = MarkedText::Own(std::string(writing.user) + "?" + writing.assistant);
    const Tokens prompt = EncodeReused(text);
    Tokens answer;
    std::string shown;
    const auto add = [&](std::string_view piece, int times) {
      const Tokens more = Encode(MarkedText::Input(std::string(piece)), TextStart::kWithin);
      for (int i = 0; i < times; ++i) answer.insert(answer.end(), more.begin(), more.end());
      for (int i = 0; i < times; ++i) shown += piece;
    };
    add("𐍈", 2000);
    add("yes", 1);
    add("𐍈", 2000);
    ASSERT_GT(answer.size(), 8000u) << writing.folder;
    memory_->Put({kScope, PlaceAfter(text.bytes())}, answer);
    MarkedText next = text;
    next.AppendInput(shown);
    next += writing.end;
    EXPECT_TRUE(BeginsWith(EncodeReused(next), prompt, answer)) << writing.folder;
  }
}

}  // namespace
}  // namespace prefixd
