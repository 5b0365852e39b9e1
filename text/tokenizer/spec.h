// What a tokenizer is made of, as plain data: the contents of a Hugging Face tokenizer.json, checked and
// flattened, and independent of the file format that it came from. Values; any thread.
//
// Invariants of a spec that ParseTokenizerJson returns
//   1. Ids are in [0, kMaxTokenId]; no id is given to two tokens; `vocab` and `added` agree where they name
//   the same text.
//   2. Patterns and added tokens are not empty; all strings are valid UTF-8.
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
};

// A token that is found in the text before any splitting.
struct AddedTokenSpec {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  // only between two characters that are not of a word
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;
  bool normalized = false;  // searched in normalised text, itself normalised
  bool special = false;     // can be left out when decoding
};

struct NormalizerSpec {
  enum Kind : unsigned char { kNfc, kNfd, kNfkc, kNfkd, kLowercase, kStrip, kPrepend, kReplace } kind;
  TextPattern pattern;                           // kReplace
  std::string content;                           // kPrepend, kReplace
  bool strip_left = false, strip_right = false;  // kStrip
};

enum class SplitBehavior : unsigned char {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};

// Where Metaspace puts its mark before a piece: only at the start of the input, everywhere, nowhere.
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
  bool invert = false;             // kSplit: what the pattern does not match is the delimiter
  bool add_prefix_space = false;   // kByteLevel
  bool use_regex = false;          // kByteLevel: GPT-2's pattern first
  bool individual_digits = false;  // kDigits
  std::string replacement;         // kMetaspace: one code point, which stands for a space
  PrependScheme prepend{};         // kMetaspace
  bool split = false;              // kMetaspace: before every replacement
};

struct DecoderSpec {
  enum Kind : unsigned char { kByteLevel, kReplace, kByteFallback, kFuse, kStrip, kMetaspace } kind;
  std::string pattern;    // kReplace: literal text; kMetaspace: one code point, which becomes a space
  std::string content;    // kReplace; kStrip: one code point
  size_t start = 0;       // kStrip: at most so many at the beginning
  size_t stop = 0;        // kStrip: and at the end
  bool prepends = false;  // kMetaspace: in the first token it was put there, and vanishes
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
  std::optional<std::vector<DecoderSpec>> decoders;  // in order; none: tokens are joined by spaces
  std::vector<TokenId> prefix_ids, suffix_ids;       // what the post-processor puts around a text
  BpeSpec model;
};

// kCorrupt: not what a tokenizer.json is. kUnsupported: a component, option or value that prefixd lacks; the
// message names its JSON path and value, not the file.
Result<TokenizerSpec> ParseTokenizerJson(std::string_view json);

}  // namespace prefixd
