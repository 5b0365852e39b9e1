// The parts of a tokenizer as plain data: the contents of a Hugging Face tokenizer.json, checked and
// flattened, independent of the file format. Plain values; any thread.
//
// Invariants of a spec that ParseTokenizerJson returns
//   1. Ids are in [0, kMaxTokenId]. No two tokens have the same id. Where `vocab` and `added` have the same
//      text, they have the same id.
//   2. Patterns and added tokens are not empty. All strings are valid UTF-8.
//   3. Both parts of every merge, their product and the unknown token are in `vocab`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace prefixd {

inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

struct TextPattern {
  bool is_regex = false;  // Oniguruma, Ruby syntax; otherwise literal text
  std::string text;

  friend bool operator==(const TextPattern&, const TextPattern&) = default;
};

// A token that is searched in the text before it is split.
struct AddedTokenSpec {
  TokenId id = 0;
  std::string content;
  bool single_word = false;         // matches only between characters that are not word characters
  bool lstrip = false;              // includes the white space on its left
  bool rstrip = false;              // includes the white space on its right
  bool normalized = false;          // is normalised and searched in normalised text
  bool special = false;             // can be skipped when decoding
  bool decoded_normalized = false;  // is decoded in its normalised form

  friend bool operator==(const AddedTokenSpec&, const AddedTokenSpec&) = default;
};

struct NormalizerSpec {
  enum Kind : unsigned char { kNfc, kNfd, kNfkc, kNfkd, kLowercase, kStrip, kPrepend, kReplace } kind;
  TextPattern pattern;                           // kReplace
  std::string content;                           // kPrepend, kReplace
  bool strip_left = false, strip_right = false;  // kStrip

  friend bool operator==(const NormalizerSpec&, const NormalizerSpec&) = default;
};

enum class SplitBehavior : unsigned char {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};

// Which pieces Metaspace puts its mark before: only the one at the start of the input, all, or none.
enum class PrependScheme : unsigned char { kFirst, kAlways, kNever };

struct PreTokenizerSpec {
  enum Kind : unsigned char {
    kSplit,
    kByteLevel,
    kDigits,
    kMetaspace,
    kPunctuation,
    kWhitespace,       // \w+ and [^\w\s]+
    kWhitespaceSplit,  // \S+
  } kind;
  TextPattern pattern;             // kSplit
  SplitBehavior behavior{};        // kSplit, kPunctuation
  bool invert = false;             // kSplit: the text between matches is the delimiter
  bool add_prefix_space = false;   // kByteLevel
  bool use_regex = false;          // kByteLevel: splits by the pattern of GPT-2 first
  bool individual_digits = false;  // kDigits
  std::string replacement;         // kMetaspace: one code point, which replaces a space
  PrependScheme prepend{};         // kMetaspace
  bool split = false;              // kMetaspace: splits before every replacement

  friend bool operator==(const PreTokenizerSpec&, const PreTokenizerSpec&) = default;
};

struct DecoderSpec {
  enum Kind : unsigned char { kByteLevel, kReplace, kByteFallback, kFuse, kStrip, kMetaspace } kind;
  std::string pattern;    // kReplace: literal text; kMetaspace: one code point, which becomes a space
  std::string content;    // kReplace; kStrip: one code point
  size_t start = 0;       // kStrip: the most that are removed at the beginning
  size_t stop = 0;        // kStrip: the most that are removed at the end
  bool prepends = false;  // kMetaspace: the mark of the first token was added and is removed

  friend bool operator==(const DecoderSpec&, const DecoderSpec&) = default;
};

struct BpeSpec {
  std::vector<std::pair<std::string, TokenId>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

struct TokenizerSpec {
  std::vector<AddedTokenSpec> added;
  std::vector<NormalizerSpec> normalizers;           // in order
  std::vector<PreTokenizerSpec> pre_tokenizers;      // in order
  std::optional<std::vector<DecoderSpec>> decoders;  // in order; without a value, tokens are joined by spaces
  std::vector<TokenId> prefix_ids, suffix_ids;       // what the post-processor puts before and after a text
  std::optional<std::string> pad_token;              // of the padding, which itself is not used
  BpeSpec model;
};

// Parses the text of a tokenizer.json. kCorrupt: not JSON, or a value that makes no sense. kUnsupported: a
// component, option or value that prefixd does not support. The message names the JSON path and the value,
// not the file.
Result<TokenizerSpec> ParseTokenizerJson(std::string_view json);

}  // namespace prefixd
