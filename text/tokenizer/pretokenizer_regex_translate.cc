// Translates the Ruby syntax of Oniguruma to PCRE2, construct by construct. A construct that is not listed is
// refused.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "text/tokenizer/pretokenizer_regex.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

constexpr std::string_view kCategories[] = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P",  "Pc", "Pd",
    "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "Cc", "Cf",
};
// Scripts that PCRE2 (Unicode 14) knows completely except for the given ranges.
struct Script {
  std::string_view name, newer;
};
constexpr Script kScripts[] = {
    {"Arabic", "\\x{897}\\x{10ec2}-\\x{10ec4}\\x{10efc}-\\x{10eff}"},
    {"Armenian", ""},
    {"Bengali", ""},
    {"Bopomofo", ""},
    {"Cyrillic", "\\x{1c89}-\\x{1c8a}\\x{1e030}-\\x{1e06d}\\x{1e08f}"},
    {"Devanagari", "\\x{11b00}-\\x{11b09}"},
    {"Ethiopic", ""},
    {"Georgian", ""},
    {"Greek", ""},
    {"Gujarati", ""},
    {"Gurmukhi", ""},
    {"Han", "\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"},
    {"Hangul", ""},
    {"Hebrew", ""},
    {"Hiragana", "\\x{1b132}"},
    {"Katakana", "\\x{1b155}"},
    {"Khmer", ""},
    {"Lao", "\\x{ece}"},
    {"Latin", "\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{1df25}-\\x{1df2a}"},
    {"Malayalam", ""},
    {"Myanmar", "\\x{116d0}-\\x{116e3}"},
    {"Sinhala", ""},
    {"Tamil", ""},
    {"Telugu", ""},
    {"Thai", ""},
    {"Tibetan", ""},
};
// \w in a class. Outside of classes, Oniguruma also matches the numbers of Latin-1 (superscripts, fractions).
constexpr std::string_view kEnclosedLetters =
    "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";
constexpr std::string_view kLatin1Numbers = "\\xb2\\xb3\\xb9\\xbc-\\xbe";
// Letters that together fold to one code point (U+00DF, the ligatures U+FB00 to U+FB06). In Oniguruma
// `(?i:ss)` matches U+00DF, in PCRE2 it does not.
constexpr std::string_view kFoldingPairs[] = {"ss", "ff", "fi", "fl", "st"};

bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// Returns the members of a general category as the inside of a PCRE2 class.
std::string CategoryMembers(std::string_view category) {
  std::string out = "\\p{" + std::string(category) + "}";
  unsigned first = 1, last = 0;  // adjacent ranges are merged, because each costs time at every character
  const auto end_range = [&] {
    char text[32];
    if (first <= last) out.append(text, std::snprintf(text, sizeof text, "\\x{%x}-\\x{%x}", first, last));
  };
  for (const CodePointsAfterUnicode14& range : CodePointsNewerThanUnicode14()) {
    if (!std::string_view(range.category).starts_with(category)) continue;
    if (range.first != last + 1) {
      end_range();
      first = range.first;
    }
    last = range.last;
  }
  end_range();
  return out;
}

std::string WordMembers(bool in_class) {
  std::string out;
  for (const char* category : {"L", "M", "Nd", "Nl", "Pc"}) out += CategoryMembers(category);
  out += kEnclosedLetters;
  if (!in_class) out += kLatin1Numbers;
  return out;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> Run() {
    while (at_ < in_.size()) PREFIXD_RETURN_IF_ERROR(Step());
    if (!scopes_.empty()) return Bad("an unclosed group");
    return std::move(out_);
  }

 private:
  Status Refuse(std::string_view what) const {
    return Unsupported("regex \"" + std::string(in_) + "\": " + std::string(what) + " at byte " +
                       std::to_string(at_) + " is not supported by prefixd");
  }
  Status Bad(std::string_view what) const {
    return Corrupt("regex \"" + std::string(in_) + "\": " + std::string(what) + " at byte " +
                   std::to_string(at_));
  }
  char Peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  void Copy(size_t count) {
    out_ += in_.substr(at_, count);
    at_ += count;
  }

  Status Step() {
    const char c = Peek();
    if (c != '\\' && c != '[' && c != '(' && c != ')' && c != '{') return Literal();
    last_folded_ = '\0';
    if (c == '[') return Class();
    if (c == '(') return OpenGroup();
    if (c == '{') return Interval();
    if (c == '\\') return Escape(/*in_class=*/false);
    if (scopes_.empty()) return Bad("a closing parenthesis without an opening one");
    ignore_case_ = scopes_.back();
    scopes_.pop_back();
    Copy(1);
    return Status::Ok();
  }

  // A character that stands for itself, or one of . ^ $ | * + ? which mean the same in both.
  Status Literal() {
    const char c = Peek();
    if (ignore_case_) {
      if (static_cast<signed char>(c) < 0) return Refuse("a letter beyond ASCII without regard to case");
      const char pair[2] = {last_folded_, Lower(c)};
      if (std::find(std::begin(kFoldingPairs), std::end(kFoldingPairs), std::string_view(pair, 2)) !=
          std::end(kFoldingPairs)) {
        return Refuse("letters that fold to one character");
      }
      last_folded_ = IsAsciiLetter(c) ? Lower(c) : '\0';
    }
    Copy(Utf8Length(c));
    return Status::Ok();
  }

  Status OpenGroup() {
    scopes_.push_back(ignore_case_);
    if (Peek(1) != '?') {
      Copy(1);
      return Status::Ok();
    }
    for (const std::string_view open : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (!in_.substr(at_).starts_with(open)) continue;
      if (open == "(?i:") ignore_case_ = true;
      if (open == "(?-i:") ignore_case_ = false;
      Copy(open.size());
      return Status::Ok();
    }
    size_t end = at_ + 2;  // the group as far as it is ASCII, up to its end
    while (end < in_.size() && end < at_ + 12 && static_cast<signed char>(in_[end]) > ' ' && in_[end] != ')')
      ++end;
    if (end < in_.size() && in_[end] == ')') ++end;
    return Refuse("the group '" + std::string(in_.substr(at_, end - at_)) + "'");
  }

  // {n} {n,} {n,m}. A suffix has a different meaning in the two engines.
  Status Interval() {
    size_t end = 1;
    while (IsDigit(Peek(end))) ++end;
    const bool has_low = end > 1;
    if (Peek(end) == ',') ++end;
    while (IsDigit(Peek(end))) ++end;
    if (!has_low || Peek(end) != '}' || end > 9) return Refuse("this brace");
    if (Peek(end + 1) == '?' || Peek(end + 1) == '+' || Peek(end + 1) == '*')
      return Refuse("a repeated interval");
    Copy(end + 1);
    return Status::Ok();
  }

  Status Class() {
    if (in_.substr(at_).starts_with("[[")) return Refuse("a nested class");
    Copy(1);
    if (Peek() == '^') Copy(1);
    if (Peek() == ']') return Refuse("a class that begins with a bracket");
    bool after_set = false;  // the last member was a set like \s, which cannot begin a range
    while (Peek() != ']') {
      if (at_ >= in_.size()) return Bad("an unclosed class");
      const char c = Peek();
      if (c == '[' || (c == '&' && Peek(1) == '&')) return Refuse("an operation on classes");
      if (c == '-' && Peek(1) != ']' && (after_set || IsSetEscape(at_ + 1)))
        return Refuse("a range from or to a set");
      if (ignore_case_ && static_cast<signed char>(c) < 0)
        return Refuse("a letter beyond ASCII without regard to case");
      after_set = IsSetEscape(at_);
      if (c == '\\') {
        PREFIXD_RETURN_IF_ERROR(Escape(/*in_class=*/true));
      } else {
        Copy(Utf8Length(c));
      }
    }
    Copy(1);
    return Status::Ok();
  }

  bool IsSetEscape(size_t at) const {
    return at + 1 < in_.size() && in_[at] == '\\' && std::strchr("sSdDpPwWhH", in_[at + 1]) != nullptr;
  }

  Status Escape(bool in_class) {
    const char c = Peek(1);
    switch (c) {
      case '\0':
        return Bad("a backslash at the end");
      case 's':
      case 'S':
        out_ += c == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
        at_ += 2;
        return Status::Ok();
      case 'd':
      case 'D':
        at_ += 2;
        return Set(CategoryMembers("Nd"), c == 'D', in_class);
      case 'w':
      case 'W':
        at_ += 2;
        return Set(WordMembers(in_class), c == 'W', in_class);
      case 'h':
      case 'H':
        at_ += 2;
        return Set("0-9A-Fa-f", c == 'H', in_class);
      case 'b':
      case 'B':
        if (in_class) return Refuse("this escape");
        at_ += 2;
        return WordBorder(c == 'B');
      case 'p':
      case 'P':
        return Property(in_class);
      case 'v':
        out_ += "\\x0b";
        at_ += 2;
        return Status::Ok();
      case 'x':
      case 'u':
        return CodePoint();
      case 'A':
      case 'z':
      case 'Z':
        if (in_class) return Refuse("this escape");
        [[fallthrough]];
      case 'r':
      case 'n':
      case 't':
      case 'f':
        Copy(2);
        return Status::Ok();
      default:
        if (IsAsciiLetter(c) || IsDigit(c)) return Refuse("this escape");
        Copy(1);
        Copy(Utf8Length(Peek()));
        return Status::Ok();
    }
  }

  // \p{Lu} \P{Lu} \p{^Lu}
  Status Property(bool in_class) {
    const size_t end = in_.find('}', at_);
    if (Peek(2) != '{' || end == std::string_view::npos) return Refuse("this property");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    bool negated = Peek(1) == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const auto script = std::find_if(std::begin(kScripts), std::end(kScripts),
                                     [&](const Script& s) { return s.name == name; });
    const bool is_script = script != std::end(kScripts);
    if (!is_script &&
        std::find(std::begin(kCategories), std::end(kCategories), name) == std::end(kCategories)) {
      return Refuse("a property that is neither a general category nor a common script");
    }
    at_ = end + 1;
    return Set(
        is_script ? "\\p{sc:" + std::string(name) + "}" + std::string(script->newer) : CategoryMembers(name),
        negated, in_class);
  }

  // A set given as the inside of a class.
  Status Set(const std::string& members, bool negated, bool in_class) {
    if (ignore_case_) return Refuse("a set of characters without regard to case");
    if (in_class && negated) return Refuse("a negated set in a class");
    out_ += in_class ? members : (negated ? "[^" : "[") + members + "]";
    return Status::Ok();
  }

  Status WordBorder(bool negated) {
    if (ignore_case_) return Refuse("a set of characters without regard to case");
    const std::string word = "[" + WordMembers(/*in_class=*/false) + "]";
    out_ += negated ? "(?:(?<=" + word + ")(?=" + word + ")|(?<!" + word + ")(?!" + word + "))"
                    : "(?:(?<=" + word + ")(?!" + word + ")|(?<!" + word + ")(?=" + word + "))";
    return Status::Ok();
  }

  // \xHH of ASCII, \x{H..}, \uHHHH
  Status CodePoint() {
    const bool braces = Peek(2) == '{';
    const size_t digits_at = at_ + (braces ? 3 : 2);
    size_t end = digits_at;
    const size_t most = braces ? 6 : Peek(1) == 'u' ? 4 : 2;
    while (end < in_.size() && end - digits_at < most && IsHexDigit(in_[end])) ++end;
    const std::string digits(in_.substr(digits_at, end - digits_at));
    if (digits.empty() || (braces && (Peek(1) == 'u' || end >= in_.size() || in_[end] != '}'))) {
      return Refuse("this escape");
    }
    if (Peek(1) == 'u' && digits.size() != 4) return Bad("\\u without four digits");
    const unsigned long value = std::stoul(digits, nullptr, 16);
    if (!braces && Peek(1) == 'x' && value > 0x7F) return Refuse("a byte beyond ASCII");
    if (ignore_case_) return Refuse("a code point without regard to case");
    out_ += "\\x{" + digits + "}";
    at_ = end + (braces ? 1 : 0);
    return Status::Ok();
  }

  const std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  bool ignore_case_ = false;
  char last_folded_ = '\0';   // the previous letter, where case is ignored
  std::vector<bool> scopes_;  // ignore_case_ outside of each open group
};

}  // namespace

Result<std::string> Regex::Translate(std::string_view pattern) {
  if (!IsValidUtf8(pattern)) return Corrupt("regex \"" + RepairUtf8(pattern) + "\" is not UTF-8");
  return Translator(pattern).Run();
}

}  // namespace prefixd
