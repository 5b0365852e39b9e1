// The grammars of JSON Schemas as a filter, for comparison with other implementations. It reads lines of JSON
// and answers each line with one line.
//   in:  {"schema": {...}, "strict": bool, "texts": ["..."]}
//   out: {"texts": ["...", null], "ignored": ["'not'"]}
//        or {"error": "...", "code": "unsupported"}, when the schema is refused
// For each text `texts` has the text itself when it matches, null when no text that begins with it does, and
// otherwise the text with as few bytes added as make it match.
#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/check.h"
#include "grammar/grammar.h"
#include "grammar/json_schema.h"
#include "grammar/match.h"

namespace prefixd::grammar {
namespace {

namespace json = boost::json;

// How many bytes the shortest way to the end takes.
class Distances {
 public:
  explicit Distances(const Grammar& grammar) : grammar_(grammar), to_end_(grammar.states(), kFar) {
    for (bool changes = true; changes;) {
      changes = false;
      for (StateId state = 0; state < grammar.states(); ++state) {
        const uint64_t found = Measure(state);
        changes |= found < to_end_[state];
        to_end_[state] = std::min(to_end_[state], found);
      }
    }
  }

  // After a byte that leads the top of the stack to the state `top`.
  uint64_t Of(std::span<const Frame> stack, StateId top) const {
    uint64_t sum = to_end_[top];
    for (const Frame& frame : stack.first(stack.size() - 1)) {
      const Grammar::Loop* loop = grammar_.loop(frame.state);
      sum += loop == nullptr ? to_end_[frame.state] : Rest(*loop, frame.count + 1);
    }
    return sum;
  }

 private:
  static constexpr uint64_t kFar = uint64_t{1} << 40;

  uint64_t Rest(const Grammar::Loop& loop, uint32_t count) const {
    return std::min(kFar, (loop.min - std::min(loop.min, count)) * to_end_[loop.body]);
  }
  uint64_t Measure(StateId state) const {
    if (grammar_.is_final(state)) return 0;
    if (const Grammar::Loop* loop = grammar_.loop(state)) return Rest(*loop, 0);
    uint64_t least = kFar;
    for (const ByteEdge& edge : grammar_.edges(state)) least = std::min(least, 1 + to_end_[edge.to]);
    for (const Grammar::Call& call : grammar_.calls(state)) {
      const uint64_t after = call.resume == Grammar::kNoState ? 0 : to_end_[call.resume];
      least = std::min(least, to_end_[call.start] + after);
    }
    return least;
  }

  const Grammar& grammar_;
  std::vector<uint64_t> to_end_;
};

// The byte after which the end is closest.
char NextByte(const Grammar& grammar, const Distances& distances, const MatchState& state) {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  uint8_t byte = 0;
  for (size_t i = 0; i < state.stacks(); ++i) {
    for (const ByteEdge& edge : grammar.edges(state.stack(i).back().state)) {
      const uint64_t rest = distances.Of(state.stack(i), edge.to);
      if (rest < least) std::tie(least, byte) = std::pair(rest, edge.low);
    }
  }
  return static_cast<char>(byte);
}

json::value Completed(const Grammar& grammar, const Distances& distances, std::string text) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  const auto advance = [&](char c) {
    matcher.Advance(state, static_cast<uint8_t>(c), &next);
    std::swap(state, next);
  };
  for (const char c : text) advance(c);
  if (state.dead()) return nullptr;
  while (!state.accepts()) {
    text += NextByte(grammar, distances, state);
    advance(text.back());
    PREFIXD_CHECK(!state.dead()) << text;
  }
  return json::value(text);
}

json::object Refused(const Status& status) {
  return {{"error", status.message()}, {"code", CodeName(status.code())}};
}

json::object Answer(const json::object& request) {
  Expressions expressions;
  const bool strict = request.at("strict").as_bool();
  const auto read = ReadJsonSchema(request.at("schema"), {.strict = strict}, &expressions);
  if (!read.ok()) return Refused(read.status());
  const auto grammar = Grammar::Compile(expressions, read->root);
  if (!grammar.ok()) return Refused(grammar.status());
  const Distances distances(*grammar);
  json::array texts;
  for (const json::value& text : request.at("texts").as_array())
    texts.push_back(Completed(*grammar, distances, json::value_to<std::string>(text)));
  return {{"texts", std::move(texts)}, {"ignored", json::value_from(read->ignored)}};
}

}  // namespace
}  // namespace prefixd::grammar

int main() {
  std::ios::sync_with_stdio(false);
  boost::json::parse_options options;
  options.max_depth = 200;
  for (std::string line; std::getline(std::cin, line);)
    std::cout << prefixd::grammar::Answer(boost::json::parse(line, {}, options).as_object()) << '\n';
  return 0;
}
