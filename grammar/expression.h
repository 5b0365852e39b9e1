// Expressions: a set of texts, described by nodes in one arena and by rules that may refer to each other. The
// readers of regexes, grammar texts and JSON Schemas make one; grammar.h compiles it. One thread.
//
// Invariants
//   1. A node refers to nodes that were made before it, and to rules. So only rules recur.
//   2. The arena has at most `most_nodes` nodes, which are nested at most kMostNested deep, so that functions
//      may recur over them. Beyond that overflow() is true, every further node is Nothing(), and Compile
//      refuses the whole. What calls in a loop stops then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/byte_automaton.h"

namespace prefixd::grammar {

using ExprId = uint32_t;
using RuleId = uint32_t;
inline constexpr uint32_t kUnbounded = std::numeric_limits<uint32_t>::max();

struct CodePointRange {
  uint32_t first, last;  // both included
};
inline constexpr uint32_t kLastCodePoint = 0x10FFFF;

enum class ExprKind : uint8_t {
  kNothing,
  kText,
  kBytes,
  kSequence,
  kChoice,
  kRepeat,
  kJoined,
  kRule,
  kAutomaton
};

struct Expr {
  ExprKind kind = ExprKind::kNothing;
  uint8_t low = 0, high = 0;  // kBytes: one byte in this range
  uint32_t min = 0, max = 0;  // kRepeat
  uint32_t index = 0;         // kRule: RuleId; kText, kAutomaton: of the arena
  std::vector<ExprId> of;     // kSequence, kChoice; one of kRepeat; separator, more and items of kJoined
};

class Expressions {
 public:
  // A schema nests some five nodes for each of its levels, and a name of 200 bytes nests 400.
  static constexpr uint32_t kMostNested = 2000;

  explicit Expressions(size_t most_nodes = 1 << 18) : most_(most_nodes) {}

  ExprId Nothing() { return Add({}); }  // no text at all
  ExprId Empty() { return Text(""); }   // the empty text
  ExprId Text(std::string_view bytes);
  ExprId Bytes(uint8_t low, uint8_t high) {
    return Add({.kind = ExprKind::kBytes, .low = low, .high = high});
  }
  // One code point of the ranges, in UTF-8. They are within 0 .. kLastCodePoint; surrogates do not count.
  ExprId CodePoints(std::span<const CodePointRange> ranges);
  ExprId Sequence(std::vector<ExprId> of) { return Add({.kind = ExprKind::kSequence, .of = std::move(of)}); }
  ExprId Choice(std::vector<ExprId> of) { return Add({.kind = ExprKind::kChoice, .of = std::move(of)}); }
  // From min to max times; kUnbounded: any number. Requires min <= max.
  ExprId Repeat(ExprId of, uint32_t min, uint32_t max);
  ExprId Optional(ExprId of) { return Repeat(of, 0, 1); }
  // The items in their order, with a separator between those that are there: one made by Optional may be left
  // out. Any number of `more` follow, which may be Nothing(). Takes linear space. Requires that the other
  // items, and an item without its Optional, do not match the empty text.
  ExprId Joined(ExprId separator, std::span<const ExprId> items, ExprId more);
  ExprId Rule(RuleId rule) { return Add({.kind = ExprKind::kRule, .index = rule}); }
  ExprId Automaton(ByteAutomaton automaton);

  // Adds a rule without a definition, which means Nothing(). The name is for messages.
  RuleId AddRule(std::string name);
  void Define(RuleId rule, ExprId as);

  bool overflow() const { return overflow_; }
  const Expr& at(ExprId id) const { return nodes_[id]; }
  const std::string& text(const Expr& expr) const { return texts_[expr.index]; }
  const ByteAutomaton& automaton(const Expr& expr) const { return automata_[expr.index]; }
  size_t size() const { return nodes_.size(); }
  size_t rules() const { return rules_.size(); }
  const std::string& name(RuleId rule) const { return rules_[rule].name; }
  ExprId definition(RuleId rule) const { return rules_[rule].definition; }

 private:
  struct Named {
    std::string name;
    ExprId definition;
  };
  ExprId Add(Expr expr);

  const size_t most_;
  bool overflow_ = false;
  std::optional<ExprId> nothing_;  // what further nodes are after an overflow
  std::vector<Expr> nodes_;
  std::vector<uint32_t> nested_;  // by node: how many nodes are below one another, with it
  std::vector<std::string> texts_;
  std::vector<ByteAutomaton> automata_;
  std::vector<Named> rules_;
};

// The byte sequences of UTF-8 for a range of code points, without the surrogates: each of them is a sequence
// of byte ranges.
std::vector<std::vector<ByteEdge>> Utf8Sequences(CodePointRange range);

}  // namespace prefixd::grammar
