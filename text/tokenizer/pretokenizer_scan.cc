#include "text/tokenizer/pretokenizer_scan.h"

#include <array>

#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

using Class = CodePointClass;

constexpr std::string_view kGpt2Text =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Text = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
                                        R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::array<Class, 128> AsciiClasses() {
  std::array<Class, 128> classes;
  for (char32_t c = 0; c < classes.size(); ++c) classes[c] = ClassOf(c);
  return classes;
}

// One text under a scanner. Positions are byte offsets of code points, or the end.
class Scanner {
 public:
  Scanner(std::string_view text, TextRange range) : text_(text.data()), end_(range.end) {}

  // The end of GPT-2's match at `at` < end.
  size_t Gpt2(size_t at) const {
    if (const size_t end = Contraction(at, /*ignore_case=*/false)) return end;
    const size_t word = text_[at] == ' ' && at + 1 < end_ ? at + 1 : at;
    const Class kind = ClassAt(word);
    if (kind != Class::kSpace) return RunOf(kind, word);
    return White(at);
  }

  // The end of Llama 3's match at `at` < end, with up to `max_digits` numbers in one piece (Qwen 2: one).
  size_t Llama3(size_t at, int max_digits) const {
    if (const size_t end = Contraction(at, /*ignore_case=*/true)) return end;
    const Class kind = ClassAt(at);
    if (kind == Class::kLetter) return RunOf(Class::kLetter, at);
    if (kind == Class::kNumber) return Numbers(at, max_digits);
    const size_t next = at + Utf8Length(text_[at]);
    if (!IsLineEnd(at) && next < end_ && ClassAt(next) == Class::kLetter) return RunOf(Class::kLetter, next);
    if (kind == Class::kOther) return LineEnds(RunOf(Class::kOther, at));
    if (text_[at] == ' ' && next < end_ && ClassAt(next) == Class::kOther)
      return LineEnds(RunOf(Class::kOther, next));
    return WhiteUpToLineEnd(at);
  }

 private:
  Class ClassAt(size_t at) const {
    static const std::array<Class, 128> ascii = AsciiClasses();
    const auto byte = static_cast<unsigned char>(text_[at]);
    return byte < 0x80 ? ascii[byte] : ClassOf(Utf8At(text_ + at));
  }
  size_t RunOf(Class kind, size_t at) const {
    while (at < end_ && ClassAt(at) == kind) at += Utf8Length(text_[at]);
    return at;
  }
  bool IsLineEnd(size_t at) const { return text_[at] == '\r' || text_[at] == '\n'; }
  size_t LineEnds(size_t at) const {
    while (at < end_ && IsLineEnd(at)) ++at;
    return at;
  }
  size_t Numbers(size_t at, int most) const {
    for (int i = 0; i < most && at < end_ && ClassAt(at) == Class::kNumber; ++i) at += Utf8Length(text_[at]);
    return at;
  }

  // 's 't 're 've 'm 'll 'd: their end, or 0. U+017F (long s) folds to s.
  size_t Contraction(size_t at, bool ignore_case) const {
    if (text_[at] != '\'' || at + 1 >= end_) return 0;
    const auto letter = [&](size_t i) {
      const char c = i < end_ ? text_[i] : '\0';
      return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char first = letter(at + 1), second = letter(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
    if (first == 'l' && second == 'l') return at + 3;
    if (ignore_case && first == '\xC5' && second == '\xBF') return at + 3;
    return 0;
  }

  // \s+(?!\S)|\s+ at white space: a run before a word leaves its last character to the word.
  size_t White(size_t at) const {
    size_t last = at, end = at;
    while (end < end_ && ClassAt(end) == Class::kSpace) {
      last = end;
      end += Utf8Length(text_[end]);
    }
    return end == end_ || last == at ? end : last;
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+ at white space: up to the last line end of the run, if it has one.
  size_t WhiteUpToLineEnd(size_t at) const {
    size_t after_line_end = 0, last = at, end = at;
    while (end < end_ && ClassAt(end) == Class::kSpace) {
      last = end;
      end += Utf8Length(text_[end]);
      if (IsLineEnd(last)) after_line_end = end;
    }
    if (after_line_end != 0) return after_line_end;
    return end == end_ || last == at ? end : last;
  }

  const char* const text_;
  const size_t end_;
};

}  // namespace

std::string_view KnownPatternText(KnownPattern pattern) {
  return pattern == KnownPattern::kGpt2     ? kGpt2Text
         : pattern == KnownPattern::kLlama3 ? kLlama3Text
                                            : kQwen2Text;
}

std::optional<KnownPattern> RecognisePattern(std::string_view regex) {
  for (const KnownPattern pattern : {KnownPattern::kGpt2, KnownPattern::kLlama3, KnownPattern::kQwen2}) {
    if (regex == KnownPatternText(pattern)) return pattern;
  }
  return std::nullopt;
}

void ScanKnownPattern(KnownPattern pattern, std::string_view text, TextRange range,
                      std::vector<TextRange>* out) {
  const Scanner scanner(text, range);
  for (size_t at = range.begin; at < range.end;) {
    const size_t end = pattern == KnownPattern::kGpt2
                           ? scanner.Gpt2(at)
                           : scanner.Llama3(at, pattern == KnownPattern::kLlama3 ? 3 : 1);
    out->push_back({at, end});
    at = end;
  }
}

}  // namespace prefixd
