// What the engine's errors are over HTTP. Pure; any thread.
#pragma once

#include "base/status.h"
#include "daemon/http/error_response.h"

namespace prefixd {

// The answer to an error of Submit or of a running sequence.
ApiError EngineError(const Status& status);

}  // namespace prefixd
