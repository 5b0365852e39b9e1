// The stages of a tokenizer.json around its model. Included by the tokenizer_json*.cc files only.
#pragma once

#include "base/json_fields.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

// Reads the normalizer, pre-tokenizer, post-processor and decoder of the file whose root is `root`.
Status ReadTokenizerStages(const JsonFields& root, TokenizerSpec* out);

}  // namespace prefixd
