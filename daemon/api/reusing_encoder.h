// Encodes a rendered conversation with the ids that were generated for its answers (generated_ids.h). Pure
// function of the text and of what GeneratedIds has; any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/marked_text.h"
#include "daemon/api/context.h"
#include "daemon/api/generated_ids.h"
#include "daemon/api/request_fields.h"

namespace prefixd {

// The scope of the answers to requests of an owner with a salt: 32 bytes.
std::string ScopeOfIds(std::string_view owner, std::string_view cache_salt);

struct ReusingPrompt {
  std::vector<TokenId> ids;
  AnswerPlace place;  // of the answer to the prompt
};

// `encode` encodes a part of the text; `first` says that it is its beginning. The ids decode to the text that
// those without reuse decode to, with the same control tokens at the same places: where they do not, as in a
// tokenizer that begins each part with a blank, no id is reused.
Parsed<ReusingPrompt> EncodeReusing(
    const ApiContext& context, std::string_view scope, const MarkedText& text,
    const std::function<Parsed<std::vector<TokenId>>(const MarkedText& part, bool first)>& encode);

// The text of an answer behind its prompt. Some tokenizers decode a token otherwise at the begin of a text.
std::string TextOfAnswer(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                         std::span<const TokenId> answer);

}  // namespace prefixd
