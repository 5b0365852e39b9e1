// Bodies that are as long as a request or longer: lists of tokens and texts. They are written while they are
// sent, from the token ids or the text, whose bytes they keep reserved.
//
// Threads: any thread may call the functions; the sources have one owner at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api/context.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// Appends a text to a JSON string, with the escapes that JSON requires. The parts of a text may be appended
// one by one.
void AppendEscaped(std::string_view text, std::string* out);

// A part of a body: `head`, then what `item` appends for each token, separated by commas.
struct TokenSection {
  std::string head;
  std::function<void(TokenId, std::string*)> item;
};
// Responds with the sections, then `tail`. Returns the error to respond with when the budget has no room.
std::optional<ApiError> RespondTokens(Exchange& exchange, std::vector<TokenId> ids,
                                      std::vector<TokenSection> sections, std::string tail);

// Responds with {"NAME":TEXT,...} for every name, where TEXT is the decoded text of the tokens.
std::optional<ApiError> RespondDecoded(Exchange& exchange, const Tokenizer& tokenizer,
                                       std::vector<TokenId> ids, std::vector<std::string> names);

// Responds with {"NAME":TEXT}.
std::optional<ApiError> RespondText(Exchange& exchange, std::string name, std::string text);

}  // namespace prefixd
