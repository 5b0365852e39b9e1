#include "grammar/grammar_text.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "grammar/code_points.h"

namespace prefixd::grammar {
namespace {

constexpr size_t kMostBytes = 1 << 20;
constexpr int kMostDepth = 64;
constexpr int kMostQuantifiers = 64;  // of one atom
constexpr uint32_t kMostCount = 1 << 20;

class TextReader {
 public:
  TextReader(std::string_view text, Expressions* to) : text_(text), to_(*to) {}

  Result<RuleId> Read() {
    if (text_.size() > kMostBytes)
      return ResourceExhausted("the grammar has more than " + std::to_string(kMostBytes) + " bytes");
    if (!IsValidUtf8(text_)) return InvalidArgument("the grammar is not UTF-8");
    for (SkipSpace(true); at_ < text_.size(); SkipSpace(true)) PREFIXD_RETURN_IF_ERROR(ReadRule());
    for (const auto& [name, rule] : rules_)
      if (!rule.is_defined) return InvalidArgument("the grammar has no rule '" + name + "'");
    const auto root = rules_.find("root");
    if (root == rules_.end()) return InvalidArgument("the grammar has no rule 'root'");
    return root->second.id;
  }

 private:
  struct Rule {
    RuleId id;
    bool is_defined = false;
  };
  Status Error(std::string what) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(at_), '\n');
    return InvalidArgument(what + " in line " + std::to_string(line) + " of the grammar");
  }
  bool Is(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool Take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }
  void SkipSpace(bool lines);
  std::string Name();
  Rule& RuleOf(const std::string& name);
  Status ReadRule();
  bool BeginsRule() const;
  Result<ExprId> Alternatives(int depth);
  Result<ExprId> Sequence(int depth);
  Result<ExprId> Atom(int depth);
  Result<ExprId> Quantified(ExprId atom);
  Result<ExprId> Literal();
  Result<ExprId> Class();
  Result<uint32_t> Character();
  std::optional<uint32_t> Number();

  const std::string_view text_;
  Expressions& to_;
  std::map<std::string, Rule> rules_;
  size_t at_ = 0;
};

// Comments are space, too. Without `lines`, the end of a line stays.
void TextReader::SkipSpace(bool lines) {
  while (at_ < text_.size()) {
    if (Is('#')) {
      at_ = std::min(text_.find('\n', at_), text_.size());
    } else if (Is(' ') || Is('\t') || (lines && (Is('\n') || Is('\r')))) {
      ++at_;
    } else {
      return;
    }
  }
}

std::string TextReader::Name() {
  const size_t begin = at_;
  const auto is_part = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  while (at_ < text_.size() && is_part(text_[at_])) ++at_;
  return std::string(text_.substr(begin, at_ - begin));
}

TextReader::Rule& TextReader::RuleOf(const std::string& name) {
  const auto [at, is_new] = rules_.try_emplace(name);
  if (is_new) at->second.id = to_.AddRule(name);
  return at->second;
}

Status TextReader::ReadRule() {
  const std::string name = Name();
  if (name.empty()) return Error("a rule needs a name");
  SkipSpace(false);
  if (!Take("::=")) return Error("'::=' is missing after '" + name + "'");
  if (RuleOf(name).is_defined) return Error("the rule '" + name + "' comes twice");
  RuleOf(name).is_defined = true;
  PREFIXD_ASSIGN_OR_RETURN(const ExprId body, Alternatives(0));
  if (at_ < text_.size() && !BeginsRule())
    return Error("'" + std::string(text_.substr(at_, 1)) + "' is unexpected");
  to_.Define(RuleOf(name).id, body);
  return Status::Ok();
}

// Whether a name and '::=' follow.
bool TextReader::BeginsRule() const {
  TextReader ahead(text_, &to_);
  ahead.at_ = at_;
  if (ahead.Name().empty()) return false;
  ahead.SkipSpace(false);
  return ahead.Take("::=");
}

Result<ExprId> TextReader::Alternatives(int depth) {
  std::vector<ExprId> choice;
  do {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId one, Sequence(depth));
    choice.push_back(one);
  } while (Take("|"));
  return choice.size() == 1 ? choice[0] : to_.Choice(std::move(choice));
}

Result<ExprId> TextReader::Sequence(int depth) {
  std::vector<ExprId> parts;
  for (SkipSpace(true); at_ < text_.size() && !Is('|') && !Is(')'); SkipSpace(true)) {
    if (depth == 0 && BeginsRule()) break;
    PREFIXD_ASSIGN_OR_RETURN(const ExprId atom, Atom(depth));
    PREFIXD_ASSIGN_OR_RETURN(const ExprId part, Quantified(atom));
    if (to_.overflow()) return ResourceExhausted("the grammar is too large");
    parts.push_back(part);
  }
  return parts.size() == 1 ? parts[0] : to_.Sequence(std::move(parts));
}

Result<ExprId> TextReader::Atom(int depth) {
  if (Take("\"")) return Literal();
  if (Take("[")) return Class();
  if (Take(".")) return to_.CodePoints(CodePointSet{{0, kLastCodePoint}});
  if (Take("(")) {
    if (depth >= kMostDepth) return ResourceExhausted("the groups of the grammar are nested too deeply");
    PREFIXD_ASSIGN_OR_RETURN(const ExprId inner, Alternatives(depth + 1));
    if (!Take(")")) return Error("a group without ')'");
    return inner;
  }
  const std::string name = Name();
  if (name.empty()) return Error("'" + std::string(text_.substr(at_, 1)) + "' is unexpected");
  return to_.Rule(RuleOf(name).id);
}

std::optional<uint32_t> TextReader::Number() {
  const size_t begin = at_;
  uint32_t value = 0;
  for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
    value = std::min(value * 10 + static_cast<uint32_t>(text_[at_] - '0'), kMostCount + 1);
  return at_ == begin ? std::nullopt : std::optional(value);
}

Result<ExprId> TextReader::Quantified(ExprId atom) {
  for (int i = 0;; ++i) {
    if (i > kMostQuantifiers)
      return ResourceExhausted("the grammar has more than " + std::to_string(kMostQuantifiers) +
                               " quantifiers after another");
    if (Take("*")) {
      atom = to_.Repeat(atom, 0, kUnbounded);
    } else if (Take("+")) {
      atom = to_.Repeat(atom, 1, kUnbounded);
    } else if (Take("?")) {
      atom = to_.Optional(atom);
    } else if (Take("{")) {
      const std::optional<uint32_t> min = Number();
      std::optional<uint32_t> max = min;
      if (Take(",")) max = Is('}') ? kUnbounded : Number();
      if (!max || !Take("}") || min.value_or(0) > *max) return Error("a wrong repetition");
      if (min.value_or(0) > kMostCount || (*max > kMostCount && *max != kUnbounded))
        return ResourceExhausted("the grammar counts beyond " + std::to_string(kMostCount));
      atom = to_.Repeat(atom, min.value_or(0), *max);
    } else {
      return atom;
    }
  }
}

Result<uint32_t> TextReader::Character() {
  if (at_ == text_.size()) return Error("a quote or bracket is not closed");
  if (!Take("\\")) {
    const auto code = static_cast<uint32_t>(Utf8At(text_.data() + at_));
    at_ += Utf8Length(text_[at_]);
    return code;
  }
  const char c = at_ < text_.size() ? text_[at_++] : ' ';
  const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) {
    constexpr std::string_view kEscapes = "ntr\\\"[]-^", kCodes = "\n\t\r\\\"[]-^";
    const size_t at = kEscapes.find(c);
    if (at == std::string_view::npos) return Error("an unknown escape '\\" + std::string(1, c) + "'");
    return static_cast<uint32_t>(kCodes[at]);
  }
  uint64_t code = 0;
  for (size_t i = 0; i < digits; ++i, ++at_) {
    constexpr std::string_view kHex = "0123456789abcdef";
    const char h = at_ < text_.size() ? text_[at_] : ' ';
    const size_t digit = kHex.find(h >= 'A' && h <= 'F' ? static_cast<char>(h + 32) : h);
    if (digit == std::string_view::npos) return Error("a hexadecimal digit is missing");
    code = code * 16 + digit;
  }
  if (code > kLastCodePoint || (code >= 0xD800 && code <= 0xDFFF))
    return Error("an escape that is no character");
  return static_cast<uint32_t>(code);
}

Result<ExprId> TextReader::Literal() {
  std::string bytes;
  while (!Take("\"")) {
    PREFIXD_ASSIGN_OR_RETURN(const uint32_t code, Character());
    AppendUtf8(&bytes, code);
  }
  return to_.Text(bytes);
}

Result<ExprId> TextReader::Class() {
  const bool negated = Take("^");
  CodePointSet set;
  while (!Take("]")) {
    PREFIXD_ASSIGN_OR_RETURN(const uint32_t first, Character());
    uint32_t last = first;
    if (Is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
      ++at_;
      PREFIXD_ASSIGN_OR_RETURN(last, Character());
    }
    if (last < first) return Error("a wrong range in a class");
    set.push_back({first, last});
  }
  set = Normal(std::move(set));
  if (negated) set = Complement(set);
  return set.empty() ? to_.Nothing() : to_.CodePoints(set);
}

}  // namespace

Result<RuleId> ReadGrammarText(std::string_view text, Expressions* to) { return TextReader(text, to).Read(); }

}  // namespace prefixd::grammar
