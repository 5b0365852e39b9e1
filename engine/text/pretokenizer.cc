#include "engine/text/pretokenizer.h"

#include <algorithm>

#include "engine/text/tokenizer_byte_level.h"
#include "engine/text/tokenizer_unicode.h"

namespace prefixd {
namespace {

using Ranges = std::vector<TextRange>;

void FindLiteral(std::string_view text, std::string_view pattern, Ranges* matches) {
  for (size_t at = text.find(pattern); at != std::string_view::npos;
       at = text.find(pattern, at + pattern.size())) {
    matches->push_back({at, at + pattern.size()});
  }
}

// Every code point for which `is` is true is a match.
void FindEach(std::string_view text, bool (*is)(char32_t), Ranges* matches) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = at + Utf8Length(text[at]);
    if (is(Utf8At(&text[at]))) matches->push_back({at, end});
    at = end;
  }
}

// Every longest run of code points that have the same number under `kind_of` is a match, but not those of 0.
void FindRuns(std::string_view text, int (*kind_of)(char32_t), Ranges* matches) {
  int kind_before = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at + Utf8Length(text[at]);
    const int kind = kind_of(Utf8At(&text[at]));
    if (kind != 0 && kind == kind_before) {
      matches->back().end = end;
    } else if (kind != 0) {
      matches->push_back({at, end});
    }
    kind_before = kind;
    at = end;
  }
}

// \w+|[^\w\s]+
int WordOrOther(char32_t c) { return IsWordCharacter(c) ? 1 : IsWhiteSpace(c) ? 0 : 2; }
int NotWhiteSpace(char32_t c) { return IsWhiteSpace(c) ? 0 : 1; }

// Matches (relative to `piece`) and what lies between them, as parts of the whole text.
void Tile(const TextRange& piece, const Ranges& matches, bool invert, std::vector<SplitPart>* parts) {
  parts->clear();
  size_t at = piece.begin;
  for (const TextRange& match : matches) {
    const TextRange range{piece.begin + match.begin, piece.begin + match.end};
    if (at != range.begin) parts->push_back({{at, range.begin}, invert});
    parts->push_back({range, !invert});
    at = range.end;
  }
  if (at != piece.end) parts->push_back({{at, piece.end}, invert});
}

// Writes every piece anew into a fresh text.
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

}  // namespace

void ApplySplitBehavior(SplitBehavior behavior, const std::vector<SplitPart>& parts,
                        std::vector<TextRange>* pieces) {
  const auto keep = [&](const TextRange& range) {
    if (range.begin != range.end) pieces->push_back(range);
  };
  const size_t count = parts.size();
  for (size_t i = 0; i < count;) {
    TextRange piece = parts[i].range;
    const bool is_match = parts[i].is_match;
    ++i;
    switch (behavior) {
      case SplitBehavior::kRemoved:
        if (is_match) continue;
        break;
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kContiguous:
        for (; i < count && parts[i].is_match == is_match; ++i) piece.end = parts[i].range.end;
        break;
      case SplitBehavior::kMergedWithPrevious:  // the first delimiter after a text, not those that follow it
        if (!is_match && i < count && parts[i].is_match) piece.end = parts[i++].range.end;
        break;
      case SplitBehavior::kMergedWithNext:  // the last delimiter before a text
        if (is_match && i < count && !parts[i].is_match) piece.end = parts[i++].range.end;
        break;
    }
    keep(piece);
  }
}

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
            "not "
            "supported by prefixd");
      }
      pre_tokenizer.marks_start_ = true;
      pre_tokenizer.splits_before_mark_ = !pre_tokenizer.stages_.empty();
    }
    rewritten |= spec.kind == PreTokenizerSpec::kByteLevel || spec.kind == PreTokenizerSpec::kMetaspace;
    pre_tokenizer.stages_.push_back(std::move(stage));
  }
  return pre_tokenizer;
}

Status PreTokenizer::Run(std::string_view text, bool at_start, PreTokenized* out) const {
  out->text = text;
  out->raw_bytes = false;
  out->pieces.clear();
  if (!text.empty()) out->pieces.push_back({0, text.size()});
  Scratch scratch;
  for (const Stage& stage : stages_) PREFIXD_RETURN_IF_ERROR(Apply(stage, at_start, out, &scratch));
  return Status::Ok();
}

Status PreTokenizer::Apply(const Stage& stage, bool at_start, PreTokenized* text, Scratch* scratch) {
  switch (stage.spec.kind) {
    case PreTokenizerSpec::kMetaspace:
      MarkSpaces(stage.spec, at_start, text);
      return stage.spec.split ? Split(stage, text, scratch) : Status::Ok();
    case PreTokenizerSpec::kByteLevel:
      if (stage.spec.add_prefix_space) AddPrefixSpaces(text);
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

void PreTokenizer::AddPrefixSpaces(PreTokenized* text) {
  const auto lacks_space = [&](const TextRange& piece) { return text->text[piece.begin] != ' '; };
  if (std::none_of(text->pieces.begin(), text->pieces.end(), lacks_space)) return;
  Rewrite(text, [](const TextRange&, std::string_view piece, std::string* out) {
    if (!piece.starts_with(' ')) *out += ' ';
    *out += piece;
  });
}

// Spaces become marks, then a piece that does not begin with one gets one, if the scheme says so.
void PreTokenizer::MarkSpaces(const PreTokenizerSpec& spec, bool at_start, PreTokenized* text) {
  Rewrite(text, [&](const TextRange& range, std::string_view piece, std::string* out) {
    const bool marked = piece.starts_with(' ') || piece.starts_with(spec.replacement);
    const bool wanted = spec.prepend == PrependScheme::kAlways ||
                        (spec.prepend == PrependScheme::kFirst && at_start && range.begin == 0);
    if (wanted && !marked) *out += spec.replacement;
    size_t done = 0;
    for (size_t at = piece.find(' '); at != std::string_view::npos; at = piece.find(' ', done)) {
      out->append(piece, done, at - done) += spec.replacement;
      done = at + 1;
    }
    out->append(piece, done);
  });
}

Status PreTokenizer::Split(const Stage& stage, PreTokenized* text, Scratch* scratch) {
  scratch->pieces.clear();
  for (const TextRange& range : text->pieces) {
    if (stage.known) {
      ScanKnownPattern(*stage.known, text->text, range, &scratch->pieces);
      continue;
    }
    const std::string_view piece = text->Piece(range);
    const PreTokenizerSpec& spec = stage.spec;
    SplitBehavior behavior = spec.behavior;
    bool invert = spec.invert;
    Ranges* matches = &scratch->matches;
    matches->clear();
    switch (spec.kind) {
      case PreTokenizerSpec::kDigits:
        FindEach(piece, IsNumeric, matches);
        behavior = spec.individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
        break;
      case PreTokenizerSpec::kPunctuation:
        FindEach(piece, IsPunctuation, matches);
        break;
      case PreTokenizerSpec::kWhitespace:
      case PreTokenizerSpec::kWhitespaceSplit:
        FindRuns(piece, spec.kind == PreTokenizerSpec::kWhitespace ? WordOrOther : NotWhiteSpace, matches);
        behavior = SplitBehavior::kRemoved;
        invert = true;
        break;
      case PreTokenizerSpec::kMetaspace:
        FindLiteral(piece, spec.replacement, matches);
        behavior = SplitBehavior::kMergedWithNext;
        break;
      default:
        if (!stage.regex) {
          FindLiteral(piece, spec.pattern.text, matches);
        } else if (const Status status = stage.regex->FindAll(piece, matches); !status.ok()) {
          return status.WithContext("pre_tokenizer Split");
        }
    }
    Tile(range, *matches, invert, &scratch->parts);
    ApplySplitBehavior(behavior, scratch->parts, &scratch->pieces);
  }
  std::swap(text->pieces, scratch->pieces);
  return Status::Ok();
}

}  // namespace prefixd
