#include "text/tokenizer/bpe.h"

#include <algorithm>
#include <cstdio>

#include "base/check.h"
#include "text/tokenizer/byte_level.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {

BpeModel::BpeModel(const BpeSpec& spec, bool byte_level)
    : merges_(spec.merges.size()),
      prefix_(spec.continuing_subword_prefix),
      suffix_(spec.end_of_word_suffix),
      fuse_unk_(spec.fuse_unk),
      byte_fallback_(spec.byte_fallback),
      ignore_merges_(spec.ignore_merges) {
  ids_.reserve(spec.vocab.size());
  for (const auto& [content, id] : spec.vocab) {
    if (static_cast<size_t>(id) >= contents_.size()) contents_.resize(static_cast<size_t>(id) + 1);
    contents_[static_cast<size_t>(id)] = ids_.emplace(content, id).first->first;
    longest_ = std::max(longest_, content.size());
  }
  const auto id_of = [&](const std::string& content) {
    const auto id = Find(content);
    PREFIXD_CHECK(id.has_value()) << "\"" << content << "\" is not in the vocabulary";
    return *id;
  };
  uint32_t rank = 0;
  for (const auto& [left, right] : spec.merges) {
    merges_.Insert(id_of(left), id_of(right), {rank++, id_of(left + right.substr(prefix_.size()))});
  }
  if (spec.unk_token) unk_ = id_of(*spec.unk_token);
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    byte_tokens_[byte] = Find(name).value_or(-1);
    spelled_bytes_[byte] = Find(SpellByte(static_cast<unsigned char>(byte))).value_or(-1);
  }
  takes_raw_bytes_ =
      byte_level && prefix_.empty() && suffix_.empty() &&
      std::none_of(spelled_bytes_.begin(), spelled_bytes_.end(), [](TokenId id) { return id < 0; });
  // Affixes depend on the position in a piece, and ignore_merges on the whole piece.
  if (!ignore_merges_ && prefix_.empty() && suffix_.empty()) AddBorders(spec);
}

// The characters of pieces are those of token texts, or bytes, spelled as one character each in token texts.
void BpeModel::AddBorders(const BpeSpec& spec) {
  const auto character_at = [&](const char* at) -> std::optional<char32_t> {
    if (!takes_raw_bytes_) return Utf8At(at);
    const auto byte = UnspellBytes(std::string_view(at, Utf8Length(*at)));
    return byte ? std::optional<char32_t>(static_cast<unsigned char>((*byte)[0])) : std::nullopt;
  };
  std::vector<std::pair<char32_t, char32_t>> joined;
  std::vector<char32_t> symbols;
  for (const auto& [left, right] : spec.merges) {
    if (left.empty() || right.empty()) continue;  // no characters at a border
    size_t last = left.size() - 1;
    while ((static_cast<unsigned char>(left[last]) & 0xC0) == 0x80) --last;
    const auto end = character_at(&left[last]), start = character_at(right.data());
    if (end && start) joined.emplace_back(*end, *start);
  }
  for (const auto& [content, id] : spec.vocab) {
    if (content.empty() || Utf8Length(content[0]) != content.size()) continue;
    if (const auto character = character_at(content.data())) symbols.push_back(*character);
  }
  borders_.emplace(symbols, std::move(joined));
}

std::optional<TokenId> BpeModel::Find(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string_view> BpeModel::Content(TokenId id) const {
  if (id < 0 || id >= end_id() || contents_[static_cast<size_t>(id)].data() == nullptr) return std::nullopt;
  return contents_[static_cast<size_t>(id)];
}

void BpeModel::Tokenize(std::string_view piece, std::vector<TokenId>* out) const {
  if (!borders_ || piece.size() <= WordCache::kMaxKey) return TokenizePart(piece, out);
  for (size_t at = 0; at < piece.size();) {
    const size_t end = EndOfPart(piece, at);
    TokenizePart(piece.substr(at, end - at), out);
    at = end;
  }
}

size_t BpeModel::EndOfPart(std::string_view piece, size_t at) const {
  const auto character = [&](size_t i) {
    return takes_raw_bytes_ ? static_cast<unsigned char>(piece[i]) : Utf8At(&piece[i]);
  };
  const auto length = [&](size_t i) { return takes_raw_bytes_ ? 1 : Utf8Length(piece[i]); };
  char32_t left = character(at);
  for (at += length(at); at < piece.size(); at += length(at)) {
    const char32_t right = character(at);
    if (borders_->CanCut(left, right)) break;
    left = right;
  }
  return at;
}

void BpeModel::TokenizePart(std::string_view part, std::vector<TokenId>* out) const {
  const size_t hash = std::hash<std::string_view>()(part);
  if (cache_.Find(part, hash, out)) return;
  std::vector<TokenId> symbols;
  if (ignore_merges_ && part.size() <= longest_) {
    if (const auto whole = takes_raw_bytes_ ? Find(SpellBytes(part)) : Find(part)) symbols.push_back(*whole);
  }
  if (symbols.empty()) {
    if (takes_raw_bytes_) {
      for (const char byte : part) symbols.push_back(spelled_bytes_[static_cast<unsigned char>(byte)]);
    } else {
      Symbols(part, &symbols);
    }
    merges_.MergeAll(&symbols);
  }
  cache_.Put(part, hash, symbols);
  out->insert(out->end(), symbols.begin(), symbols.end());
}

// Appends the tokens of the characters. An unknown character gives its byte tokens, else the unknown token,
// else nothing.
void BpeModel::Symbols(std::string_view piece, std::vector<TokenId>* out) const {
  std::string spelled;
  bool unknown = false;  // an unknown token is pending, because it may fuse with the next
  for (size_t at = 0; at < piece.size();) {
    const size_t length = Utf8Length(piece[at]);
    const auto id = Character(piece.substr(at, length), at == 0, at + length == piece.size(), &spelled);
    at += length;
    if (id) {
      if (unknown) out->push_back(*unk_);
      unknown = false;
      out->push_back(*id);
    } else if (byte_fallback_ && ByteTokens(spelled, out)) {
      // As in the tokenizers library, byte tokens do not end a run of unknown characters. The token of the
      // run then follows them.
    } else if (unk_) {
      if (unknown && !fuse_unk_) out->push_back(*unk_);
      unknown = true;
    }
  }
  if (unknown) out->push_back(*unk_);
}

std::optional<TokenId> BpeModel::Character(std::string_view character, bool first, bool last,
                                           std::string* spelled) const {
  spelled->clear();
  if (!first) *spelled += prefix_;
  *spelled += character;
  if (last) *spelled += suffix_;
  return Find(*spelled);
}

bool BpeModel::ByteTokens(std::string_view spelled, std::vector<TokenId>* out) const {
  const auto token = [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)]; };
  if (std::any_of(spelled.begin(), spelled.end(), [&](char byte) { return token(byte) < 0; })) return false;
  for (const char byte : spelled) out->push_back(token(byte));
  return true;
}

}  // namespace prefixd
