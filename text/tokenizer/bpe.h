// Byte-pair encoding: turns a piece of text into tokens by merging neighbours, best merge first (Sennrich,
// Haddow, Birch: "Neural machine translation of rare words with subword units", 2016). The result equals that
// of the `BPE` model of tokenizer.json. Immutable except for a word cache that does its own locking; any
// thread.
//
// Invariants
//   1. Of the merges that apply, the one of the lowest rank is done; of equal ones, the leftmost.
//   2. A piece of n symbols takes the time and memory of MergeTable::MergeAll.
//   3. The cache never changes a result and never grows.
//
// Without a pre-tokenizer, the whole text is one piece. A long piece is cut where a cut does not change its
// tokens (see merge_borders.h), so that the cache holds its words as well.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "text/tokenizer/merge_borders.h"
#include "text/tokenizer/merges.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/word_cache.h"

namespace prefixd {

class BpeModel {
 public:
  // `spec` satisfies invariants 1 and 3 of TokenizerSpec. `byte_level`: pieces are in the byte-level
  // alphabet.
  BpeModel(const BpeSpec& spec, bool byte_level);

  // Appends the tokens of a piece to `out`. The piece is not empty and valid UTF-8. If takes_raw_bytes(), it
  // is any bytes, which are read as their spelling in the byte-level alphabet.
  void Tokenize(std::string_view piece, std::vector<TokenId>* out) const;

  // True if pieces are in the byte-level alphabet, every byte has its own token, and symbols have no affixes.
  // The caller then need not spell the bytes first.
  bool takes_raw_bytes() const { return takes_raw_bytes_; }
  std::optional<TokenId> Find(std::string_view content) const;
  // Returns nothing for an id without a token.
  std::optional<std::string_view> Content(TokenId id) const;
  TokenId end_id() const { return static_cast<TokenId>(contents_.size()); }  // one past the highest id

 private:
  void AddBorders(const BpeSpec& spec);
  // Returns the end of the part of `piece` that begins at `at`.
  size_t EndOfPart(std::string_view piece, size_t at) const;
  void TokenizePart(std::string_view part, std::vector<TokenId>* out) const;
  void Symbols(std::string_view piece, std::vector<TokenId>* out) const;
  // Returns the token of one character with the affixes of its position.
  std::optional<TokenId> Character(std::string_view character, bool first, bool last,
                                   std::string* spelled) const;
  bool ByteTokens(std::string_view spelled, std::vector<TokenId>* out) const;

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  std::unordered_map<std::string, TokenId, Hash, std::equal_to<>> ids_;
  std::vector<std::string_view> contents_;  // by id; views of the keys of ids_, or null
  MergeTable merges_;
  std::array<TokenId, 256> byte_tokens_;    // "<0xXX>", or -1
  std::array<TokenId, 256> spelled_bytes_;  // the byte-level alphabet, or -1
  bool takes_raw_bytes_ = false;
  std::optional<TokenId> unk_;
  std::string prefix_, suffix_;
  bool fuse_unk_, byte_fallback_, ignore_merges_;
  size_t longest_ = 0;                   // bytes of the longest token
  std::optional<MergeBorders> borders_;  // empty if pieces are not cut
  mutable WordCache cache_;
};

}  // namespace prefixd
