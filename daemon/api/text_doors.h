// POST /tokenize, /detokenize, /apply-template: what text becomes which ids, what messages become which
// prompt. JsonHandlers; any thread. The two forms in use, vLLM's and llama.cpp's, are told apart by their
// keys.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>

#include "daemon/api/context.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

std::optional<ApiError> HandleTokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                       const boost::json::object& body);
std::optional<ApiError> HandleDetokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                         const boost::json::object& body);
std::optional<ApiError> HandleApplyTemplate(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                            const boost::json::object& body);

}  // namespace prefixd
