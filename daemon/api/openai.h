// The handlers of POST /v1/chat/completions and /v1/completions. They turn the body into prompts and start an
// Inference. Those of .../render, as vLLM has them for routers, respond with the tokens of the prompts
// instead. JsonHandlers; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>

#include "daemon/api/context.h"
#include "daemon/api/work.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

std::optional<ApiError> HandleChatCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                              const boost::json::object& body, Work& work);
std::optional<ApiError> HandleCompletions(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                          const boost::json::object& body, Work& work);
std::optional<ApiError> HandleChatRender(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                         const boost::json::object& body, Work& work);
std::optional<ApiError> HandleCompletionsRender(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                                const boost::json::object& body, Work& work);

}  // namespace prefixd
