// What the sampling options come to in an engine: prompts that are scored, caches that are not read, choices
// that share a prompt. Counts are exact.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <set>

#include "base/prng.h"
#include "engine/sampler.h"
#include "grammar/grammar_text.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/sequence_runner.h"
#include "tests/support/tiny_constraint.h"

namespace prefixd {
namespace {

using testing_support::LoadedRunner;
using testing_support::Recorder;

using EngineSamplingTest = EngineTest;

Request Scored(Request request, int top) {
  request.sampling.prompt_logprobs = top;
  return request;
}

// Prompt tokens 1, 2, .. by a model that is asked directly.
std::vector<GeneratedToken> Expected(const LoadedRunner& loaded, const std::vector<TokenId>& prompt,
                                     int top) {
  testing_support::SequenceRunner runner(*loaded.model, *loaded.backend, DType::kF32, 8, 20);
  testing_support::RunningSequence sequence;
  const std::vector<float> logits = runner.Append(sequence, prompt, 1);
  const size_t vocab = static_cast<size_t>(runner.vocab());
  std::vector<GeneratedToken> expected;
  for (size_t i = 1; i < prompt.size(); ++i)
    expected.push_back(WithLogprobs(prompt[i], top, std::span(logits).subspan((i - 1) * vocab, vocab)));
  return expected;
}

TEST_F(EngineSamplingTest, PromptLogprobsAreThoseOfTheModel) {
  auto engine = Make(Options());
  for (const int length : {1, 2, 8, 45}) {
    auto recorder = std::make_shared<Recorder>();
    ASSERT_TRUE(engine->Submit(Scored(Ask(Prompt(length), 3, recorder), 4)).ok());
    RunToEnd(*engine);
    EXPECT_EQ(recorder->tokens.size(), 3u);
    EXPECT_EQ(recorder->prompt_logprobs.size(), static_cast<size_t>(length - 1));
    EXPECT_TRUE(testing_support::SameTokens(recorder->prompt_logprobs, Expected(*loaded_, Prompt(length), 4)))
        << length;
  }
}

std::shared_ptr<const grammar::Constraint> OfText(std::string_view text,
                                                  std::shared_ptr<const grammar::Vocabulary> vocabulary) {
  grammar::Expressions to;
  const auto root = grammar::ReadGrammarText(text, &to);
  PREFIXD_CHECK(root.ok()) << root.status().ToString();
  Result<grammar::Grammar> grammar = grammar::Grammar::Compile(to, *root);
  PREFIXD_CHECK(grammar.ok()) << grammar.status().ToString();
  return std::make_shared<const grammar::Constraint>(*std::move(grammar), std::move(vocabulary),
                                                     size_t{1} << 20);
}

// Every way on nests deeper than a match goes: the answer so far is cut like one of max_tokens.
TEST_F(EngineSamplingTest, AnAnswerThatMeetsTheBoundsOfItsConstraintEndsByLength) {
  std::string text = "root ::= \"{\" x \"}\" | c0\nx ::= y \"a\"\ny ::= z \"a\"\nz ::= root \"a\"\n";
  for (int i = 0; i < 20; ++i)
    text += "c" + std::to_string(i) + " ::= c" + std::to_string(i + 1) + " \"a\"\n";
  std::vector<std::string> texts(64);
  for (const auto& [id, one] : {std::pair{1, "{"}, {2, "}"}, {4, "a"}, {5, "0"}})
    texts[static_cast<size_t>(id)] = one;
  const auto vocabulary =
      std::make_shared<const grammar::Vocabulary>(std::move(texts), std::vector<TokenId>{3, 9}, 64);
  const auto constraint = OfText(text + "c20 ::= \"0\"", vocabulary);
  auto engine = Make(Options());
  auto heard = std::make_shared<Recorder>();
  Request request = Ask(Prompt(2), 120, heard);
  request.constraint = constraint;
  request.sampling.logit_bias.push_back({1, 100.0f});
  ASSERT_TRUE(engine->Submit(std::move(request)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(heard->finish, FinishReason::kLength);
  EXPECT_GT(heard->tokens.size(), 50u);
  EXPECT_LT(heard->tokens.size(), 120u);
}

// A mask that would take too long ends its own request, by name.
TEST_F(EngineSamplingTest, AnAmbiguousConstraintEndsItsRequestWithAnError) {
  Prng prng(1);
  std::vector<std::string> texts(64);
  texts[1] = "0";
  for (size_t id = 10; id < 64; ++id)
    for (int i = 0; i < 3000; ++i) texts[id] += prng.Chance(0.5) ? 'a' : 'b';
  const auto vocabulary =
      std::make_shared<const grammar::Vocabulary>(std::move(texts), std::vector<TokenId>{3, 9}, 64);
  auto engine = Make(Options());
  auto heard = std::make_shared<Recorder>();
  Request request = Ask(Prompt(2), 20, heard);
  request.constraint =
      OfText("root ::= \"0\" p+\np ::= \"a\" p* \"a\" | \"b\" p* \"b\" | \"a\" | \"b\"", vocabulary);
  ASSERT_TRUE(engine->Submit(std::move(request)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(heard->finish, FinishReason::kError);
  EXPECT_THAT(heard->error.message(), testing::HasSubstr("ambiguous"));
  ASSERT_EQ(heard->tokens.size(), 1u);
  EXPECT_EQ(heard->tokens[0].token, 1);
}

// What the constraint leaves no choice about is appended without a step, and is what would have been drawn:
// with log probabilities, which need steps, the answer is the same.
TEST_F(EngineSamplingTest, ForcedTokensTakeNoStep) {
  const auto constraint =
      OfText("root ::= [0-9] \"-,-,-,-\" [0-9] \"-,-\" [0-9]", testing_support::TinyVocabulary());
  std::vector<std::vector<TokenId>> answers;
  for (const int logprobs : {-1, 0}) {
    for (const float penalty : {0.0f, 0.5f}) {
      auto engine = Make(Options());
      auto heard = std::make_shared<Recorder>();
      Request request = Ask(Prompt(20), 40, heard);
      request.constraint = constraint;
      request.sampling.seed = 3;
      request.sampling.temperature = 1;
      request.sampling.logprobs = logprobs;
      request.sampling.frequency_penalty = penalty;
      request.sampling.min_tokens = 14;  // the end follows without a choice
      ASSERT_TRUE(engine->Submit(std::move(request)).ok());
      RunToEnd(*engine);
      EXPECT_EQ(heard->finish, FinishReason::kStop);
      std::vector<TokenId>& ids = answers.emplace_back();
      for (const GeneratedToken& token : heard->tokens) ids.push_back(token.token);
      EXPECT_EQ(ids.size(), 14u);
      const EngineStats stats = engine->Stats();
      EXPECT_EQ(stats.generation_tokens, 14u);
      EXPECT_EQ(stats.forced_tokens, logprobs < 0 ? 10u : 0u);
    }
  }
  EXPECT_EQ(answers[0], answers[2]);
  EXPECT_EQ(answers[1], answers[3]);
}

// Whatever is drawn, an answer is what encoding its text gives; what is drawn otherwise takes a step, and its
// place is drawn again.
TEST_F(EngineSamplingTest, AnswersEncodeBack) {
  size_t refused = 0;
  for (size_t which = 0; which < testing_support::kTinyConstraints; ++which) {
    for (const int logprobs : {-1, 2}) {
      auto engine = Make(Options());
      auto heard = std::make_shared<Recorder>();
      Request request = Scored(Ask(Prompt(20), 40, heard), 1);
      request.constraint = testing_support::TinyConstraint(which);
      request.sampling.seed = which;
      request.sampling.temperature = 1.5;
      request.sampling.logprobs = logprobs;
      ASSERT_TRUE(engine->Submit(std::move(request)).ok());
      RunToEnd(*engine);
      std::vector<TokenId> ids;
      for (const GeneratedToken& token : heard->tokens) ids.push_back(token.token);
      if (heard->finish == FinishReason::kStop) ids.pop_back();
      EXPECT_EQ(*testing_support::TinyTokenizer().Encode(testing_support::TinyText(ids), {}), ids);
      EXPECT_EQ(heard->prompt_logprobs.size(), 19u);
      const EngineStats stats = engine->Stats();
      EXPECT_EQ(stats.prompt_tokens[static_cast<int>(TokenSource::kComputed)], 20u);
      refused += stats.refused_tokens;
    }
  }
  EXPECT_GT(refused, 10u);
}

TEST_F(EngineSamplingTest, APromptOfTheWholeContextIsScoredAndNothingElse) {
  auto engine = Make(Options());
  auto full = std::make_shared<Recorder>(), single = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Scored(Ask(Prompt(128), 0, full), 0)).ok());
  ASSERT_TRUE(engine->Submit(Scored(Ask(Prompt(1), 0, single), 0)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(full->finish, FinishReason::kLength);
  EXPECT_TRUE(full->tokens.empty());
  EXPECT_TRUE(testing_support::SameTokens(full->prompt_logprobs, Expected(*loaded_, Prompt(128), 0)));
  EXPECT_EQ(full->usage.computed(), 128);
  EXPECT_EQ(single->finish, FinishReason::kLength);
  EXPECT_TRUE(single->prompt_logprobs.empty()) << "nothing is likely before the first token";
}

TEST_F(EngineSamplingTest, WhoIsScoredOrDoesNotReadComputesAllAndSaysWhy) {
  auto engine = Make(Options());
  const auto run = [&](Request request) {
    auto recorder = std::make_shared<Recorder>();
    request.listener = recorder;
    PREFIXD_CHECK(engine->Submit(std::move(request)).ok());
    RunToEnd(*engine);
    return recorder;
  };
  const auto disabled = [&] { return engine->Stats().miss_tokens[static_cast<int>(MissReason::kDisabled)]; };
  const auto first = run(Ask(Prompt(50), 4, nullptr));
  EXPECT_EQ(disabled(), 0u);

  const auto scored = run(Scored(Ask(Prompt(50), 4, nullptr), 0));
  EXPECT_EQ(scored->usage.computed(), 50);
  EXPECT_EQ(disabled(), 50u);
  EXPECT_EQ(scored->prompt_logprobs.size(), 49u);

  Request bypass = Ask(Prompt(50), 4, nullptr);
  bypass.read_cache = false;
  const auto alone = run(bypass);
  EXPECT_EQ(alone->usage.computed(), 50);
  EXPECT_EQ(disabled(), 100u);
  EXPECT_TRUE(testing_support::SameTokens(first->tokens, alone->tokens));

  bypass = Ask(Prompt(40, 7), 1, nullptr);
  bypass.read_cache = false;
  run(bypass);
  const auto after = run(Ask(Prompt(40, 7), 1, nullptr));
  EXPECT_EQ(after->usage.cached(), 39) << "what a bypassing request computes is there for others";
  EXPECT_EQ(disabled(), 140u);
}

TEST_F(EngineSamplingTest, PenaltiesAndBiasesReachTheDraw) {
  auto engine = Make(Options());
  auto biased = std::make_shared<Recorder>(), varied = std::make_shared<Recorder>();
  Request request = Ask(Prompt(10), 12, biased);
  request.sampling.logit_bias = {{17, 100}};
  ASSERT_TRUE(engine->Submit(request).ok());
  request = Ask(Prompt(10), 50, varied);
  request.sampling.presence_penalty = 1000;
  ASSERT_TRUE(engine->Submit(request).ok());
  RunToEnd(*engine);
  for (const GeneratedToken& token : biased->tokens) EXPECT_EQ(token.token, 17);
  std::set<TokenId> distinct;
  for (const GeneratedToken& token : varied->tokens) distinct.insert(token.token);
  EXPECT_EQ(distinct.size(), 50u) << "no token twice";
  for (const TokenId outside : {-1, 64}) {
    request = Ask(Prompt(10), 1, std::make_shared<Recorder>());
    request.sampling.logit_bias = {{3, 1}, {outside, 1}};
    const Status refused = engine->Submit(request).status();
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_THAT(refused.message(), testing::HasSubstr("token id " + std::to_string(outside)));
  }
}

// P = k B + r tokens in blocks of B. The first choice computes P. Every other one takes the k full blocks; of
// r = 0 it copies the last block but for one token, of r > 0 it computes the r tokens again, for a block
// enters the tree when it is full: max(1, r), as long as no answer has filled the block that the prompt
// began.
TEST_F(EngineSamplingTest, ChoicesComputeTheirSharedPromptOnce) {
  constexpr int kRequests = 16, kChoices = 8, kBlock = 8;
  const LoadedRunner wide =
      testing_support::LoadRunner(folder_->path(), "ref", 1, {128, 256, kRequests * kChoices});
  for (const int tail : {0, 1, 5, 7}) {
    for (const int max_sequences : {kChoices, kRequests * kChoices}) {
      SCOPED_TRACE(testing::Message() << "tail " << tail << ", sequences " << max_sequences);
      EngineOptions options = Options();
      options.max_sequences = max_sequences;
      options.step_tokens = 256;
      options.max_queue = 1000;
      options.blocks = 1000;
      auto engine = Engine::Create(options, wide.model.get(), wide.backend.get(), &clock_);
      ASSERT_TRUE(engine.ok());
      const int prompt = 6 * kBlock + tail;
      std::vector<std::shared_ptr<Recorder>> recorders;
      for (int i = 0; i < kRequests * kChoices; ++i) {
        recorders.push_back(std::make_shared<Recorder>());
        Request request =
            Ask(Prompt(prompt), kBlock - tail, recorders.back());  // KV of the last is not computed
        request.sampling.temperature = 1;
        request.sampling.seed = static_cast<uint64_t>(i);
        ASSERT_TRUE((*engine)->Submit(std::move(request)).ok());
      }
      RunToEnd(**engine);
      const uint64_t others = kRequests * kChoices - 1;
      const uint64_t each = static_cast<uint64_t>(std::max(1, tail));
      EXPECT_EQ(recorders[0]->usage.computed(), prompt);
      for (uint64_t i = 1; i <= others; ++i)
        EXPECT_EQ(recorders[i]->usage.computed(), static_cast<int>(each)) << i;
      const EngineStats stats = (*engine)->Stats();
      EXPECT_EQ(stats.prompt_tokens[static_cast<int>(TokenSource::kComputed)],
                static_cast<uint64_t>(prompt) + others * each);
      EXPECT_EQ(stats.miss_tokens[static_cast<int>(MissReason::kNeverSeen)], 6u * kBlock);
      EXPECT_EQ(stats.miss_tokens[static_cast<int>(MissReason::kBlockTail)],
                static_cast<uint64_t>(tail) + others * each);
      EXPECT_EQ(stats.recomputed_tokens, 0u);
    }
  }
}

TEST_F(EngineSamplingTest, AChoiceAfterAFullTailComputesOneToken) {
  auto engine = Make(Options());
  auto first = std::make_shared<Recorder>(), second = std::make_shared<Recorder>();
  ASSERT_TRUE(engine->Submit(Ask(Prompt(53), 4, first)).ok());  // 53 + 3 = 7 blocks
  RunToEnd(*engine);
  ASSERT_TRUE(engine->Submit(Ask(Prompt(53), 4, second)).ok());
  RunToEnd(*engine);
  EXPECT_EQ(second->usage.computed(), 1) << "the tail is copied from the block of prompt and answer";
  EXPECT_TRUE(testing_support::SameTokens(first->tokens, second->tokens));
}

// Weights that are finite but so large that nothing they give is.
TEST_F(EngineSamplingTest, LogitsThatAreNotNumbersDrawTokensAllTheSame) {
  const testing_support::TempDir folder;
  testing_support::WriteTinyModel(folder.path(), 1);
  {
    std::fstream file(folder.path() / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-8 * static_cast<int>(sizeof(float)), std::ios::end);
    const std::vector<float> broken(8, std::numeric_limits<float>::max());
    file.write(reinterpret_cast<const char*>(broken.data()), 8 * sizeof(float));
  }
  for (const std::string& backend : testing_support::RunnableBackends()) {
    const LoadedRunner loaded = testing_support::LoadRunner(folder.path(), backend, 1, {128, 32, 4, 1});
    auto engine = Engine::Create(Options(), loaded.model.get(), loaded.backend.get(), &clock_);
    ASSERT_TRUE(engine.ok());
    for (const float temperature : {0.0f, 1.0f}) {
      auto recorder = std::make_shared<Recorder>();
      Request request = Scored(Ask(Prompt(20), 5, recorder), 2);
      request.sampling.temperature = temperature;
      request.sampling.logprobs = 2;
      request.sampling.repetition_penalty = 1.3f;
      ASSERT_TRUE((*engine)->Submit(std::move(request)).ok());
      RunToEnd(**engine);
      ASSERT_EQ(recorder->tokens.size(), 5u);
      ASSERT_EQ(recorder->prompt_logprobs.size(), 19u);
      for (const GeneratedToken& token : recorder->tokens) {
        EXPECT_TRUE(token.token >= 0 && token.token < 64) << token.token;
        EXPECT_NEAR(token.logprob, -std::log(64.0), 1e-5) << "all are equally unknown";
      }
    }
  }
}

}  // namespace
}  // namespace prefixd
