// Maps errors of the engine to HTTP errors. Pure; any thread.
#pragma once

#include "base/status.h"
#include "daemon/api/generation_request.h"
#include "daemon/http/error_response.h"

namespace prefixd {

// The HTTP error for an error of Submit or of a running sequence.
ApiError EngineError(const Status& status);
// The same for a request that the engine ended: a mistake in the format that it asks for has its field.
ApiError EngineError(const Status& status, const GenerationRequest& request);

}  // namespace prefixd
