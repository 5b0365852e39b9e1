// Reads the tokenizer and the chat template of a GGUF file, as engine/tokenizer_files.h does those of a
// folder, and writes them. Plain functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "engine/tokenizer_files.h"
#include "model/gguf.h"
#include "model/gguf_header.h"

namespace prefixd {

// Names come from the ids tokenizer.ggml.bos_token_id, eos_, unknown_, separator_, padding_, cls_ and
// mask_token_id; of these, -1 (and 2^32-1, which is -1 without a sign) means none. The template is the one
// given, or tokenizer.chat_template with tokenizer.chat_template.tool_use. Messages name the file and
// the key.
Result<TokenizerFiles> ReadGgufTokenizer(const GgufValues& values, std::string_view given_template);

// The tokens that end an answer: eos_token_id, eot_token_id and eom_token_id under tokenizer.ggml. An id of
// `vocab` or more is an error, and so is a negative one other than -1.
Result<std::vector<TokenId>> GgufEndTokens(const GgufValues& values, int vocab);

// Adds the values under `tokenizer` for a model with `vocab` embeddings whose answers end with one of `ends`.
// What these files say and a GGUF file cannot is refused, as VocabularyOfSpec does, or is added to `losses`.
Status AddGgufTokenizer(const TokenizerFiles& files, int vocab, const std::vector<TokenId>& ends,
                        GgufHeader* header, std::vector<std::string>* losses);

}  // namespace prefixd
