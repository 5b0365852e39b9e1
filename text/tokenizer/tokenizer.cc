#include "text/tokenizer/tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/pretokenizer.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/token_bound.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {

struct Tokenizer::Parts {
  struct Added {
    std::string content;
    bool special;
  };

  BpeModel model;
  TextNormalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  AddedTokens added_raw;         // searched in the raw text
  AddedTokens added_normalized;  // searched in normalised text
  std::unordered_map<TokenId, Added> added;
  std::unordered_map<std::string, TokenId> added_ids;
  std::vector<TokenId> prefix_ids, suffix_ids;
  TokenId end_id = 0;
  size_t max_bytes_per_token = 0;
  std::string_view kind;
};

namespace {

// Files of fine-tuned models often give the tokens of turns without the flag `special`.
bool LooksLikeControl(std::string_view content) {
  constexpr std::string_view kBar = "\xEF\xBD\x9C";  // U+FF5C, in the tokens of DeepSeek
  if (content.size() > 4 && content.starts_with("<|") && content.ends_with("|>")) return true;
  return content.size() > 2 * kBar.size() + 2 && content.starts_with("<" + std::string(kBar)) &&
         content.ends_with(std::string(kBar) + ">");
}

// Returns the added tokens that are searched before normalisation, or after it. Special ones come first, as
// in the tokenizers library.
Result<AddedTokens> SearchedTokens(const TokenizerSpec& spec, const TextNormalizer& normalizer,
                                   bool normalized) {
  std::vector<AddedTokens::Entry> entries;
  std::unordered_map<std::string, TokenId> ids;
  for (const bool special : {true, false}) {
    for (const AddedTokenSpec& token : spec.added) {
      if (token.special != special || token.normalized != normalized) continue;
      Result<std::string> text = normalized ? normalizer.Run(token.content) : Result(token.content);
      if (!text.ok()) return text.status().WithContext("added token \"" + token.content + "\"");
      AddedTokens::Entry entry{*std::move(text),
                               token.id,
                               token.single_word,
                               token.lstrip,
                               token.rstrip,
                               token.special,
                               token.special || LooksLikeControl(token.content)};
      if (entry.text.empty()) {
        return Unsupported("added token \"" + token.content +
                           "\", which the normalizer leaves empty, is not supported by prefixd");
      }
      if (const auto [same, is_new] = ids.emplace(entry.text, entry.id);
          !is_new && same->second != entry.id) {
        return Unsupported("added token \"" + token.content +
                           "\", which the normalizer makes equal to another, is not supported by prefixd");
      }
      entries.push_back(std::move(entry));
    }
  }
  return AddedTokens(std::move(entries));
}

// The part of `text` in `range`, with the marks of `input`, which are widened to whole characters.
MarkedText MarkedPart(std::string_view text, std::span<const ByteRange> input, ByteRange range) {
  const auto in_character = [&](size_t at) {
    return at < range.end && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
  };
  MarkedText part;
  size_t done = range.begin;
  auto it = std::partition_point(input.begin(), input.end(),
                                 [&](const ByteRange& r) { return r.end <= range.begin; });
  for (; it != input.end() && it->begin < range.end; ++it) {
    size_t begin = std::max(it->begin, done), end = std::min(it->end, range.end);
    while (begin > done && in_character(begin)) --begin;
    while (in_character(end)) ++end;
    part += text.substr(done, begin - done);
    if (begin < end) part.AppendInput(text.substr(begin, end - begin));
    done = std::max(begin, end);
  }
  part += text.substr(done, range.end - done);
  return part;
}

std::string_view Part(std::string_view text, const TextRange& range) {
  return text.substr(range.begin, range.end - range.begin);
}

TokenId EndId(const TokenizerSpec& spec, TokenId model_end) {
  TokenId end = model_end;
  for (const AddedTokenSpec& token : spec.added) end = std::max(end, token.id + 1);
  for (const TokenId id : spec.prefix_ids) end = std::max(end, id + 1);
  for (const TokenId id : spec.suffix_ids) end = std::max(end, id + 1);
  return end;
}

std::string_view Kind(const TokenizerSpec& spec, bool byte_level) {
  if (byte_level) return "byte-level BPE";
  return spec.model.byte_fallback ? "BPE with byte fallback" : "BPE";
}

// A Metaspace that marks the start of the input needs the position in the input of each piece of normalised
// text. Only the positions of raw pieces are known here. They are equivalent unless a normalizer can remove
// the first characters, or can make several characters of one and a stage cuts between them.
Status CheckStartIsKnown(const TokenizerSpec& spec, const PreTokenizer& pre_tokenizer) {
  if (!pre_tokenizer.marks_start() || spec.normalizers.empty()) return Status::Ok();
  const auto removes = [](const NormalizerSpec& stage) {
    return stage.kind == NormalizerSpec::kStrip ||
           (stage.kind == NormalizerSpec::kReplace && stage.content.empty());
  };
  const bool cut =
      pre_tokenizer.splits_before_mark() ||
      std::any_of(spec.added.begin(), spec.added.end(), [](const auto& t) { return t.normalized; });
  if (!cut && std::none_of(spec.normalizers.begin(), spec.normalizers.end(), removes)) return Status::Ok();
  return Unsupported(
      "pre_tokenizer Metaspace with prepend_scheme \"first\" is not supported by prefixd together with a "
      "normalizer that removes text, or with a normalizer and normalized added tokens or pre-tokenizers "
      "before it");
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json) {
  Result<TokenizerSpec> spec = ParseTokenizerJson(tokenizer_json);
  Result<std::unique_ptr<Tokenizer>> tokenizer = spec.ok() ? FromSpec(*spec) : spec.status();
  if (!tokenizer.ok()) return tokenizer.status().WithContext("tokenizer.json");
  return tokenizer;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::FromSpec(const TokenizerSpec& spec) {
  const bool byte_level =
      !spec.pre_tokenizers.empty() && spec.pre_tokenizers.back().kind == PreTokenizerSpec::kByteLevel;
  BpeModel model(spec.model, byte_level);
  PREFIXD_ASSIGN_OR_RETURN(TextNormalizer normalizer, TextNormalizer::Create(spec.normalizers));
  PREFIXD_ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer,
                           PreTokenizer::Create(spec.pre_tokenizers, model.takes_raw_bytes()));
  PREFIXD_RETURN_IF_ERROR(CheckStartIsKnown(spec, pre_tokenizer));
  PREFIXD_ASSIGN_OR_RETURN(TokenDecoder decoder, TokenDecoder::Create(spec.decoders));
  PREFIXD_ASSIGN_OR_RETURN(AddedTokens raw, SearchedTokens(spec, normalizer, /*normalized=*/false));
  PREFIXD_ASSIGN_OR_RETURN(AddedTokens normalized, SearchedTokens(spec, normalizer, /*normalized=*/true));
  const TokenId end_id = EndId(spec, model.end_id());
  auto parts = std::make_unique<Parts>(Parts{std::move(model),
                                             std::move(normalizer),
                                             std::move(pre_tokenizer),
                                             std::move(decoder),
                                             std::move(raw),
                                             std::move(normalized),
                                             {},
                                             {},
                                             spec.prefix_ids,
                                             spec.suffix_ids,
                                             end_id,
                                             MaxBytesPerToken(spec),
                                             Kind(spec, byte_level)});
  std::unordered_set<std::string_view> special;
  for (const AddedTokenSpec& token : spec.added) {
    if (token.special) special.insert(token.content);
  }
  for (const AddedTokenSpec& token : spec.added) {
    // As in the tokenizers library, a token that is searched in normalised text is decoded in its normalised
    // form, and is special only if that form is the name of a special token.
    std::string text = token.content;
    if (token.decoded_normalized) {
      PREFIXD_ASSIGN_OR_RETURN(text, parts->normalizer.Run(token.content));
    }
    const bool is_special = special.contains(text);
    parts->added.emplace(token.id, Parts::Added{std::move(text), is_special});
    parts->added_ids.emplace(token.content, token.id);
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(parts)));
}

Result<std::vector<TokenId>> Tokenizer::Encode(std::string_view utf8, EncodeOptions options) const {
  return IsValidUtf8(utf8) ? Encode(utf8, {}, options) : Encode(RepairUtf8(utf8), {}, options);
}

Result<std::vector<TokenId>> Tokenizer::Encode(const MarkedText& text, EncodeOptions options) const {
  if (IsValidUtf8(text.bytes())) return Encode(text.bytes(), text.input(), options);
  const MarkedText repaired = text.MapRuns([](std::string_view run) { return RepairUtf8(run); });
  return Encode(repaired.bytes(), repaired.input(), options);
}

Result<std::vector<TokenId>> Tokenizer::Encode(std::string_view utf8, std::span<const ByteRange> input,
                                               EncodeOptions options) const {
  std::vector<TokenId> ids;
  const std::vector<TokenId>& prefix = parts_->prefix_ids;
  if (options.add_special_tokens) ids = prefix;
  const auto begin = static_cast<ptrdiff_t>(ids.size());
  PREFIXD_RETURN_IF_ERROR(EncodeText(utf8, input, options, &ids));
  if (options.prefix_once && begin > 0 && ids.size() >= 2 * prefix.size() &&
      std::equal(prefix.begin(), prefix.end(), ids.begin() + begin))
    ids.erase(ids.begin(), ids.begin() + begin);
  if (options.add_special_tokens) ids.insert(ids.end(), parts_->suffix_ids.begin(), parts_->suffix_ids.end());
  return ids;
}

Status Tokenizer::EncodeText(std::string_view text, std::span<const ByteRange> input, EncodeOptions options,
                             std::vector<TokenId>* out) const {
  PreTokenized words;
  for (const AddedTokens::Piece& raw : parts_->added_raw.Split(text, options.parse_special, input)) {
    if (raw.id >= 0) {
      out->push_back(raw.id);
      continue;
    }
    const TextStart raw_start = raw.range.begin == 0 ? options.start : TextStart::kPiece;
    PREFIXD_ASSIGN_OR_RETURN(const MarkedText marked,
                             Normalize(text, input, {raw.range.begin, raw.range.end}, raw_start));
    const std::string& normal = marked.bytes();
    for (const AddedTokens::Piece& piece :
         parts_->added_normalized.Split(normal, options.parse_special, marked.input())) {
      if (piece.id >= 0) {
        out->push_back(piece.id);
        continue;
      }
      const TextStart start = piece.range.begin == 0 ? raw_start : TextStart::kPiece;
      PREFIXD_RETURN_IF_ERROR(parts_->pre_tokenizer.Run(Part(normal, piece.range), start, &words));
      for (const TextRange& word : words.pieces) parts_->model.Tokenize(words.Piece(word), out);
    }
  }
  return Status::Ok();
}

// Marks matter only to control tokens that are searched in normalised text, which few files have.
Result<MarkedText> Tokenizer::Normalize(std::string_view text, std::span<const ByteRange> input,
                                        ByteRange range, TextStart start) const {
  const bool within = start == TextStart::kWithin;
  if (parts_->added_normalized.has_control() && !input.empty())
    return parts_->normalizer.Run(MarkedPart(text, input, range), within);
  PREFIXD_ASSIGN_OR_RETURN(std::string normal,
                           parts_->normalizer.Run(text.substr(range.begin, range.end - range.begin), within));
  return MarkedText::Own(std::move(normal));
}

void Tokenizer::MarkControl(std::string_view own) {
  const auto mark = [&](const std::vector<AddedTokens::Piece>& pieces) {
    for (const AddedTokens::Piece& piece : pieces) {
      const std::string_view text = TokenText(piece.id).value_or("");
      if (!(text.starts_with('<') && text.ends_with('>')) && !(text.starts_with('[') && text.ends_with(']')))
        continue;
      parts_->added_raw.MarkControl(piece.id);
      parts_->added_normalized.MarkControl(piece.id);
    }
  };
  mark(parts_->added_raw.Split(own, true));
  if (const Result<std::string> normal = parts_->normalizer.Run(own); normal.ok())
    mark(parts_->added_normalized.Split(*normal, true));
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  DecodeStream stream(parts_->decoder);
  std::string text;
  for (const TokenId id : ids) {
    const auto token = TokenText(id);
    if (token && !(skip_special_tokens && IsSpecial(id))) stream.Push(*token, &text);
  }
  stream.Flush(&text);
  return text;
}

std::string Tokenizer::TokenBytes(TokenId id) const {
  const auto token = TokenText(id);
  return token ? parts_->decoder.Bytes(*token) : std::string();
}

bool Tokenizer::IsSpecial(TokenId id) const {
  const auto found = parts_->added.find(id);
  return found != parts_->added.end() && found->second.special;
}

bool Tokenizer::IsAdded(TokenId id) const { return parts_->added.contains(id); }

bool Tokenizer::IsControl(TokenId id) const {
  return IsAdded(id) && (parts_->added_raw.IsControl(id) || parts_->added_normalized.IsControl(id));
}

std::optional<std::vector<Tokenizer::ControlToken>> Tokenizer::FindControl(const MarkedText& text) const {
  if (parts_->added_normalized.has_control() || !IsValidUtf8(text.bytes())) return std::nullopt;
  std::vector<ControlToken> found;
  for (const AddedTokens::Piece& piece : parts_->added_raw.Split(text.bytes(), true, text.input())) {
    if (piece.id >= 0 && parts_->added_raw.IsControl(piece.id))
      found.push_back({piece.range.begin, piece.range.end, piece.id});
  }
  return found;
}

std::optional<TokenId> Tokenizer::TokenToId(std::string_view content) const {
  const auto found = parts_->added_ids.find(std::string(content));
  return found != parts_->added_ids.end() ? found->second : parts_->model.Find(content);
}

int Tokenizer::vocab_size() const { return parts_->end_id; }
size_t Tokenizer::max_bytes_per_token() const { return parts_->max_bytes_per_token; }
std::string_view Tokenizer::kind() const { return parts_->kind; }
const TokenDecoder& Tokenizer::decoder() const { return parts_->decoder; }

std::optional<std::string_view> Tokenizer::TokenText(TokenId id) const {
  const auto found = parts_->added.find(id);
  return found != parts_->added.end() ? std::optional<std::string_view>(found->second.content)
                                      : parts_->model.Content(id);
}

}  // namespace prefixd
