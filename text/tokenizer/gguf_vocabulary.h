// Makes the values under tokenizer.ggml of a TokenizerSpec: the inverse of text/tokenizer/gguf_spec.h. What a
// GGUF file cannot say of a tokenizer is refused, or said to be lost where it hardly matters. Pure functions;
// any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/tokenizer/gguf_spec.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

struct MadeVocabulary {
  std::string model, pre;
  std::vector<std::string> tokens;  // one for each id of the model
  std::vector<std::string> merges;  // of "gpt2"
  std::vector<float> scores;        // of "llama"
  std::vector<int32_t> types;
  bool add_bos = false, add_eos = false;
  std::optional<TokenId> bos, eos, unknown;
  std::vector<std::string> losses;  // sentences without a full stop, for people

  // Refers to this.
  GgufVocabulary View() const;
};

// Makes the vocabulary of a model with `vocab` embeddings. `bos` and `eos` are the tokens of these names.
//
// SpecOfGguf of the result has the tokens, merges and stages of `spec`; that is checked. kUnsupported: there
// is no such result. The message names the part of tokenizer.json.
Result<MadeVocabulary> VocabularyOfSpec(const TokenizerSpec& spec, int vocab, std::optional<TokenId> bos,
                                        std::optional<TokenId> eos);

}  // namespace prefixd
