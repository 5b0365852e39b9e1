#include "text/tokenizer/pretokenizer.h"

#include <algorithm>

#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

using Ranges = std::vector<TextRange>;

// Cuts one piece of a text at its matches, which the caller gives one by one. The matches are the delimiters;
// with `invert`, the text between them is.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, bool invert, const TextRange& piece, Ranges* out)
      : behavior_(behavior),
        invert_(invert),
        base_(piece.begin),
        end_(piece.end),
        at_(piece.begin),
        out_(out) {}

  void Match(const TextRange& match) {  // relative to the piece
    const TextRange range{base_ + match.begin, base_ + match.end};
    if (at_ != range.begin) Part({at_, range.begin}, invert_);
    Part(range, !invert_);
    at_ = range.end;
  }
  void End() {
    if (at_ != end_) Part({at_, end_}, invert_);
    Keep();
  }

 private:
  void Part(const TextRange& range, bool is_delimiter) {
    if (waits_ && Joins(is_delimiter)) {
      waiting_.end = range.end;
      if (behavior_ != SplitBehavior::kContiguous) Keep();
      return;
    }
    Keep();
    waiting_ = range;
    waiting_is_delimiter_ = is_delimiter;
    waits_ = true;
  }
  bool Joins(bool is_delimiter) const {
    switch (behavior_) {
      case SplitBehavior::kContiguous:
        return waiting_is_delimiter_ == is_delimiter;
      case SplitBehavior::kMergedWithPrevious:  // the first delimiter after a text, not those that follow it
        return !waiting_is_delimiter_ && is_delimiter;
      case SplitBehavior::kMergedWithNext:  // the last delimiter before a text
        return waiting_is_delimiter_ && !is_delimiter;
      default:
        return false;
    }
  }
  void Keep() {
    const bool removed = behavior_ == SplitBehavior::kRemoved && waiting_is_delimiter_;
    if (waits_ && !removed && waiting_.begin != waiting_.end) out_->push_back(waiting_);
    waits_ = false;
  }

  const SplitBehavior behavior_;
  const bool invert_;
  const size_t base_, end_;
  size_t at_;
  TextRange waiting_{};  // the last part; the next one may join it
  bool waits_ = false, waiting_is_delimiter_ = false;
  Ranges* const out_;
};

void FindLiteral(std::string_view text, std::string_view pattern, Splitter* splitter) {
  for (size_t at = text.find(pattern); at != std::string_view::npos;
       at = text.find(pattern, at + pattern.size())) {
    splitter->Match({at, at + pattern.size()});
  }
}

// Every code point for which `is` is true is a match.
void FindEach(std::string_view text, bool (*is)(char32_t), Splitter* splitter) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = at + Utf8Length(text[at]);
    if (is(Utf8At(&text[at]))) splitter->Match({at, end});
    at = end;
  }
}

// Every longest run of code points with the same number from `kind_of` is a match, except runs of 0.
void FindRuns(std::string_view text, int (*kind_of)(char32_t), Splitter* splitter) {
  TextRange run{0, 0};
  int kind_of_run = 0;
  for (size_t at = 0; at < text.size(); at = run.end) {
    const int kind = kind_of(Utf8At(&text[at]));
    if (kind != kind_of_run) {
      if (kind_of_run != 0) splitter->Match(run);
      run.begin = at;
      kind_of_run = kind;
    }
    run.end = at + Utf8Length(text[at]);
  }
  if (kind_of_run != 0) splitter->Match(run);
}

// \w+|[^\w\s]+
int WordOrOther(char32_t c) { return IsWordCharacter(c) ? 1 : IsWhiteSpace(c) ? 0 : 2; }
int NotWhiteSpace(char32_t c) { return IsWhiteSpace(c) ? 0 : 1; }

Status FindMatches(const PreTokenizerSpec& spec, const std::optional<Regex>& regex, std::string_view piece,
                   Splitter* splitter) {
  switch (spec.kind) {
    case PreTokenizerSpec::kDigits:
      FindEach(piece, IsNumeric, splitter);
      break;
    case PreTokenizerSpec::kPunctuation:
      FindEach(piece, IsPunctuation, splitter);
      break;
    case PreTokenizerSpec::kWhitespace:
      FindRuns(piece, WordOrOther, splitter);
      break;
    case PreTokenizerSpec::kWhitespaceSplit:
      FindRuns(piece, NotWhiteSpace, splitter);
      break;
    case PreTokenizerSpec::kMetaspace:
      FindLiteral(piece, spec.replacement, splitter);
      break;
    default:
      if (regex) {
        const Status status =
            regex->ForEachMatch(piece, [&](const TextRange& match) { splitter->Match(match); });
        return status.WithContext("pre_tokenizer Split");
      }
      FindLiteral(piece, spec.pattern.text, splitter);
  }
  return Status::Ok();
}

// Rewrites every piece into a new text.
template <typename Write>  // (range, piece, out)
void Rewrite(PreTokenized* text, const Write& write) {
  std::string rewritten;
  rewritten.reserve(text->text.size() + text->text.size() / 2);
  for (TextRange& piece : text->pieces) {
    const size_t begin = rewritten.size();
    write(piece, text->Piece(piece), &rewritten);
    piece = {begin, rewritten.size()};
  }
  text->storage = std::move(rewritten);
  text->text = text->storage;
}

// The piece is the beginning of a text that goes on behind other text.
bool GoesOn(TextStart start, const TextRange& piece) {
  return start == TextStart::kWithin && piece.begin == 0;
}

}  // namespace

Result<PreTokenizer> PreTokenizer::Create(const std::vector<PreTokenizerSpec>& specs, bool raw_bytes) {
  PreTokenizer pre_tokenizer;
  bool rewritten = false;
  for (const PreTokenizerSpec& spec : specs) {
    Stage stage{.spec = spec};
    if (spec.kind == PreTokenizerSpec::kSplit && spec.pattern.is_regex) {
      const bool plain = spec.behavior == SplitBehavior::kIsolated && !spec.invert;
      if (plain) stage.known = RecognisePattern(spec.pattern.text);
      if (!stage.known) {
        Result<Regex> regex = Regex::Create(spec.pattern.text);
        if (!regex.ok()) return regex.status().WithContext("pre_tokenizer Split");
        stage.regex = *std::move(regex);
      }
    } else if (spec.kind == PreTokenizerSpec::kByteLevel) {
      if (spec.use_regex) stage.known = KnownPattern::kGpt2;
      stage.raw_bytes = raw_bytes && &spec == &specs.back();
    } else if (spec.kind == PreTokenizerSpec::kMetaspace && spec.prepend == PrependScheme::kFirst) {
      if (rewritten) {
        return Unsupported(
            "pre_tokenizer Metaspace with prepend_scheme \"first\" after another Metaspace or a ByteLevel is "
            "not supported by prefixd");
      }
      pre_tokenizer.marks_start_ = true;
      pre_tokenizer.splits_before_mark_ = !pre_tokenizer.stages_.empty();
    }
    rewritten |= spec.kind == PreTokenizerSpec::kByteLevel || spec.kind == PreTokenizerSpec::kMetaspace;
    pre_tokenizer.stages_.push_back(std::move(stage));
  }
  return pre_tokenizer;
}

Status PreTokenizer::Run(std::string_view text, TextStart start, PreTokenized* out) const {
  out->text = text;
  out->raw_bytes = false;
  out->pieces.clear();
  if (!text.empty()) out->pieces.push_back({0, text.size()});
  Ranges scratch;
  for (const Stage& stage : stages_) PREFIXD_RETURN_IF_ERROR(Apply(stage, start, out, &scratch));
  return Status::Ok();
}

Status PreTokenizer::Apply(const Stage& stage, TextStart start, PreTokenized* text, Ranges* scratch) {
  switch (stage.spec.kind) {
    case PreTokenizerSpec::kMetaspace:
      MarkSpaces(stage.spec, start, text);
      return stage.spec.split ? Split(stage, text, scratch) : Status::Ok();
    case PreTokenizerSpec::kByteLevel:
      if (stage.spec.add_prefix_space) AddPrefixSpaces(start, text);
      if (stage.known) PREFIXD_RETURN_IF_ERROR(Split(stage, text, scratch));
      text->raw_bytes = stage.raw_bytes;
      if (!stage.raw_bytes) {
        Rewrite(text, [](const TextRange&, std::string_view piece, std::string* out) {
          *out += SpellBytes(piece);
        });
      }
      return Status::Ok();
    default:
      return Split(stage, text, scratch);
  }
}

void PreTokenizer::AddPrefixSpaces(TextStart start, PreTokenized* text) {
  const auto lacks_space = [&](const TextRange& range) {
    return text->text[range.begin] != ' ' && !GoesOn(start, range);
  };
  if (std::none_of(text->pieces.begin(), text->pieces.end(), lacks_space)) return;
  Rewrite(text, [&](const TextRange& range, std::string_view piece, std::string* out) {
    if (!piece.starts_with(' ') && !GoesOn(start, range)) *out += ' ';
    *out += piece;
  });
}

// Replaces spaces by marks. Then, if the scheme says so, puts a mark before a piece that does not begin with
// one.
void PreTokenizer::MarkSpaces(const PreTokenizerSpec& spec, TextStart start, PreTokenized* text) {
  Rewrite(text, [&](const TextRange& range, std::string_view piece, std::string* out) {
    const bool marked = piece.starts_with(' ') || piece.starts_with(spec.replacement);
    const bool first = start == TextStart::kInput && range.begin == 0;
    const bool wanted = spec.prepend == PrependScheme::kFirst
                            ? first
                            : spec.prepend == PrependScheme::kAlways && !GoesOn(start, range);
    if (wanted && !marked) *out += spec.replacement;
    size_t done = 0;
    for (size_t at = piece.find(' '); at != std::string_view::npos; at = piece.find(' ', done)) {
      out->append(piece, done, at - done) += spec.replacement;
      done = at + 1;
    }
    out->append(piece, done);
  });
}

Status PreTokenizer::Split(const Stage& stage, PreTokenized* text, Ranges* scratch) {
  const PreTokenizerSpec& spec = stage.spec;
  const bool words =
      spec.kind == PreTokenizerSpec::kWhitespace || spec.kind == PreTokenizerSpec::kWhitespaceSplit;
  SplitBehavior behavior = words ? SplitBehavior::kRemoved : spec.behavior;
  if (spec.kind == PreTokenizerSpec::kMetaspace) behavior = SplitBehavior::kMergedWithNext;
  if (spec.kind == PreTokenizerSpec::kDigits) {
    behavior = spec.individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
  }
  scratch->clear();
  for (const TextRange& range : text->pieces) {
    if (stage.known) {
      ScanKnownPattern(*stage.known, text->text, range, scratch);
      continue;
    }
    Splitter splitter(behavior, words || spec.invert, range, scratch);
    PREFIXD_RETURN_IF_ERROR(FindMatches(spec, stage.regex, text->Piece(range), &splitter));
    splitter.End();
  }
  std::swap(text->pieces, *scratch);
  return Status::Ok();
}

}  // namespace prefixd
