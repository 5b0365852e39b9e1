#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace prefixd::jinja {
namespace {

using Kind = Token::Kind;

// Longest first, so that the first match is the right one.
constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

// Replaces CRLF and CR by LF and removes one newline at the end.
std::string Normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> Run() {
    while (at_ < source_.size()) Text();
    Push(Kind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  bool Starts(std::string_view what, size_t at) const {
    return std::string_view(source_).substr(at).starts_with(what);
  }

  Position Here() {
    for (; counted_ < at_; ++counted_) {
      if (source_[counted_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else {
        ++position_.column;
      }
    }
    return position_;
  }

  Token& Push(Kind kind, std::string text) {
    tokens_.push_back(Token{kind, Here(), std::move(text)});
    return tokens_.back();
  }

  [[noreturn]] void Fail(const std::string& message) { FailAt(Code::kInvalidArgument, Here(), message); }

  size_t SkipSpace(size_t at) const {
    while (at < source_.size() && IsSpace(CharacterAt(source_, at))) at += CharacterSize(source_, at);
    return at;
  }

  // Returns the end of the closing delimiter at `at`, including the white space that it removes, or npos when
  // there is no delimiter at `at`.
  size_t EndOfClosing(std::string_view delimiter, size_t at, bool trims, bool takes_plus) const {
    if (Starts("-", at) && Starts(delimiter, at + 1)) return SkipSpace(at + 1 + delimiter.size());
    if (takes_plus && Starts("+", at) && Starts(delimiter, at + 1)) return at + 1 + delimiter.size();
    if (!Starts(delimiter, at)) return std::string::npos;
    at += delimiter.size();
    return trims && Starts("\n", at) ? at + 1 : at;
  }

  // Moves to `end`, behind a closing delimiter, and notes for lstrip_blocks whether a line starts there.
  void CloseAt(size_t end) {
    line_starting_ = source_[end - 1] == '\n';
    at_ = end;
  }

  // Emits the text up to the delimiter at `tag`, without the white space that the delimiter removes.
  void Data(size_t tag, char sign, bool variable) {
    std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    if (sign == '-') {
      text = Strip(text, Side::kRight);
    } else if (sign != '+' && !variable) {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      if ((line > 0 || line_starting_) && Strip(text.substr(line), Side::kLeft).empty())
        text = text.substr(0, line);
    }
    if (!text.empty()) Push(Kind::kData, std::string(text));
  }

  void Text() {
    size_t tag = source_.find('{', at_);
    while (tag != std::string::npos && !Starts("{%", tag) && !Starts("{{", tag) && !Starts("{#", tag)) {
      tag = source_.find('{', tag + 1);
    }
    if (tag == std::string::npos) {
      Push(Kind::kData, source_.substr(at_));
      at_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    size_t after = tag + 2;
    const char sign = Starts("-", after) || Starts("+", after) ? source_[after++] : ' ';
    Data(tag, sign, kind == '{');
    at_ = tag;
    if (kind == '#') return Comment(after);
    if (kind == '%' && RawBegin(after)) return;
    Push(kind == '{' ? Kind::kVariableBegin : Kind::kBlockBegin, {});
    at_ = after;
    Inside(kind == '{');
  }

  void Comment(size_t at) {
    for (; at < source_.size(); ++at) {
      if (const size_t end = EndOfClosing("#}", at, true, true); end != std::string::npos)
        return CloseAt(end);
    }
    Fail("missing end of comment");
  }

  // Lexes "{% raw %} ... {% endraw %}" as text. Returns false when the tag at `at` is not `raw`.
  bool RawBegin(size_t at) {
    at = SkipSpace(at);
    if (!Starts("raw", at)) return false;
    const size_t end = EndOfClosing("%}", SkipSpace(at + 3), false, false);
    if (end == std::string::npos) return false;
    for (size_t tag = source_.find("{%", end); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      size_t after = tag + 2;
      const char sign = Starts("-", after) || Starts("+", after) ? source_[after++] : ' ';
      after = SkipSpace(after);
      if (!Starts("endraw", after)) continue;
      const size_t closed = EndOfClosing("%}", SkipSpace(after + 6), true, true);
      if (closed == std::string::npos) continue;
      CloseAt(end);
      Data(tag, sign, false);
      CloseAt(closed);
      return true;
    }
    Fail("missing end of raw");
  }

  // Lexes the inside of "{{ }}" or "{% %}". Inside brackets a closing delimiter is not recognized.
  void Inside(bool variable) {
    std::string open;  // the closing brackets of those that are open
    for (;;) {
      at_ = SkipSpace(at_);
      if (at_ >= source_.size()) Fail(variable ? "missing '}}'" : "missing '%}'");
      if (open.empty()) {
        const size_t end = EndOfClosing(variable ? "}}" : "%}", at_, !variable, !variable);
        if (end != std::string::npos) {
          Push(variable ? Kind::kVariableEnd : Kind::kBlockEnd, {});
          return CloseAt(end);
        }
      }
      const char c = source_[at_];
      if (IsDigit(c)) {
        Number();
      } else if (c == '\'' || c == '"') {
        StringLiteral(c);
      } else if (std::isalpha(static_cast<unsigned char>(c)) || c == '_' ||
                 static_cast<unsigned char>(c) >= 0x80) {
        Name();
      } else {
        Operator(&open);
      }
    }
  }

  void Name() {
    size_t end = at_;
    while (end < source_.size()) {
      const auto c = static_cast<unsigned char>(source_[end]);
      const size_t size = CharacterSize(source_, end);
      const bool belongs = c < 0x80
                               ? std::isalnum(c) || c == '_'
                               : AllOf(std::string_view(source_).substr(end, size), CharacterClass::kAlnum);
      if (!belongs) break;
      end += size;
    }
    if (end == at_) Fail("unexpected character '" + source_.substr(at_, CharacterSize(source_, at_)) + "'");
    Push(Kind::kName, source_.substr(at_, end - at_));
    at_ = end;
  }

  // Returns the end of the digits at `at`, which may have single underscores between them.
  size_t Digits(size_t at) const {
    while (at < source_.size() &&
           (IsDigit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() &&
                                     IsDigit(source_[at + 1]) && IsDigit(source_[at - 1])))) {
      ++at;
    }
    return at;
  }

  void Number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    size_t end = at_ + 1;
    int base = 10;
    if (source_[at_] == '0' && end + 1 < source_.size() &&
        std::string_view("bBoOxX").find(source_[end]) != std::string::npos) {
      base = 0;
      for (++end; end < source_.size() &&
                  (std::isxdigit(static_cast<unsigned char>(source_[end])) || source_[end] == '_');) {
        ++end;
      }
    } else {
      end = Digits(end);
    }
    const size_t integer_end = end;
    if (base == 10 && !after_dot) {
      if (Starts(".", end) && end + 1 < source_.size() && IsDigit(source_[end + 1])) end = Digits(end + 1);
      if (Starts("e", end) || Starts("E", end)) {
        const size_t digits = Starts("+", end + 1) || Starts("-", end + 1) ? end + 2 : end + 1;
        if (digits < source_.size() && IsDigit(source_[digits])) end = Digits(digits);
      }
    }
    const std::string text = source_.substr(at_, end - at_);
    Token& token = Push(end == integer_end ? Kind::kInteger : Kind::kFloat, text);
    const auto integer = ParseInt(text, base);
    const auto real = ParseFloat(text);
    if (end == integer_end ? !integer : !real) Fail("the number " + text + " is malformed or too large");
    token.integer = integer.value_or(0);
    token.real = real.value_or(0);
    at_ = end;
  }

  void StringLiteral(char quote) {
    std::string value;
    size_t at = at_ + 1;
    while (at < source_.size() && source_[at] != quote) {
      if (source_[at] == '\\') {
        at = Escape(at + 1, &value);
      } else {
        value += source_[at++];
      }
    }
    if (at >= source_.size()) Fail("the string is not closed");
    Push(Kind::kString, std::move(value));
    at_ = at + 1;
  }

  // Decodes the escape that follows a backslash, as in a Python literal. Returns its end.
  size_t Escape(size_t at, std::string* value) {
    if (at >= source_.size()) return at;
    const char c = source_[at];
    static constexpr std::string_view kShort = "\\'\"abfnrtv", kMeaning = "\\'\"\a\b\f\n\r\t\v";
    if (const size_t which = kShort.find(c); which != std::string_view::npos) {
      *value += kMeaning[which];
      return at + 1;
    }
    if (c == '\n') return at + 1;
    if (c == 'N') FailAt(Code::kUnsupported, Here(), "the escape \\N{...} is not supported");
    const bool octal = c >= '0' && c <= '7';
    const size_t width = octal ? 3 : c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (width == 0) {
      *value += '\\';
      return at;
    }
    const size_t begin = octal ? at : at + 1;
    const char* from = source_.data() + begin;
    unsigned code_point = 0;
    const auto end = std::from_chars(from, source_.data() + std::min(begin + width, source_.size()),
                                     code_point, octal ? 8 : 16)
                         .ptr;
    if (!octal && end != from + width) Fail("a truncated escape in a string");
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) {
      Fail("an escape in a string that is no Unicode character");
    }
    AppendUtf8(value, code_point);
    return static_cast<size_t>(end - source_.data());
  }

  void Operator(std::string* open) {
    const auto found =
        std::find_if(kOperators.begin(), kOperators.end(), [&](auto op) { return Starts(op, at_); });
    if (found == kOperators.end()) Fail("unexpected character '" + source_.substr(at_, 1) + "'");
    const char c = found->front();
    if (c == '(') *open += ')';
    if (c == '[') *open += ']';
    if (c == '{') *open += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) Fail("unexpected '" + std::string(1, c) + "'");
      open->pop_back();
    }
    Push(Kind::kOperator, std::string(*found));
    at_ += found->size();
  }

  const std::string source_;
  size_t at_ = 0;
  size_t counted_ = 0;  // the place that position_ describes
  Position position_;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Describe(Position at) {
  return "line " + std::to_string(at.line) + ", column " + std::to_string(at.column);
}

void FailAt(Code code, Position at, const std::string& message) {
  throw Error{code, "chat template, " + Describe(at) + ": " + message};
}

std::vector<Token> Tokenize(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    throw Error{Code::kInvalidArgument, "the chat template has " + std::to_string(source.size()) +
                                            " bytes; the limit is " + std::to_string(kMaxSourceBytes)};
  }
  if (!IsValidUtf8(source)) throw Error{Code::kInvalidArgument, "the chat template is not UTF-8"};
  return Lexer(Normalize(source)).Run();
}

}  // namespace prefixd::jinja
