// POST /tokenize, /detokenize, /apply-template: what text becomes which ids, what messages become which
// prompt. Handlers; io threads. The two forms in use, vLLM's and llama.cpp's, are told apart by their keys.
#pragma once

#include <boost/json/object.hpp>
#include <memory>

#include "daemon/api/context.h"
#include "daemon/http/exchange.h"

namespace prefixd {

void HandleTokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                    const boost::json::object& body);
void HandleDetokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                      const boost::json::object& body);
void HandleApplyTemplate(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                         const boost::json::object& body);

}  // namespace prefixd
