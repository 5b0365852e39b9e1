// POST /v1/chat/completions and /v1/completions: body to prompts, then Inference. Handlers; io threads.
#pragma once

#include <boost/json/object.hpp>
#include <memory>

#include "daemon/api/context.h"
#include "daemon/http/exchange.h"

namespace prefixd {

void HandleChatCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                           const boost::json::object& body);
void HandleCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                       const boost::json::object& body);

}  // namespace prefixd
