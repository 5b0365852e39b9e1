// Matching with counted, nested repetitions equals matching with all of them written out.
#include "grammar/match.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/prng.h"
#include "grammar/grammar.h"
#include "grammar/regex.h"
#include "tests/support/rounds.h"

namespace prefixd::grammar {
namespace {

// Few of its repetitions are small enough to be written out. Minima are small: below them, each count is a
// stack of its own.
ExprId RandomRepetition(Prng& prng, Expressions& to, int depth) {
  const auto letter = [&] { return to.Bytes('a', static_cast<uint8_t>('a' + prng.Below(2))); };
  const ExprId inner = depth == 0 ? letter() : RandomRepetition(prng, to, depth - 1);
  const ExprId body = prng.Chance(0.5) ? to.Sequence({inner, to.Optional(letter())})
                                       : to.Choice({inner, to.Sequence({letter(), letter()})});
  const auto min = static_cast<uint32_t>(prng.Below(3));
  return to.Repeat(body, min, prng.Chance(0.2) ? kUnbounded : min + static_cast<uint32_t>(prng.Below(60)));
}

TEST(Matcher, CountsRepetitionsAsIfTheyWereWrittenOut) {
  Prng prng(7);
  int compared = 0, ended = 0;
  for (int round = 0; round < testing_support::Rounds(150); ++round) {
    Expressions expressions;
    const RuleId root = expressions.AddRule("root");
    expressions.Define(root, RandomRepetition(prng, expressions, 1));
    AutomatonBudget budget;
    const auto counted = Grammar::Compile(expressions, root);
    const auto written = Grammar::CompileAutomaton(expressions, root, &budget);
    if (!counted.ok() || !written.ok()) continue;
    Matcher matcher(&*counted);
    MatchState state = matcher.Start(), next;
    std::string text;
    for (int i = 0; i < 150 && !state.dead(); ++i) {
      ASSERT_EQ(state.accepts(), written->Matches(text)) << text << " of round " << round;
      ASSERT_LT(state.stacks(), Matcher::kMostStacks) << text << " of round " << round;
      ++compared;
      text += static_cast<char>('a' + prng.Below(2));
      matcher.Advance(state, static_cast<uint8_t>(text.back()), &next);
      std::swap(state, next);
    }
    ended += state.dead() ? 1 : 0;
    EXPECT_FALSE(state.dead() && written->Matches(text)) << text << " of round " << round;
  }
  EXPECT_GT(compared, testing_support::Rounds(5000));
  EXPECT_GT(ended, testing_support::Rounds(10));
}

// Words of at most ten characters, with or without spaces between them: a text can be divided in thousands of
// ways.
TEST(Matcher, WaysToDivideATextDoNotMultiply) {
  Expressions expressions;
  const RuleId root = expressions.AddRule("root");
  const auto body = ReadRegex(R"((\w{1,10}\s?){1,50})", RegexMatches::kWhole,
                              Characters(&expressions, Characters::In::kText));
  ASSERT_TRUE(body.ok());
  expressions.Define(root, *body);
  const auto grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  Matcher matcher(&*grammar);
  MatchState state = matcher.Start(), next;
  const auto advance = [&](char c) {
    matcher.Advance(state, static_cast<uint8_t>(c), &next);
    std::swap(state, next);
  };
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(state.accepts(), i > 0) << i;
    EXPECT_LE(state.stacks(), 12u) << i;
    advance('a');
  }
  EXPECT_TRUE(state.accepts()) << "fifty words of ten";
  advance('a');
  EXPECT_TRUE(state.dead());
}

}  // namespace
}  // namespace prefixd::grammar
