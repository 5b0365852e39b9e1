#include "grammar/regex.h"

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/utf8.h"

namespace prefixd::grammar {
namespace {

constexpr size_t kMostBytes = 64 << 10;
constexpr int kMostDepth = 64;
constexpr uint32_t kMostCount = 1 << 20;

class RegexReader {
 public:
  RegexReader(std::string_view text, RegexMatches matches, const Characters& characters)
      : text_(text), matches_(matches), characters_(characters), to_(characters.to()) {}

  Result<ExprId> Read() {
    if (text_.size() > kMostBytes)
      return ResourceExhausted("the regex has more than " + std::to_string(kMostBytes) + " bytes");
    if (!IsValidUtf8(text_)) return InvalidArgument("the regex is not UTF-8");
    PREFIXD_ASSIGN_OR_RETURN(const ExprId all, Alternatives(0));
    if (at_ < text_.size()) return Error("unmatched ')'");
    return all;
  }

 private:
  Status Error(std::string what) const {
    return InvalidArgument(what + " at byte " + std::to_string(at_) + " of the regex");
  }
  Status NotSupported(std::string_view what) const {
    return Unsupported("the regex has " + std::string(what) + ", which is not supported, at byte " +
                       std::to_string(at_));
  }
  bool Is(char c) const { return at_ < text_.size() && text_[at_] == c; }
  bool Take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }

  Result<ExprId> Alternatives(int depth);
  Result<ExprId> Alternative(int depth);
  Result<ExprId> Atom(int depth);
  Result<ExprId> Group(int depth);
  Result<ExprId> Quantified(ExprId atom);
  Result<std::optional<std::pair<uint32_t, uint32_t>>> Count();
  std::optional<uint32_t> Number();
  Result<CodePointSet> Class();
  Result<CodePointSet> Escape(bool in_class, bool most);
  Result<uint32_t> Hex(size_t digits);
  uint32_t CodePoint();

  const std::string_view text_;
  const RegexMatches matches_;
  const Characters& characters_;
  Expressions& to_;
  size_t at_ = 0;
};

Result<ExprId> RegexReader::Alternatives(int depth) {
  std::vector<ExprId> choice;
  do {
    PREFIXD_ASSIGN_OR_RETURN(const ExprId one, Alternative(depth));
    choice.push_back(one);
  } while (Take("|"));
  return choice.size() == 1 ? choice[0] : to_.Choice(std::move(choice));
}

Result<ExprId> RegexReader::Alternative(int depth) {
  const bool searches = matches_ == RegexMatches::kSearch && depth == 0;
  std::vector<ExprId> parts;
  bool from_start = false, to_end = false;
  if (depth == 0) {
    while (Take("^")) from_start = true;
  }
  while (at_ < text_.size() && !Is('|') && !Is(')')) {
    if (Is('^')) return NotSupported("'^' inside an alternative");
    if (Take("$")) {
      to_end = true;
      if (depth > 0 || (at_ < text_.size() && !Is('|') && !Is('$')))
        return NotSupported("'$' inside an alternative");
      continue;
    }
    PREFIXD_ASSIGN_OR_RETURN(const ExprId atom, Atom(depth));
    PREFIXD_ASSIGN_OR_RETURN(const ExprId part, Quantified(atom));
    if (to_.overflow()) return ResourceExhausted("the regex is too large");
    parts.push_back(part);
  }
  if (searches && !from_start) parts.insert(parts.begin(), to_.Repeat(characters_.Any(), 0, kUnbounded));
  if (searches && !to_end) parts.push_back(to_.Repeat(characters_.Any(), 0, kUnbounded));
  return parts.size() == 1 ? parts[0] : to_.Sequence(std::move(parts));
}

Result<ExprId> RegexReader::Group(int depth) {
  if (depth >= kMostDepth) return ResourceExhausted("the groups of the regex are nested too deeply");
  if (Take("?")) {
    if (Take("P<") ||
        (Is('<') && !text_.substr(at_).starts_with("<=") && !text_.substr(at_).starts_with("<!"))) {
      const size_t end = text_.find('>', at_);
      if (end == std::string_view::npos) return Error("a group name without '>'");
      at_ = end + 1;
    } else if (!Take(":")) {
      return NotSupported("lookaround or flags: '(?" + std::string(text_.substr(at_, 1)) + "'");
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(const ExprId inner, Alternatives(depth + 1));
  if (!Take(")")) return Error("a group without ')'");
  return inner;
}

Result<ExprId> RegexReader::Atom(int depth) {
  if (Take("(")) return Group(depth);
  if (Take("[")) {
    PREFIXD_ASSIGN_OR_RETURN(const CodePointSet set, Class());
    return set.empty() ? to_.Nothing() : characters_.OneOf(set);
  }
  if (Take(".")) return characters_.OneOf(Complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
  if (Is('*') || Is('+') || Is('?')) return Error("a quantifier after nothing");
  if (Take("\\")) {
    PREFIXD_ASSIGN_OR_RETURN(const CodePointSet set, Escape(false, false));
    return characters_.OneOf(set);
  }
  const uint32_t code = CodePoint();
  return characters_.OneOf({{code, code}});
}

// {m}, {m,} or {m,n}; nothing where the brace stands for itself.
Result<std::optional<std::pair<uint32_t, uint32_t>>> RegexReader::Count() {
  using Counts = std::optional<std::pair<uint32_t, uint32_t>>;
  const size_t begin = at_;
  const auto plain = [&] {
    at_ = begin;
    return Counts();
  };
  if (!Take("{")) return plain();
  const std::optional<uint32_t> min = Number();
  if (!min) return plain();
  std::optional<uint32_t> max = min;
  if (Take(",")) {
    max = Number();
    if (!max && Is('}')) max = kUnbounded;
  }
  if (!max || !Take("}")) return plain();
  if (*min > *max) return Error("a quantifier whose bounds are in the wrong order");
  if (*min > kMostCount || (*max > kMostCount && *max != kUnbounded))
    return ResourceExhausted("the regex counts beyond " + std::to_string(kMostCount));
  return Counts({*min, *max});
}

std::optional<uint32_t> RegexReader::Number() {
  const size_t begin = at_;
  uint32_t value = 0;
  for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
    value = std::min(value * 10 + static_cast<uint32_t>(text_[at_] - '0'), kMostCount + 1);
  return at_ == begin ? std::nullopt : std::optional(value);
}

Result<ExprId> RegexReader::Quantified(ExprId atom) {
  uint32_t min = 1, max = 1;
  if (Take("*")) {
    min = 0, max = kUnbounded;
  } else if (Take("+")) {
    max = kUnbounded;
  } else if (Take("?")) {
    min = 0;
  } else {
    PREFIXD_ASSIGN_OR_RETURN(const auto count, Count());
    if (!count) return atom;
    std::tie(min, max) = *count;
  }
  Take("?");  // lazy: the same texts
  if (Is('+')) return NotSupported("a possessive quantifier");
  if (Is('*') || Is('?')) return Error("two quantifiers after another");
  if (Is('{')) {
    PREFIXD_ASSIGN_OR_RETURN(const auto again, Count());
    if (again) return Error("two quantifiers after another");
  }
  return to_.Repeat(atom, min, max);
}

uint32_t RegexReader::CodePoint() {
  const auto code = static_cast<uint32_t>(Utf8At(text_.data() + at_));
  at_ += Utf8Length(text_[at_]);
  return code;
}

Result<uint32_t> RegexReader::Hex(size_t digits) {
  uint32_t value = 0;
  for (size_t i = 0; i < digits; ++i, ++at_) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const char c = at_ < text_.size() ? text_[at_] : ' ';
    const size_t digit = kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c);
    if (digit == std::string_view::npos) return Error("a hexadecimal digit is missing");
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  if (value > kLastCodePoint) return Error("a code point beyond Unicode");
  return value;
}

// After the backslash. `most`: of a named class, what some engine counts.
Result<CodePointSet> RegexReader::Escape(bool in_class, bool most) {
  if (at_ == text_.size()) return Error("a backslash at the end");
  const auto one = [](uint32_t code) { return CodePointSet{{code, code}}; };
  const char c = text_[at_];
  if (std::string_view("dwsDWS").find(c) != std::string_view::npos) {
    ++at_;
    return NamedClass(c, most);
  }
  constexpr std::string_view kControls = "ntrfv0", kCodes("\n\t\r\f\v\0", 6);
  if (const size_t at = kControls.find(c); at != std::string_view::npos) {
    ++at_;
    return one(static_cast<uint8_t>(kCodes[at]));
  }
  if (c == 'x' || c == 'u') {
    ++at_;
    if (c == 'u' && Take("{")) {
      const size_t end = text_.find('}', at_);
      if (end == std::string_view::npos || end - at_ > 6 || end == at_) return Error("a wrong \\u{}");
      PREFIXD_ASSIGN_OR_RETURN(const uint32_t code, Hex(end - at_));
      ++at_;
      return one(code);
    }
    PREFIXD_ASSIGN_OR_RETURN(const uint32_t code, Hex(c == 'x' ? 2 : 4));
    if (code >= 0xD800 && code <= 0xDFFF) return NotSupported("half of a surrogate pair");
    return one(code);
  }
  if (in_class && c == 'b') {
    ++at_;
    return one('\b');
  }
  const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  if (is_letter) return NotSupported("'\\" + std::string(1, c) + "'");
  return one(CodePoint());
}

// After the opening bracket.
Result<CodePointSet> RegexReader::Class() {
  const bool negated = Take("^");
  CodePointSet set;
  const auto item = [&]() -> Result<CodePointSet> {
    if (Take("\\")) return Escape(true, negated);
    const uint32_t code = CodePoint();
    return CodePointSet{{code, code}};
  };
  const auto is_one = [](const CodePointSet& s) { return s.size() == 1 && s[0].first == s[0].last; };
  while (!Is(']')) {
    if (at_ == text_.size()) return Error("a class without ']'");
    PREFIXD_ASSIGN_OR_RETURN(const CodePointSet low, item());
    const bool is_range = Is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']';
    if (!is_range || !is_one(low)) {
      set.insert(set.end(), low.begin(), low.end());
      continue;
    }
    ++at_;
    PREFIXD_ASSIGN_OR_RETURN(const CodePointSet high, item());
    if (!is_one(high) || high[0].first < low[0].first) return Error("a wrong range in a class");
    set.push_back({low[0].first, high[0].first});
  }
  ++at_;
  set = Normal(std::move(set));
  return negated ? Complement(set) : set;
}

}  // namespace

Result<ExprId> ReadRegex(std::string_view regex, RegexMatches matches, const Characters& characters) {
  return RegexReader(regex, matches, characters).Read();
}

}  // namespace prefixd::grammar
