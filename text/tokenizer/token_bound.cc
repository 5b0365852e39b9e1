#include "text/tokenizer/token_bound.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>

#include "text/tokenizer/byte_level.h"

namespace prefixd {

namespace {

// Returns how many bytes of UTF-8 a stage may shrink to one; 0: any number. Canonical decomposition makes
// text at most three times longer (U+0390), so composition makes it at most three times shorter. Characters
// that are not decomposed text shrink to a third (U+212A to "K"), with compatibility forms to a quarter
// (U+1D400 to "A").
size_t Shrink(const NormalizerSpec& stage) {
  switch (stage.kind) {
    case NormalizerSpec::kNfc:
      return 3 * 3;
    case NormalizerSpec::kNfd:
    case NormalizerSpec::kLowercase:
      return 3;
    case NormalizerSpec::kNfkc:
      return 4 * 3;
    case NormalizerSpec::kNfkd:
      return 4;
    case NormalizerSpec::kPrepend:
      return 1;
    case NormalizerSpec::kReplace:
      if (stage.pattern.is_regex || stage.content.empty()) return 0;
      return std::max<size_t>(1,
                              (stage.pattern.text.size() + stage.content.size() - 1) / stage.content.size());
    case NormalizerSpec::kStrip:
      break;
  }
  return 0;
}

bool KeepsAllText(const PreTokenizerSpec& stage) {
  switch (stage.kind) {
    case PreTokenizerSpec::kSplit:
    case PreTokenizerSpec::kPunctuation:
      return stage.behavior != SplitBehavior::kRemoved;
    case PreTokenizerSpec::kByteLevel:
    case PreTokenizerSpec::kDigits:
    case PreTokenizerSpec::kMetaspace:
      return true;
    case PreTokenizerSpec::kWhitespace:
    case PreTokenizerSpec::kWhitespaceSplit:
      break;
  }
  return false;
}

// Returns whether every character gives one or more tokens, or one unknown token of its own.
bool KnowsAllText(const BpeSpec& model, bool byte_level) {
  if (model.unk_token && !model.fuse_unk) return true;
  if (!byte_level && !model.byte_fallback) return false;
  std::unordered_set<std::string_view> known;
  for (const auto& [text, id] : model.vocab) known.insert(text);
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string name = {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
    if (byte_level) name = SpellByte(static_cast<unsigned char>(byte));
    if (!known.contains(name)) return false;
  }
  return true;
}

}  // namespace

size_t MaxBytesPerToken(const TokenizerSpec& spec) {
  const bool byte_level =
      !spec.pre_tokenizers.empty() && spec.pre_tokenizers.back().kind == PreTokenizerSpec::kByteLevel;
  if (!KnowsAllText(spec.model, byte_level)) return 0;
  if (!std::all_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(), KeepsAllText)) return 0;
  size_t longest = 4;  // of an unknown character
  // The text of a token is at least as long as the bytes that it encodes, because byte-level spellings and
  // marks for spaces are longer than the bytes.
  for (const auto& [text, id] : spec.model.vocab) longest = std::max(longest, text.size());
  for (const AddedTokenSpec& token : spec.added) {
    if (token.lstrip || token.rstrip) return 0;  // it includes any number of spaces
    longest = std::max(longest, token.content.size());
  }
  constexpr size_t kTooLoose = size_t{1} << 32;
  for (const NormalizerSpec& stage : spec.normalizers) {
    const size_t shrink = Shrink(stage);
    if (shrink == 0 || shrink > kTooLoose / longest) return 0;
    longest *= shrink;
  }
  return longest;
}

}  // namespace prefixd
