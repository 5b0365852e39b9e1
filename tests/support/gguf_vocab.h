// The vocabulary of a GGUF file as a tokenizer.json, so that reference ids made for such files can be
// compared. A reader for tests: it takes what the reference files have (tokenizer.ggml.model "gpt2" and
// "llama") and refuses the rest.
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

// `bytes` is a whole file.
Result<GgufVocab> ReadGgufVocab(std::string_view bytes);

// "gpt2": byte-level BPE behind the patterns that `pre` names. "llama": SentencePiece's BPE; its merges are
// all ways to make a token of two others, ranked by the score of the token, then by the lengths and ids of
// the parts, as the converter of transformers does.
// `metaspace`: the newer form of such a file, whose pre-tokenizer splits at spaces.
Result<std::string> TokenizerJsonOf(const GgufVocab& vocab, bool metaspace = false);

}  // namespace prefixd::testing_support
