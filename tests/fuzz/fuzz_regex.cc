// Reads any bytes as a regex. A text that its grammar accepts is accepted by the automaton that has its
// repetitions written out, too: the bytes of the input choose the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "grammar/grammar.h"
#include "grammar/match.h"
#include "grammar/regex.h"

namespace {

using namespace prefixd::grammar;

constexpr GrammarLimits kLimits = {.nfa_size = 1 << 13, .states = 1 << 12, .edges = 1 << 15, .work = 1 << 18};

void Compare(const Grammar& grammar, const ByteAutomaton& automaton, std::string_view choices) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  std::string text;
  for (const char choice : choices) {
    PREFIXD_CHECK(state.accepts() == automaton.Matches(text)) << text;
    if (state.stacks() == 0) return;
    const auto edges = grammar.edges(state.stack(static_cast<uint8_t>(choice) % state.stacks()).back().state);
    const uint8_t byte = edges[static_cast<uint8_t>(choice) / 2 % edges.size()].high;
    matcher.Advance(state, byte, &next);
    std::swap(state, next);
    text += static_cast<char>(byte);
    PREFIXD_CHECK(!state.dead()) << text;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // In memory of its size, so that a read behind its end is found.
  const std::unique_ptr<char[]> copy(new char[size]);
  std::copy_n(data, size, copy.get());
  const std::string_view text(copy.get(), size);
  for (const auto in : {Characters::In::kText, Characters::In::kJsonString}) {
    Expressions expressions(1 << 14);
    const auto body =
        ReadRegex(text, in == Characters::In::kText ? RegexMatches::kWhole : RegexMatches::kSearch,
                  Characters(&expressions, in));
    if (!body.ok()) continue;
    const RuleId root = expressions.AddRule("root");
    expressions.Define(root, *body);
    const auto grammar = Grammar::Compile(expressions, root, kLimits);
    AutomatonBudget budget{1 << 14};
    const auto automaton = Grammar::CompileAutomaton(expressions, root, &budget);
    if (grammar.ok() && automaton.ok()) Compare(*grammar, *automaton, text.substr(0, 64));
  }
  return 0;
}
