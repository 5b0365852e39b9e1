#include "text/tokenizer/normalizer.h"

#include "text/tokenizer/normal_forms.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

size_t StartOfLast(std::string_view text) {
  size_t at = text.size() - 1;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

std::string StripWhiteSpace(std::string_view text, bool left, bool right) {
  while (left && !text.empty() && IsWhiteSpace(Utf8At(text.data()))) text.remove_prefix(Utf8Length(text[0]));
  while (right && !text.empty() && IsWhiteSpace(Utf8At(&text[StartOfLast(text)]))) {
    text = text.substr(0, StartOfLast(text));
  }
  return std::string(text);
}

// The number of bytes that StripWhiteSpace removes at the start.
size_t StartOf(std::string_view text, bool left) {
  return left ? text.size() - StripWhiteSpace(text, true, false).size() : 0;
}

// Marks one more character on both sides of each marked part.
MarkedText Grown(const MarkedText& text) {
  const std::string& bytes = text.bytes();
  MarkedText out;
  for (const ByteRange& range : text.input()) {
    const size_t begin = range.begin == 0 ? 0 : StartOfLast(std::string_view(bytes).substr(0, range.begin));
    const size_t end = range.end == bytes.size() ? range.end : range.end + Utf8Length(bytes[range.end]);
    if (out.size() < begin) out += std::string_view(bytes).substr(out.size(), begin - out.size());
    out.AppendInput(std::string_view(bytes).substr(out.size(), end - out.size()));
  }
  out += std::string_view(bytes).substr(out.size());
  return out;
}

}  // namespace

std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
    out.append(text, done, at - done) += content;
    done = at + pattern.size();
  }
  out.append(text, done);
  return out;
}

Result<TextNormalizer> TextNormalizer::Create(const std::vector<NormalizerSpec>& specs) {
  TextNormalizer normalizer;
  for (const NormalizerSpec& spec : specs) {
    Stage stage{spec, std::nullopt};
    if (spec.kind == NormalizerSpec::kReplace && spec.pattern.is_regex) {
      Result<Regex> regex = Regex::Create(spec.pattern.text);
      if (!regex.ok()) return regex.status().WithContext("normalizer Replace");
      if (regex->MatchesEmpty()) {
        return Unsupported("normalizer Replace by \"" + spec.pattern.text +
                           "\", which matches the empty text, is not supported by prefixd");
      }
      stage.regex = *std::move(regex);
    }
    normalizer.stages_.push_back(std::move(stage));
  }
  return normalizer;
}

Result<std::string> TextNormalizer::Run(std::string_view text, bool within) const {
  std::string out(text);
  const size_t limit = text.size() * kMaxGrowth + kGrowthAllowance;
  for (const Stage& stage : stages_) {
    if (within && stage.spec.kind == NormalizerSpec::kPrepend) continue;
    PREFIXD_ASSIGN_OR_RETURN(out, Apply(stage, std::move(out), limit));
    if (out.size() > limit) {
      return InvalidArgument("the normalizer makes a text of " + std::to_string(text.size()) +
                             " bytes longer than " + std::to_string(limit));
    }
  }
  return out;
}

Result<MarkedText> TextNormalizer::Run(const MarkedText& text, bool within) const {
  MarkedText out = text;
  const size_t limit = text.size() * kMaxGrowth + kGrowthAllowance;
  for (const Stage& stage : stages_) {
    if (within && stage.spec.kind == NormalizerSpec::kPrepend) continue;
    PREFIXD_ASSIGN_OR_RETURN(out, ApplyMarked(stage, out, limit));
    if (out.size() > limit) {
      return InvalidArgument("the normalizer makes a text of " + std::to_string(text.size()) +
                             " bytes longer than " + std::to_string(limit));
    }
  }
  return out;
}

// Prepend and Strip move the marks. Other stages change characters: their result for the whole text is
// compared with that for the runs of marked and unmarked bytes. Where they differ, as where an accent joins a
// letter across a border, the marks grow by a character on both sides.
Result<MarkedText> TextNormalizer::ApplyMarked(const Stage& stage, const MarkedText& text, size_t limit) {
  PREFIXD_ASSIGN_OR_RETURN(std::string whole, Apply(stage, text.bytes(), limit));
  if (stage.spec.kind == NormalizerSpec::kPrepend) {
    MarkedText out = MarkedText::Own(text.empty() ? "" : stage.spec.content);
    out += text;
    return out;
  }
  if (stage.spec.kind == NormalizerSpec::kStrip) {
    const size_t begin = StartOf(text.bytes(), stage.spec.strip_left);
    return text.Part(begin, begin + whole.size());
  }
  Status failed = Status::Ok();
  const auto apply = [&](std::string_view run) {
    Result<std::string> changed = Apply(stage, std::string(run), limit);
    if (!changed.ok()) failed = changed.status();
    return changed.ok() ? *std::move(changed) : std::string();
  };
  MarkedText marked = text;
  for (int attempt = 0; attempt < 4; ++attempt) {
    MarkedText runs = marked.MapRuns(apply);
    PREFIXD_RETURN_IF_ERROR(failed);
    if (runs.bytes() == whole) return runs;
    marked = Grown(marked);
  }
  return MarkedText::Input(std::move(whole));
}

Result<std::string> TextNormalizer::Apply(const Stage& stage, std::string text, size_t limit) {
  switch (stage.spec.kind) {
    case NormalizerSpec::kNfc:
      return Normalize(NormalForm::kNfc, text);
    case NormalizerSpec::kNfd:
      return Normalize(NormalForm::kNfd, text);
    case NormalizerSpec::kNfkc:
      return Normalize(NormalForm::kNfkc, text);
    case NormalizerSpec::kNfkd:
      return Normalize(NormalForm::kNfkd, text);
    case NormalizerSpec::kLowercase:
      return LowerCase(text);
    case NormalizerSpec::kStrip:
      return StripWhiteSpace(text, stage.spec.strip_left, stage.spec.strip_right);
    case NormalizerSpec::kPrepend:
      if (!text.empty()) text.insert(0, stage.spec.content);
      return text;
    case NormalizerSpec::kReplace:
      break;
  }
  return Replace(stage, text, limit);
}

Result<std::string> TextNormalizer::Replace(const Stage& stage, std::string_view text, size_t limit) {
  const std::string& content = stage.spec.content;
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  const auto replace = [&](const TextRange& match) {
    if (out.size() <= limit) out.append(text, done, match.begin - done) += content;
    done = match.end;
  };
  if (stage.regex) {
    const Status status = stage.regex->ForEachMatch(text, replace);
    if (!status.ok()) return status.WithContext("normalizer Replace");
  } else {
    const std::string& pattern = stage.spec.pattern.text;
    for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done))
      replace({at, at + pattern.size()});
  }
  out.append(text, done);
  if (out.size() <= limit) return out;
  return InvalidArgument("normalizer Replace of \"" + stage.spec.pattern.text +
                         "\" makes the text longer than " + std::to_string(limit) + " bytes");
}

}  // namespace prefixd
