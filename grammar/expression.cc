#include "grammar/expression.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd::grammar {
namespace {

constexpr CodePointRange kParts[] = {
    {0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, kLastCodePoint}};

std::vector<uint8_t> Encoded(uint32_t c) {
  const auto tail = [&](int shift) { return static_cast<uint8_t>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<uint8_t>(c)};
  if (c < 0x800) return {static_cast<uint8_t>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<uint8_t>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<uint8_t>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

// Splits a range whose code points have the same number of bytes, so that every part is a product of byte
// ranges: all bytes after the first one that differs run over 80 .. BF.
void Split(CodePointRange range, std::vector<std::vector<ByteEdge>>* out) {
  const size_t length = Encoded(range.first).size();
  for (size_t tails = length - 1; tails > 0; --tails) {
    const uint32_t mask = (1u << (6 * tails)) - 1;
    if ((range.first & ~mask) == (range.last & ~mask)) continue;
    if ((range.first & mask) != 0) {
      Split({range.first, range.first | mask}, out);
      return Split({(range.first | mask) + 1, range.last}, out);
    }
    if ((range.last & mask) != mask) {
      Split({range.first, (range.last & ~mask) - 1}, out);
      return Split({range.last & ~mask, range.last}, out);
    }
  }
  const std::vector<uint8_t> low = Encoded(range.first), high = Encoded(range.last);
  std::vector<ByteEdge>& sequence = out->emplace_back();
  for (size_t i = 0; i < length; ++i) sequence.push_back({low[i], high[i], 0});
}

}  // namespace

std::vector<std::vector<ByteEdge>> Utf8Sequences(CodePointRange range) {
  std::vector<std::vector<ByteEdge>> out;
  for (const CodePointRange& part : kParts) {
    const CodePointRange common{std::max(range.first, part.first), std::min(range.last, part.last)};
    if (common.first <= common.last) Split(common, &out);
  }
  return out;
}

ExprId Expressions::Add(Expr expr) {
  uint32_t nested = 1;
  for (const ExprId part : expr.of) nested = std::max(nested, nested_[part] + 1);
  if (nodes_.size() >= most_ || nested > kMostNested) overflow_ = true;
  if (overflow_ && nothing_) return *nothing_;
  if (overflow_) {
    nothing_ = static_cast<ExprId>(nodes_.size());
    expr = {};
    nested = 1;
  }
  nodes_.push_back(std::move(expr));
  nested_.push_back(nested);
  return static_cast<ExprId>(nodes_.size() - 1);
}

ExprId Expressions::Text(std::string_view bytes) {
  if (!overflow_) texts_.emplace_back(bytes);
  return Add({.kind = ExprKind::kText, .index = static_cast<uint32_t>(texts_.size() - 1)});
}

ExprId Expressions::CodePoints(std::span<const CodePointRange> ranges) {
  std::vector<ExprId> choice;
  for (const CodePointRange& range : ranges) {
    PREFIXD_CHECK(range.first <= range.last && range.last <= kLastCodePoint) << range.first;
    for (const std::vector<ByteEdge>& bytes : Utf8Sequences(range)) {
      std::vector<ExprId> sequence;
      for (const ByteEdge& byte : bytes) sequence.push_back(Bytes(byte.low, byte.high));
      choice.push_back(sequence.size() == 1 ? sequence[0] : Sequence(std::move(sequence)));
    }
  }
  return choice.size() == 1 ? choice[0] : Choice(std::move(choice));
}

ExprId Expressions::Repeat(ExprId of, uint32_t min, uint32_t max) {
  PREFIXD_CHECK(min <= max) << min << " of " << max;
  return Add({.kind = ExprKind::kRepeat, .min = min, .max = max, .of = {of}});
}

ExprId Expressions::Joined(ExprId separator, std::span<const ExprId> items, ExprId more) {
  std::vector<ExprId> of = {separator, more};
  of.insert(of.end(), items.begin(), items.end());
  return Add({.kind = ExprKind::kJoined, .of = std::move(of)});
}

ExprId Expressions::Automaton(ByteAutomaton automaton) {
  if (!overflow_) automata_.push_back(std::move(automaton));
  return Add({.kind = ExprKind::kAutomaton, .index = static_cast<uint32_t>(automata_.size() - 1)});
}

RuleId Expressions::AddRule(std::string name) {
  rules_.push_back({std::move(name), Nothing()});
  return static_cast<RuleId>(rules_.size() - 1);
}

void Expressions::Define(RuleId rule, ExprId as) {
  PREFIXD_CHECK(rule < rules_.size()) << rule;
  rules_[rule].definition = as;
}

}  // namespace prefixd::grammar
