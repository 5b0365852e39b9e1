// The body of POST /v1/messages and /v1/messages/count_tokens, read into the request that all APIs share.
// Errors name fields as Anthropic does: "messages.0.content.1". Plain values; any thread.
//
// Fields that other APIs have and this one lacks (`min_p`, `seed`, `cache_salt`, `chat_template_kwargs`, ...)
// are read as there.
#pragma once

#include <boost/json/object.hpp>

#include "daemon/api/chat_request.h"
#include "daemon/api/context.h"

namespace prefixd {

// `counts`: the tokens are only counted, and `max_tokens` may be missing.
Parsed<ChatRequest> ReadMessagesRequest(const boost::json::object& body, const ApiContext& context,
                                        bool counts);

}  // namespace prefixd
