// What a GGUF file says of a tokenizer by a name alone: how it normalises, splits and joins a text. A file of
// the kind "gpt2" has the name in tokenizer.ggml.pre; the kind "llama" is one way of its own.
//
// Tests compare the ids of the names in the table with those that another program gives for a tokenizer of
// that name: llama.cpp for "gpt-2", "smollm" and "deepseek-coder", the tokenizers library, which transformers
// uses, for "llama-bpe" and "qwen2". Programs that read GGUF do not normalise a text to NFC; the models of
// "qwen2" are made with it, and so does prefixd.
// Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/spec.h"

namespace prefixd {

struct GgufStages {
  std::vector<NormalizerSpec> normalizers;
  std::vector<PreTokenizerSpec> pre_tokenizers;
  std::vector<DecoderSpec> decoders;
  bool ignore_merges = false;  // a word that is a token is that token

  friend bool operator==(const GgufStages&, const GgufStages&) = default;
};

GgufStages StagesOf(const TokenizerSpec& spec);
GgufStages StagesOfLlama();
// The stages that `pre` names; nothing where the table does not have it.
std::optional<GgufStages> StagesOfPre(std::string_view pre);
// The names in the table that give these stages, but for ignore_merges.
std::vector<std::string_view> PresWithStages(const GgufStages& stages);
std::string NamesOfPres();  // "gpt-2, smollm, ..."

}  // namespace prefixd
