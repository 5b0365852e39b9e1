// The Responses API of OpenAI: POST /v1/responses, and the routes of stored responses.
#pragma once

#include "daemon/api/api.h"

namespace prefixd {

extern const Api kResponsesApi;

}  // namespace prefixd
