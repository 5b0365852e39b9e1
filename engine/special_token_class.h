// The classes of tokenizers of transformers, as far as they decide about tokens. Included by
// special_token*.cc only. Constants; any thread.
#pragma once

#include <string_view>

#include "engine/special_tokens.h"

namespace prefixd {

struct TokenClass {
  std::string_view name;                // as "Qwen2Tokenizer"
  std::string_view bos, eos, unk, pad;  // default names; "": none
  bool pads_with_nothing = false;       // the padding of tokenizer.json gives no pad_token
  bool only_decoder = false;  // reads added tokens of added_tokens_decoder only; resets special tokens
};

// Returns the class that AutoTokenizer of transformers 5.24 takes for a folder. `spec` is its tokenizer.json.
const TokenClass& TokenClassOf(const SpecialTokenFiles& files, const TokenizerSpec& spec);

}  // namespace prefixd
