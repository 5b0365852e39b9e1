// Masks equal what trying every token gives, for random grammars, vocabularies and states.
#include "grammar/token_masks.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/prng.h"
#include "grammar/constraint.h"
#include "grammar/json_text.h"
#include "grammar/regex.h"
#include "tests/support/rounds.h"

namespace prefixd::grammar {
namespace {

constexpr TokenId kEnd = 0;

// All bytes, and texts of up to five of the bytes of `alphabet`.
Vocabulary RandomVocabulary(Prng& prng, std::string_view alphabet, size_t texts) {
  std::vector<std::string> tokens(1);
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  for (size_t i = 0; i < texts; ++i) {
    std::string& text = tokens.emplace_back();
    for (uint64_t n = prng.Between(1, 5); n > 0; --n) text += alphabet[prng.Below(alphabet.size())];
  }
  const auto size = static_cast<int>(tokens.size());
  return Vocabulary(std::move(tokens), {kEnd}, size + 3);
}

bool Has(const TokenMask& mask, TokenId id) {
  return (mask[static_cast<size_t>(id) / 32] >> (static_cast<size_t>(id) % 32) & 1) != 0;
}

// By the definition.
TokenMask Tried(const Grammar& grammar, const Vocabulary& vocabulary, const MatchState& state) {
  Matcher matcher(&grammar);
  TokenMask mask(vocabulary.mask_words());
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    MatchState at = state, next;
    for (const char c : vocabulary.text(id)) {
      matcher.Advance(at, static_cast<uint8_t>(c), &next);
      std::swap(at, next);
    }
    const bool allowed = id == kEnd ? state.accepts() : !vocabulary.text(id).empty() && !at.dead();
    if (allowed) mask[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
  }
  return mask;
}

ExprId RandomExpr(Prng& prng, Expressions& to, int depth) {
  const auto part = [&] { return RandomExpr(prng, to, depth - 1); };
  switch (depth == 0 ? prng.Below(3) : prng.Below(8)) {
    case 0:
      return to.Text(std::string(prng.Below(4), static_cast<char>('a' + prng.Below(3))));
    case 1:
      return to.Bytes('a', static_cast<uint8_t>('a' + prng.Below(3)));
    case 2:
      return to.Rule(static_cast<RuleId>(prng.Below(to.rules())));
    case 3:
      return to.Sequence({part(), part()});
    case 4:
      return to.Choice({part(), part(), part()});
    case 5:
      return to.Repeat(part(), 0, kUnbounded);
    case 6: {
      const auto min = static_cast<uint32_t>(prng.Below(3));
      return to.Repeat(part(), min, min + static_cast<uint32_t>(prng.Below(3)));
    }
    default: {
      const auto min = static_cast<uint32_t>(prng.Below(90));
      return to.Repeat(part(), min,
                       prng.Chance(0.3) ? kUnbounded : min + static_cast<uint32_t>(prng.Below(90)));
    }
  }
}

// Walks along allowed tokens and compares the mask of each state.
size_t CompareAlongWalk(Prng& prng, const Constraint& constraint, int steps) {
  Matcher matcher(&constraint.grammar());
  MatchState state = matcher.Start(), next;
  const Vocabulary& vocabulary = constraint.vocabulary();
  size_t compared = 0;
  for (int step = 0; step < steps; ++step) {
    const auto mask = constraint.MaskOf(state);
    EXPECT_EQ(*mask, Tried(constraint.grammar(), vocabulary, state)) << "step " << step;
    ++compared;
    std::vector<TokenId> allowed;
    for (TokenId id = 1; id < vocabulary.size(); ++id)
      if (Has(*mask, id)) allowed.push_back(id);
    EXPECT_TRUE(!allowed.empty() || Has(*mask, kEnd)) << "a dead end";
    if (allowed.empty() || testing::Test::HasFailure()) break;
    for (const char c : vocabulary.text(allowed[prng.Below(allowed.size())])) {
      matcher.Advance(state, static_cast<uint8_t>(c), &next);
      std::swap(state, next);
    }
  }
  return compared;
}

TEST(TokenMasks, EqualTryingEveryTokenInRandomGrammars) {
  Prng prng(3);
  int compiled = 0, compared = 0;
  for (int round = 0; round < testing_support::Rounds(400); ++round) {
    Expressions expressions;
    for (int i = 0; i < 3; ++i) expressions.AddRule("r" + std::to_string(i));
    for (RuleId rule = 0; rule < 3; ++rule) expressions.Define(rule, RandomExpr(prng, expressions, 3));
    Result<Grammar> grammar = Grammar::Compile(expressions, 0);
    if (!grammar.ok()) continue;
    ++compiled;
    const Constraint constraint(
        *std::move(grammar), std::make_shared<const Vocabulary>(RandomVocabulary(prng, "abc", 40)), 1 << 20);
    compared += static_cast<int>(CompareAlongWalk(prng, constraint, 12));
    if (HasFailure()) return;
  }
  EXPECT_GT(compiled, testing_support::Rounds(100));
  EXPECT_GT(compared, testing_support::Rounds(500));
}

TEST(TokenMasks, EqualTryingEveryTokenInJson) {
  Expressions expressions;
  JsonText json(&expressions);
  const RuleId root = expressions.AddRule("root");
  expressions.Define(root, json.ObjectOf(json.Value()));
  Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  Prng prng(4);
  const Constraint constraint(
      *std::move(grammar),
      std::make_shared<const Vocabulary>(RandomVocabulary(prng, "{}[]\",: ae1\\nu\xC3\xA4", 300)), 1 << 20);
  size_t compared = 0;
  for (int round = 0; round < 30; ++round) compared += CompareAlongWalk(prng, constraint, 40);
  EXPECT_GT(compared, 600u);
  EXPECT_LT(constraint.counts().computed, constraint.counts().masks) << "masks are kept";
}

// More states in one walk than are remembered.
TEST(TokenMasks, EqualTryingEveryTokenInALargeVocabulary) {
  Prng prng(5);
  std::vector<std::string> tokens(1);
  Expressions expressions;
  std::vector<ExprId> choice;
  for (int i = 0; i < 2000; ++i) {
    std::string word;
    for (uint64_t n = prng.Between(3, 6); n > 0; --n) word += static_cast<char>('a' + prng.Below(20));
    choice.push_back(expressions.Text(word + word));
    tokens.push_back(prng.Chance(0.5) ? word : word + word.substr(0, 2));
  }
  const RuleId root = expressions.AddRule("root");
  expressions.Define(root, expressions.Choice(std::move(choice)));
  Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  const auto size = static_cast<int>(tokens.size());
  const Constraint constraint(
      *std::move(grammar),
      std::make_shared<const Vocabulary>(std::move(tokens), std::vector<TokenId>{kEnd}, size), 1 << 20);
  const MatchState start = Matcher(&constraint.grammar()).Start();
  EXPECT_EQ(*constraint.MaskOf(start), Tried(constraint.grammar(), constraint.vocabulary(), start));
  EXPECT_GT(constraint.counts().nodes, 4000u);
}

// What is kept stays below its bound, and what is forgotten comes out the same again.
TEST(TokenMasks, KeepWithinTheirBytes) {
  Expressions expressions;
  JsonText json(&expressions);
  const RuleId root = expressions.AddRule("root");
  expressions.Define(root, json.ObjectOf(json.Value()));
  const Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok());
  Prng prng(6);
  const Vocabulary vocabulary = RandomVocabulary(prng, "{}[]\",: ae1", 3000);
  constexpr size_t kMost = 20'000;
  TokenMasks small(&*grammar, &vocabulary, kMost), large(&*grammar, &vocabulary);
  Matcher matcher(&*grammar);
  for (int round = 0; round < 20; ++round) {
    MatchState state = matcher.Start(), next;
    for (const char c : std::string_view("{\"a\": [{\"e\":1}, \"ea\", [[]")) {
      EXPECT_EQ(*small.Of(state), *large.Of(state));
      EXPECT_LE(small.kept_bytes(), kMost);
      matcher.Advance(state, static_cast<uint8_t>(c), &next);
      std::swap(state, next);
    }
    EXPECT_FALSE(state.dead());
  }
  EXPECT_GT(small.counts().local_masks, large.counts().local_masks);
}

// Bytes that many stacks take in many ways cost a bounded number of visits.
TEST(TokenMasks, AmbiguousGrammarsAreBounded) {
  Expressions expressions;
  const RuleId root = expressions.AddRule("root"), other = expressions.AddRule("other");
  const ExprId a = expressions.Text("a"), again = expressions.Rule(root), more = expressions.Rule(other);
  expressions.Define(root, expressions.Choice({a, expressions.Sequence({a, again, more}),
                                               expressions.Sequence({a, again, again})}));
  expressions.Define(other, expressions.Choice({a, expressions.Sequence({a, again, again, more})}));
  const Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok());
  Matcher matcher(&*grammar);
  MatchState state = matcher.Start(), next;
  constexpr int kBytes = 100;
  for (int i = 0; i < kBytes; ++i) {
    matcher.Advance(state, 'a', &next);
    std::swap(state, next);
    EXPECT_LE(state.stacks(), Matcher::kMostStacks);
  }
  EXPECT_LE(matcher.work(), (kBytes + 1) * (3 * Matcher::kMostVisits + 2000));
}

// A text of the regex can be divided into repetitions in thousands of ways.
TEST(TokenMasks, EqualTryingEveryTokenInAnAmbiguousRegex) {
  Expressions expressions;
  const RuleId root = expressions.AddRule("root");
  const Characters characters(&expressions, Characters::In::kText);
  const auto body = ReadRegex(R"((\w{1,10}\s?){1,50})", RegexMatches::kWhole, characters);
  ASSERT_TRUE(body.ok());
  expressions.Define(root, *body);
  Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok()) << grammar.status().ToString();
  Prng prng(10);
  constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM0123456789_          \n-";
  const Constraint constraint(*std::move(grammar),
                              std::make_shared<const Vocabulary>(RandomVocabulary(prng, kCharacters, 500)),
                              1 << 20);
  EXPECT_TRUE(constraint.Prepare());
  size_t compared = 0;
  for (int round = 0; round < 4; ++round) compared += CompareAlongWalk(prng, constraint, 25);
  EXPECT_GT(compared, 60u);
}

// What a call gives up is not kept, and comes out the same when there is time for it.
TEST(TokenMasks, AreGivenUpBeyondABudget) {
  Expressions expressions;
  JsonText json(&expressions);
  const RuleId root = expressions.AddRule("root");
  expressions.Define(root, json.ObjectOf(json.Value()));
  const Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok());
  Prng prng(11);
  const Vocabulary vocabulary = RandomVocabulary(prng, "{}[]\",: ae1", 3000);
  TokenMasks masks(&*grammar, &vocabulary);
  const MatchState start = Matcher(&*grammar).Start();
  constexpr uint64_t kFew = 5;
  const TokenMasks::Tried none = masks.Within(kFew, start);
  EXPECT_FALSE(none.mask.has_value());
  EXPECT_GT(none.work, kFew);
  EXPECT_LT(none.work, kFew + 100);
  const TokenMasks::Tried whole = masks.Within(TokenMasks::kMostWork, start);
  ASSERT_TRUE(whole.mask.has_value());
  EXPECT_EQ(**whole.mask, Tried(*grammar, vocabulary, start));
  EXPECT_GT(whole.work, none.work);
  EXPECT_EQ(masks.Within(0, start).mask, whole.mask) << "kept masks take no work";
  EXPECT_EQ(masks.Of(start), *whole.mask);
}

// "x" and letters, or a palindrome, of which a text that goes on to the right has many readings.
Grammar Palindromes() {
  Expressions to;
  const RuleId root = to.AddRule("root"), same = to.AddRule("same");
  const ExprId a = to.Text("a"), b = to.Text("b"), inner = to.Rule(same);
  to.Define(same, to.Choice({a, b, to.Sequence({a, a}), to.Sequence({b, b}), to.Sequence({a, inner, a}),
                             to.Sequence({b, inner, b})}));
  to.Define(root,
            to.Choice({to.Sequence({to.Text("x"), to.Repeat(to.Bytes('a', 'z'), 0, kUnbounded)}), inner}));
  Result<Grammar> grammar = Grammar::Compile(to, root);
  PREFIXD_CHECK(grammar.ok()) << grammar.status().ToString();
  return *std::move(grammar);
}

// Whether a state has a mask does not depend on what was asked before.
TEST(TokenMasks, OfTooMuchWorkAreNone) {
  const Grammar grammar = Palindromes();
  Prng prng(8);
  std::vector<std::string> texts = {"", "a", "b", "x"};
  while (texts.size() < 6000) {
    std::string& text = texts.emplace_back(20, 'a');
    for (char& c : text) c = prng.Chance(0.5) ? 'a' : 'b';
  }
  const auto size = static_cast<int>(texts.size());
  const Vocabulary vocabulary(std::move(texts), {kEnd}, size);
  EXPECT_FALSE(TokenMasks(&grammar, &vocabulary).Prepare());
  TokenMasks kept(&grammar, &vocabulary), forgotten(&grammar, &vocabulary, 100);
  size_t none = 0;
  for (int round = 0; round < 2; ++round) {
    for (const std::string_view text : {"", "x", "xab", "a", "ab", "aaaa"}) {
      Matcher matcher(&grammar);
      MatchState state = matcher.Start(), next;
      for (const char c : text) {
        matcher.Advance(state, static_cast<uint8_t>(c), &next);
        std::swap(state, next);
      }
      const auto mask = kept.Of(state), again = forgotten.Of(state);
      const auto alone = TokenMasks(&grammar, &vocabulary).Of(state);
      EXPECT_EQ(mask == nullptr, alone == nullptr) << text;
      EXPECT_EQ(again == nullptr, alone == nullptr) << text;
      if (alone != nullptr && mask != nullptr) {
        EXPECT_EQ(*mask, *alone) << text;
      }
      none += alone == nullptr ? 1 : 0;
    }
  }
  EXPECT_EQ(none, 8u) << "all but those with an x";
}

// A walk takes what leads from state to state alike at once.
TEST(TokenMasks, OfLongStringsLookAtFewNodes) {
  Expressions expressions;
  JsonText json(&expressions);
  const RuleId root = expressions.AddRule("root");
  expressions.Define(root, json.String());
  const Result<Grammar> grammar = Grammar::Compile(expressions, root);
  ASSERT_TRUE(grammar.ok());
  Prng prng(9);
  const Vocabulary vocabulary = RandomVocabulary(prng, "abcdefghijklmnopqrstuvwxyz", 20'000);
  TokenMasks masks(&*grammar, &vocabulary);
  EXPECT_TRUE(masks.Prepare());
  EXPECT_GT(masks.counts().ahead, 1u);
  EXPECT_LT(masks.counts().nodes, vocabulary.nodes().size());
}

}  // namespace
}  // namespace prefixd::grammar
