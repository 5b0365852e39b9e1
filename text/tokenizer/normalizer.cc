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

Result<std::string> TextNormalizer::Run(std::string_view text) const {
  std::string out(text);
  const size_t limit = text.size() * kMaxGrowth + kGrowthAllowance;
  for (const Stage& stage : stages_) {
    PREFIXD_ASSIGN_OR_RETURN(out, Apply(stage, std::move(out), limit));
    if (out.size() > limit) {
      return InvalidArgument("the normalizer makes a text of " + std::to_string(text.size()) +
                             " bytes longer than " + std::to_string(limit));
    }
  }
  return out;
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
