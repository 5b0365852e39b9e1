// Encodes a rendered conversation with the ids that were generated for its answers (generated_ids.h). Pure
// function; any thread.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/marked_text.h"
#include "daemon/api/generated_ids.h"
#include "daemon/api/request_fields.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

// Encodes a part of the text. `start` says what is before it.
using EncodePart = std::function<Parsed<std::vector<TokenId>>(const MarkedText& part, TextStart start)>;

// The ids of `text`. Where answers were generated, it takes the ids of the one of which the text has most, or
// of the latest of these, as far as the text has it, in whole tokens. All other text is encoded, and a place
// where answers were generated is the border of two tokens, as it was then. The ids decode to the text, with
// the control tokens of its encoding: an answer is taken up to the first one that differs. Without answers,
// or where the places of control tokens are not known, all of the text is encoded at once.
Parsed<std::vector<TokenId>> EncodeReusing(const Tokenizer& tokenizer, const MarkedText& text,
                                           std::span<const PlacedAnswers> placed, const EncodePart& encode);

}  // namespace prefixd
