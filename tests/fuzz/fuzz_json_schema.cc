// Compiles any JSON object as a JSON Schema, strict and not. A grammar that comes out has no dead ends, and
// what it accepts is JSON: the bytes of the input choose a way through it.
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json_fields.h"
#include "grammar/grammar.h"
#include "grammar/json_schema.h"
#include "grammar/match.h"

namespace {

using namespace prefixd::grammar;

// Bytes that the top of some stack takes, in the order of the stacks and edges.
std::string NextBytes(const Grammar& grammar, const MatchState& state) {
  std::string bytes;
  for (size_t i = 0; i < state.stacks(); ++i)
    for (const prefixd::grammar::ByteEdge& edge : grammar.edges(state.stack(i).back().state))
      bytes += static_cast<char>(edge.low);
  return bytes;
}

void Walk(const Grammar& grammar, std::string_view choices) {
  Matcher matcher(&grammar);
  MatchState state = matcher.Start(), next;
  std::string text;
  for (const char choice : choices) {
    PREFIXD_CHECK(!state.dead()) << text;
    if (state.accepts()) {
      boost::system::error_code failed;
      boost::json::parse(text, failed);
      PREFIXD_CHECK(!failed) << text;
    }
    const std::string bytes = NextBytes(grammar, state);
    if (bytes.empty()) return;
    const char byte = bytes[static_cast<uint8_t>(choice) % bytes.size()];
    matcher.Advance(state, static_cast<uint8_t>(byte), &next);
    std::swap(state, next);
    text += byte;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto schema = prefixd::ParseJsonObject("schema: ", text, {.max_depth = 40});
  if (!schema.ok()) return 0;
  for (const bool strict : {false, true}) {
    Expressions expressions(1 << 14);
    const auto read = ReadJsonSchema(boost::json::value(*schema), {.strict = strict}, &expressions);
    if (!read.ok()) {
      PREFIXD_CHECK(!read.status().message().empty());
      continue;
    }
    PREFIXD_CHECK(!strict || read->ignored.empty());
    const auto grammar = Grammar::Compile(
        expressions, read->root, {.nfa_size = 1 << 13, .states = 1 << 12, .edges = 1 << 15, .work = 1 << 18});
    if (grammar.ok()) Walk(*grammar, text);
  }
  return 0;
}
