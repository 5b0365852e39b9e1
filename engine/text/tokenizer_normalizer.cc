#include "engine/text/tokenizer_normalizer.h"

#include "engine/text/tokenizer_unicode.h"

namespace prefixd {

std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  out.reserve(text.size());
  size_t done = 0;
  for (size_t at = text.find(pattern); at != std::string_view::npos; at = text.find(pattern, done)) {
    out += text.substr(done, at - done);
    out += content;
    done = at + pattern.size();
  }
  out += text.substr(done);
  return out;
}

Result<TextNormalizer> TextNormalizer::Create(const std::vector<NormalizerSpec>& specs) {
  TextNormalizer normalizer;
  for (const NormalizerSpec& spec : specs) {
    Stage stage{spec, std::nullopt};
    if (spec.kind == NormalizerSpec::kReplace && spec.pattern.is_regex) {
      PREFIXD_ASSIGN_OR_RETURN(stage.regex, Regex::Create(spec.pattern.text));
      if (stage.regex->MatchesEmpty()) {
        return Unsupported("tokenizer.json: normalizer Replace by \"" + spec.pattern.text +
                           "\", which matches the empty text, is not supported by prefixd");
      }
    }
    normalizer.stages_.push_back(std::move(stage));
  }
  return normalizer;
}

std::string TextNormalizer::Run(std::string_view text) const {
  std::string out(text);
  for (const Stage& stage : stages_) {
    switch (stage.spec.kind) {
      case NormalizerSpec::kNfc:
        out = NormalizeNfc(out);
        break;
      case NormalizerSpec::kPrepend:
        if (!out.empty()) out.insert(0, stage.spec.content);
        break;
      case NormalizerSpec::kReplace:
        out = Replace(stage, out);
        break;
    }
  }
  return out;
}

std::string TextNormalizer::Replace(const Stage& stage, std::string_view text) {
  if (!stage.regex) return ReplaceAll(text, stage.spec.pattern.text, stage.spec.content);
  std::string out;
  size_t done = 0;
  for (const TextRange& match : stage.regex->FindAll(text)) {
    out += text.substr(done, match.begin - done);
    out += stage.spec.content;
    done = match.end;
  }
  out += text.substr(done);
  return out;
}

}  // namespace prefixd
