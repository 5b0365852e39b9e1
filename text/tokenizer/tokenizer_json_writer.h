// Writes a TokenizerSpec as the text of a tokenizer.json, which ParseTokenizerJson and the tokenizers library
// read as the same tokenizer. Pure function; any thread.
#pragma once

#include <string>

#include "text/tokenizer/spec.h"

namespace prefixd {

// Requires a spec with the invariants of text/tokenizer/spec.h whose added tokens are in the order of their
// ids.
std::string WriteTokenizerJson(const TokenizerSpec& spec);

}  // namespace prefixd
