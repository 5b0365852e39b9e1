// What an engine refuses: options that contradict each other or the model, requests that cannot be served.
// Pure functions; any thread. Each error names the value and the limit that it breaks.
#pragma once

#include "base/status.h"
#include "engine/engine.h"

namespace prefixd {

Status CheckOptions(const EngineOptions& options);

// The steps of the scheduler must fit the buffers of the model.
Status CheckModelLimits(const EngineOptions& options, const TransformerLimits& model);

// kInvalidArgument: see Engine::Submit.
Status CheckRequest(const EngineOptions& options, int vocab, const Request& request);

}  // namespace prefixd
