// The routes of the OpenAI API, of the health checks and of the tokenizer.
#pragma once

#include <boost/json/object.hpp>

#include "daemon/api/context.h"
#include "daemon/http/router.h"

namespace prefixd {

// Adds all routes. `context` outlives the router. Handlers run on io threads.
void AddApiRoutes(Router* router, const ApiContext* context);

// The document of /ready: "ready", "state" and "checks".
boost::json::object ReadyDocument(const ApiContext& context);

}  // namespace prefixd
