#include "engine/text/pretokenizer.h"

#include <algorithm>
#include <functional>

#include "engine/text/tokenizer_byte_level.h"
#include "engine/text/tokenizer_unicode.h"

namespace prefixd {
namespace {

std::vector<TextRange> FindLiteral(std::string_view text, std::string_view pattern) {
  std::vector<TextRange> matches;
  for (size_t at = text.find(pattern); at != std::string_view::npos;
       at = text.find(pattern, at + pattern.size())) {
    matches.push_back({at, at + pattern.size()});
  }
  return matches;
}

std::vector<TextRange> FindDigits(std::string_view text) {
  std::vector<TextRange> matches;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at + Utf8Length(text[at]);
    if (ClassOf(Utf8At(&text[at])) == CodePointClass::kNumber) matches.push_back({at, end});
    at = end;
  }
  return matches;
}

// Matches (relative to `piece`) and what lies between them, as parts of the whole text.
std::vector<SplitPart> Tile(const TextRange& piece, const std::vector<TextRange>& matches, bool invert) {
  std::vector<SplitPart> parts;
  size_t at = piece.begin;
  for (const TextRange& match : matches) {
    const TextRange range{piece.begin + match.begin, piece.begin + match.end};
    if (at != range.begin) parts.push_back({{at, range.begin}, invert});
    parts.push_back({range, !invert});
    at = range.end;
  }
  if (at != piece.end) parts.push_back({{at, piece.end}, invert});
  return parts;
}

// Writes every piece anew into a fresh text.
void Rewrite(PreTokenized* text, const std::function<void(std::string_view piece, std::string* out)>& write) {
  std::string rewritten;
  rewritten.reserve(text->text.size() + text->text.size() / 2);
  for (TextRange& piece : text->pieces) {
    const size_t begin = rewritten.size();
    write(text->Piece(piece), &rewritten);
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
  for (const PreTokenizerSpec& spec : specs) {
    Stage stage{.spec = spec};
    if (spec.kind == PreTokenizerSpec::kSplit && spec.pattern.is_regex) {
      const bool plain = spec.behavior == SplitBehavior::kIsolated && !spec.invert;
      if (plain) stage.known = RecognisePattern(spec.pattern.text);
      if (!stage.known) {
        PREFIXD_ASSIGN_OR_RETURN(stage.regex, Regex::Create(spec.pattern.text));
      }
    } else if (spec.kind == PreTokenizerSpec::kByteLevel) {
      if (spec.use_regex) stage.known = KnownPattern::kGpt2;
      stage.raw_bytes = raw_bytes && &spec == &specs.back();
    }
    pre_tokenizer.stages_.push_back(std::move(stage));
  }
  return pre_tokenizer;
}

void PreTokenizer::Run(std::string_view text, PreTokenized* out) const {
  out->text = text;
  out->raw_bytes = false;
  out->pieces.clear();
  if (!text.empty()) out->pieces.push_back({0, text.size()});
  for (const Stage& stage : stages_) Apply(stage, out);
}

void PreTokenizer::Apply(const Stage& stage, PreTokenized* text) {
  if (stage.spec.kind != PreTokenizerSpec::kByteLevel) return Split(stage, text);
  const auto lacks_space = [&](const TextRange& piece) { return text->text[piece.begin] != ' '; };
  if (stage.spec.add_prefix_space && std::any_of(text->pieces.begin(), text->pieces.end(), lacks_space)) {
    Rewrite(text, [](std::string_view piece, std::string* out) {
      if (!piece.starts_with(' ')) *out += ' ';
      *out += piece;
    });
  }
  if (stage.known) Split(stage, text);
  text->raw_bytes = stage.raw_bytes;
  if (stage.raw_bytes) return;
  Rewrite(text, [](std::string_view piece, std::string* out) { *out += SpellBytes(piece); });
}

void PreTokenizer::Split(const Stage& stage, PreTokenized* text) {
  std::vector<TextRange> pieces;
  for (const TextRange& range : text->pieces) {
    if (stage.known) {
      ScanKnownPattern(*stage.known, text->text, range, &pieces);
      continue;
    }
    const std::string_view piece = text->Piece(range);
    const PreTokenizerSpec& spec = stage.spec;
    const bool digits = spec.kind == PreTokenizerSpec::kDigits;
    const std::vector<TextRange> matches = digits        ? FindDigits(piece)
                                           : stage.regex ? stage.regex->FindAll(piece)
                                                         : FindLiteral(piece, spec.pattern.text);
    const SplitBehavior behavior = !digits                  ? spec.behavior
                                   : spec.individual_digits ? SplitBehavior::kIsolated
                                                            : SplitBehavior::kContiguous;
    ApplySplitBehavior(behavior, Tile(range, matches, spec.invert), &pieces);
  }
  text->pieces = std::move(pieces);
}

}  // namespace prefixd
