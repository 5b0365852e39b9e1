// The routes of the OpenAI API, of the health checks and of the tokenizer.
#pragma once

#include "daemon/api/context.h"
#include "daemon/http/router.h"

namespace prefixd {

// Adds all routes. `context` outlives the router. Handlers run on io threads.
void AddApiRoutes(Router* router, const ApiContext* context);

}  // namespace prefixd
