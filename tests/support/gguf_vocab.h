// Converts the vocabulary of a GGUF file to a tokenizer.json, so that tests can compare reference ids for
// such files. It accepts the models of the reference files (tokenizer.ggml.model "gpt2" and "llama") and
// rejects all others. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace prefixd::testing_support {

struct GgufVocab {
  std::string model, pre;
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<int32_t> types;  // 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte
};

// Reads the vocabulary. `bytes` is a whole file.
Result<GgufVocab> ReadGgufVocab(std::string_view bytes);

// Returns the text of a tokenizer.json.
//   "gpt2":  byte-level BPE after the patterns that `pre` names.
//   "llama": the BPE of SentencePiece. Its merges are all ways to make a token from two others, ordered by
//            the score of the token, then by the lengths of the parts, longest first. The converter of
//            transformers does the same.
// `metaspace` selects the newer form for "llama", in which a pre-tokenizer splits at spaces.
Result<std::string> TokenizerJsonOf(const GgufVocab& vocab, bool metaspace = false);

}  // namespace prefixd::testing_support
