// Masks that an executor makes: the sequence waits for its mask, the others go on, and no answer changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "grammar/grammar_text.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/tiny_constraint.h"

namespace prefixd {
namespace {

using testing_support::Recorder;
using testing_support::Submit;

class LateMasks : public EngineTest {
 protected:
  // The executor makes every mask that is not kept.
  static EngineOptions Late(Executor* executor) {
    EngineOptions options = Options();
    options.mask_executor = executor;
    options.mask_work = 0;
    return options;
  }
  // A constraint of its own, so that it keeps no masks from before.
  static Request Follows(size_t which, int seed) {
    Request request = Ask(Prompt(50 + seed, seed), 30, nullptr);
    request.constraint = testing_support::TinyConstraint(which);
    request.sampling.temperature = 1;
    request.sampling.seed = static_cast<uint64_t>(seed);
    return request;
  }
  static std::vector<Request> Several() {
    std::vector<Request> all;
    for (int i = 0; i < 9; ++i)
      all.push_back(i % 4 == 3 ? Ask(Prompt(20, i), 12, nullptr)
                               : Follows(static_cast<size_t>(i) % testing_support::kTinyConstraints, i));
    return all;
  }
  static std::vector<std::shared_ptr<Recorder>> SubmitAll(Engine& engine) {
    std::vector<std::shared_ptr<Recorder>> heard;
    for (Request& request : Several()) heard.push_back(Submit(engine, std::move(request)));
    return heard;
  }

  ManualExecutor executor_{16};
};

TEST_F(LateMasks, ChangeNoAnswer) {
  EngineOptions options = Options();
  options.max_queue = 16;
  const auto in_time = Make(options);
  const auto wanted = SubmitAll(*in_time);
  RunToEnd(*in_time);
  EXPECT_EQ(in_time->Stats().late_masks, 0u);
  for (const uint32_t blocks : {100u, 20u}) {  // 20: sequences that wait are preempted, too
    options = Late(&executor_);
    options.max_queue = 16;
    options.blocks = blocks;
    const auto engine = Make(options);
    const auto heard = SubmitAll(*engine);
    Prng prng(blocks);
    for (int i = 0; !engine->idle(); ++i) {
      ASSERT_LT(i, 5000);
      const bool stepped = engine->Step();
      engine->CheckInvariants();
      if (!stepped && !engine->idle()) {
        ASSERT_TRUE(executor_.RunOne()) << "it waits for nothing";
      } else if (prng.Chance(0.3)) {
        executor_.RunOne();
      }
    }
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(heard[i]->finish, wanted[i]->finish) << i;
      EXPECT_TRUE(testing_support::SameTokens(heard[i]->tokens, wanted[i]->tokens)) << i;
    }
    EXPECT_GT(engine->Stats().late_masks, 20u);
    EXPECT_EQ(engine->Stats().preemptions > 0, blocks == 20);
  }
}

TEST_F(LateMasks, KeepNoOtherWaiting) {
  const auto engine = Make(Late(&executor_));
  const auto follows = Submit(*engine, Follows(0, 1));
  const auto free = Submit(*engine, Ask(Prompt(20), 12, nullptr));
  while (!free->finished()) ASSERT_TRUE(engine->Step());
  EXPECT_LT(follows->tokens.size(), 5u);
  EXPECT_FALSE(follows->finished());
  EXPECT_FALSE(engine->Step()) << "nothing can be computed";
  while (!follows->finished()) {
    if (!engine->Step() && !follows->finished()) {
      ASSERT_TRUE(executor_.RunOne());
    }
  }
  EXPECT_GT(follows->tokens.size(), 5u);
}

TEST_F(LateMasks, OfSequencesThatHaveEndedAreDropped) {
  auto engine = Make(Late(&executor_));
  RequestId id = 0;
  const auto gone = Submit(*engine, Follows(0, 1), &id);
  while (engine->Step()) {
  }
  ASSERT_EQ(executor_.pending(), 1u);
  engine->Cancel(id);
  engine->Step();
  EXPECT_EQ(gone->finish, FinishReason::kCancelled);
  EXPECT_TRUE(engine->idle());
  EXPECT_TRUE(executor_.RunOne());
  const auto next = Submit(*engine, Ask(Prompt(9), 3, nullptr));
  RunToEnd(*engine);
  EXPECT_EQ(next->tokens.size(), 3u);
  // And those of an engine that is gone.
  const auto left = Submit(*engine, Follows(0, 2));
  while (engine->Step()) {
  }
  ASSERT_EQ(executor_.pending(), 1u);
  engine.reset();
  EXPECT_EQ(left->finish, FinishReason::kCancelled);
  EXPECT_TRUE(executor_.RunOne());
}

TEST_F(LateMasks, OfAnAmbiguousFormatEndItsRequestWithAnError) {
  Prng prng(1);
  std::vector<std::string> texts(64);
  texts[1] = "0";
  for (size_t id = 10; id < 64; ++id)
    for (int i = 0; i < 3000; ++i) texts[id] += prng.Chance(0.5) ? 'a' : 'b';
  grammar::Expressions to;
  const auto root = grammar::ReadGrammarText(
      "root ::= \"0\" p+\np ::= \"a\" p* \"a\" | \"b\" p* \"b\" | \"a\" | \"b\"", &to);
  ASSERT_TRUE(root.ok());
  auto compiled = grammar::Grammar::Compile(to, *root);
  ASSERT_TRUE(compiled.ok());
  Request request = Ask(Prompt(2), 20, nullptr);
  request.constraint = std::make_shared<const grammar::Constraint>(
      *std::move(compiled),
      std::make_shared<const grammar::Vocabulary>(std::move(texts), std::vector<TokenId>{3, 9}, 64),
      size_t{1} << 20);
  EngineOptions options = Late(&executor_);
  options.mask_work = 1000;
  const auto engine = Make(options);
  const auto heard = Submit(*engine, std::move(request));
  while (engine->Step()) {
  }
  EXPECT_FALSE(heard->finished());
  ASSERT_TRUE(executor_.RunOne());
  engine->Step();
  EXPECT_EQ(heard->finish, FinishReason::kError);
  EXPECT_THAT(heard->error.message(), testing::HasSubstr("ambiguous"));
}

}  // namespace
}  // namespace prefixd
