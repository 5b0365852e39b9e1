// Reads the tokenizer and the chat template of a GGUF file, as engine/tokenizer_files.h does those of a
// folder. Plain functions; any thread.
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "engine/tokenizer_files.h"
#include "model/gguf.h"

namespace prefixd {

// Names come from the ids tokenizer.ggml.bos_token_id, eos_, unknown_, separator_, padding_, cls_ and
// mask_token_id. The template is the one given, or tokenizer.chat_template with
// tokenizer.chat_template.tool_use. Messages name the file and the key.
Result<TokenizerFiles> ReadGgufTokenizer(const GgufValues& values, std::string_view given_template);

// The tokens that end an answer: eos_token_id, eot_token_id and eom_token_id under tokenizer.ggml, as far as
// they are below `vocab`.
Result<std::vector<TokenId>> GgufEndTokens(const GgufValues& values, int vocab);

}  // namespace prefixd
