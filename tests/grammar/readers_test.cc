// What regexes and grammar texts match, and which are refused.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/grammar_text.h"
#include "grammar/match.h"
#include "grammar/regex.h"
#include "grammar/subsets.h"

namespace prefixd::grammar {
namespace {

bool Matches(const Grammar& grammar, const std::string& text) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  for (const char c : text) {
    matcher.Advance(state, static_cast<uint8_t>(c), &next);
    std::swap(state, next);
  }
  return state.accepts();
}

Result<Grammar> OfRegex(const std::string& regex) {
  Expressions to;
  const RuleId root = to.AddRule("root");
  PREFIXD_ASSIGN_OR_RETURN(const ExprId body,
                           ReadRegex(regex, RegexMatches::kWhole, Characters(&to, Characters::In::kText)));
  to.Define(root, body);
  return Grammar::Compile(to, root);
}

Result<Grammar> OfText(const std::string& text) {
  Expressions to;
  PREFIXD_ASSIGN_OR_RETURN(const RuleId root, ReadGrammarText(text, &to));
  return Grammar::Compile(to, root);
}

struct Case {
  std::string source;
  std::vector<std::string> matching, others;
};

template <typename Read>
void Check(const Read& read, const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const Result<Grammar> grammar = read(c.source);
    ASSERT_TRUE(grammar.ok()) << c.source << ": " << grammar.status().ToString();
    for (const std::string& text : c.matching)
      EXPECT_TRUE(Matches(*grammar, text)) << c.source << " " << text;
    for (const std::string& text : c.others) EXPECT_FALSE(Matches(*grammar, text)) << c.source << " " << text;
  }
}

TEST(Regex, Matches) {
  Check(OfRegex, {
                     {"abc|d", {"abc", "d"}, {"ab", "abcd", ""}},
                     {"^a*b+c?$", {"b", "aabbc"}, {"a", "bcc"}},
                     {"(ab){2,3}", {"abab", "ababab"}, {"ab", "abababab"}},
                     {"(?:x|yy)*?z", {"z", "xyyz"}, {"yz"}},
                     {"(?<name>a)(?P<other>b)", {"ab"}, {"a"}},
                     {"[^a-c]", {"d", "\xC3\xA4", "\n"}, {"a", "", "dd"}},
                     {"[\\d.]+", {"1.5"}, {"a"}},
                     {"\\w\\s\\S\\D\\W", {"a b!!", "_\txx "}, {"a bb1"}},
                     {".", {"a", "\xF0\x9F\x98\x80"}, {"\n", "", "ab"}},
                     {"\\u00e4\\x41\\u{1F600}\\.",
                      {"\xC3\xA4"
                       "A\xF0\x9F\x98\x80."},
                      {""}},
                     {"a{,2}", {"a{,2}"}, {"a", "aa"}},
                     {"", {""}, {"a"}},
                     {"(a|b)*abb", {"abb", "ababb"}, {"ab"}},
                     {"a{100,200}",
                      {std::string(100, 'a'), std::string(200, 'a')},
                      {std::string(99, 'a'), std::string(201, 'a')}},
                     {"(a|aa){3,70}", {"aaa", std::string(140, 'a')}, {"aa", std::string(141, 'a')}},
                     {"(a?){70}b", {"b", std::string(70, 'a') + "b"}, {std::string(71, 'a') + "b"}},
                 });
}

TEST(Regex, IsRefusedByName) {
  for (const std::string regex :
       {"(", ")", "a)", "[a", "*a", "a**", "a{3,2}", "\\", "[z-a]", "\\xZZ", "(?<a"}) {
    const Result<Grammar> grammar = OfRegex(regex);
    EXPECT_EQ(grammar.ok() ? Code::kOk : grammar.status().code(), Code::kInvalidArgument) << regex;
  }
  for (const std::string regex :
       {"(?=a)", "(?<!a)", "(?i)a", "\\1", "\\ba", "\\p{L}", "a^b", "a$b", "a++", "\\ud800"}) {
    const Result<Grammar> grammar = OfRegex(regex);
    EXPECT_EQ(grammar.ok() ? Code::kOk : grammar.status().code(), Code::kUnsupported) << regex;
  }
}

TEST(GrammarText, Matches) {
  Check(OfText,
        {
            {"root ::= \"yes\" | \"no\"", {"yes", "no"}, {"", "yesno"}},
            {"# sums\nroot ::= term (\"+\" term)*\nterm ::= [0-9]{1,2} | \"(\" root \")\"  # recursion\n",
             {"1", "12+(3+4)", "((7))"},
             {"123", "(1", "1+"}},
            {"root ::= \"a\" b? | c\nb ::= \"\\x62\"\nc ::= [^\\]\\n]+ \"\\\"\"",
             {"a", "ab", "xyz\""},
             {"]\"", "b"}},
            {"root ::= . \"\\u00e4\"\n", {"x\xC3\xA4"}, {"x"}},
            {"root ::=\n  \"a\"\n  | \"b\"\n", {"a", "b"}, {"ab"}},
        });
}

TEST(GrammarText, IsRefusedWithItsPlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a ::= \"x\"", "no rule 'root'"},
      {"root ::= missing", "'missing'"},
      {"root ::= \"x", "not closed"},
      {"\n\nroot ::= )", "line 3"},
      {"root ::= root \"a\" | \"b\"", "begins with itself"},
      {"root ::= a \"x\" | \"y\"\na ::= \"b\"? root", "begins with itself"},
      {"root ::= \"a\"\nroot ::= \"b\"", "twice"},
      {"root ::= \"a\" root", "no text matches"},
      {"root ::= [z-a]", "range"},
  };
  for (const auto& [text, message] : cases) {
    const Result<Grammar> grammar = OfText(text);
    ASSERT_FALSE(grammar.ok()) << text;
    EXPECT_EQ(grammar.status().code(), Code::kInvalidArgument);
    EXPECT_NE(grammar.status().message().find(message), std::string::npos) << grammar.status().message();
  }
}

// Functions recur over expressions, so a text cannot nest them without bound.
TEST(GrammarText, NestsItsExpressionsOnlySoDeep) {
  const auto code_of = [](const Result<Grammar>& grammar) {
    return grammar.ok() ? Code::kOk : grammar.status().code();
  };
  EXPECT_EQ(code_of(OfText("root ::= \"a\"" + std::string(64, '?'))), Code::kOk);
  for (const char* quantifier : {"?", "*", "+", "{2,3}"}) {
    std::string text = "root ::= \"a\"";
    for (int i = 0; i < 50'000; ++i) text += quantifier;
    EXPECT_EQ(code_of(OfText(text)), Code::kResourceExhausted) << quantifier;
  }
  std::string groups;
  for (int i = 0; i < 60; ++i) groups = "(" + groups + "\"a\"" + ")" + std::string(60, '?');
  EXPECT_EQ(code_of(OfText("root ::= " + groups)), Code::kResourceExhausted);

  Expressions to;
  ExprId nested = to.Text("a");
  for (int i = 0; i < 1'000'000; ++i) nested = to.Optional(nested);
  EXPECT_TRUE(to.overflow());
  EXPECT_LE(to.size(), Expressions::kMostNested + 1u);
}

// Looking at edges takes time, also at those that lead where others do.
TEST(Subsets, CountTheEdgesThatTheyLookAt) {
  constexpr size_t kEdges = 1000;
  Nfa nfa;
  const uint32_t end = nfa.BeforeByte('a', 'b', nfa.Add());
  const uint32_t start = nfa.Before(std::vector<uint32_t>(kEdges, end));
  EXPECT_GE(nfa.size(), kEdges);
  size_t work = 10 * kEdges;
  EXPECT_TRUE(Subsets(nfa, start, end, 100, &work).Run().ok());
  EXPECT_LE(work, 9 * kEdges);
  work = kEdges;
  const auto refused = Subsets(nfa, start, end, 100, &work).Run();
  EXPECT_EQ(refused.ok() ? Code::kOk : refused.status().code(), Code::kResourceExhausted);
}

// What a reader writes beyond the bound is not kept, and it stops.
TEST(Regex, OfTooManyNodesIsRefused) {
  std::string regex;
  while (regex.size() < 64'000) regex += "[^a]";
  const Result<Grammar> grammar = OfRegex(regex);
  EXPECT_EQ(grammar.ok() ? Code::kOk : grammar.status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace prefixd::grammar
