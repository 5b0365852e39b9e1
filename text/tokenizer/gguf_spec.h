// Makes a TokenizerSpec of the vocabulary of a GGUF file. Such a file has the tokens and merges of a
// tokenizer, and names the way in which it splits a text. Pure functions; any thread.
//
// The kinds (tokenizer.ggml.model)
//   "gpt2"   byte-level BPE. `pre` names how a text is split, and is one of the table in gguf_stages.cc.
//   "llama"  the BPE of SentencePiece. Its merges are all ways to make a token of two others, ordered by the
//            score of the token, then by the lengths of the parts in characters, longest first.
// Every other kind and every other name is refused. Ids without a token have the type kUnused and the text
// GgufPadding(id); they are left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

// The types of tokens (tokenizer.ggml.token_type).
enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};
// The text of an id that has no token: "[PAD670]".
std::string GgufPadding(size_t id);

// The values under tokenizer.ggml. Views of the file.
struct GgufVocabulary {
  std::string_view model, pre;
  std::vector<std::string_view> tokens, merges;
  std::vector<float> scores;
  std::vector<int32_t> types;  // of tokens; empty: all are normal
  std::optional<bool> add_space_prefix, add_bos, add_eos;
  std::optional<TokenId> bos, eos, unknown;
};

// Satisfies the invariants of a TokenizerSpec. kCorrupt: values that contradict one another. kUnsupported:
// see above. The message names the key, not the file.
Result<TokenizerSpec> SpecOfGguf(const GgufVocabulary& vocabulary);

}  // namespace prefixd
