// The routes of the OpenAI API, of health and of the tokenizer doors.
#pragma once

#include "daemon/api/context.h"
#include "daemon/http/router.h"

namespace prefixd {

// `context` outlives the router's use. Handlers run on io threads.
void AddApiRoutes(Router* router, const ApiContext* context);

}  // namespace prefixd
