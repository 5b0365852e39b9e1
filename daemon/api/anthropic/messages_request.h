// The body of POST /v1/messages and /v1/messages/count_tokens, read into the request that all APIs share.
// Errors name fields as Anthropic does: "messages.0.content.1". Plain values; any thread.
//
// Fields that other APIs have and this one lacks (`min_p`, `seed`, `cache_salt`, `chat_template_kwargs`, ...)
// are read as there.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "daemon/api/chat_request.h"
#include "daemon/api/context.h"

namespace prefixd {

struct MessagesRequest {
  ChatRequest chat;
  // `diagnostics.previous_message_id`, if the request asks for diagnostics; empty where that is null.
  std::optional<std::string> compare_with;
};

// The fields of POST /v1/messages, and of /v1/messages/count_tokens.
const FieldTable& MessagesFields();
const FieldTable& CountTokensFields();

// `counts`: the tokens are only counted, and `max_tokens` may be missing.
Parsed<MessagesRequest> ReadMessagesRequest(const boost::json::object& body, const ApiContext& context,
                                            bool counts);

}  // namespace prefixd
