// The validity checks of the engine: options that contradict each other or the model, and requests that
// cannot be served. Pure functions; any thread. Each error message names the value and the limit that it
// exceeds.
#pragma once

#include "base/status.h"
#include "engine/engine.h"
#include "kernels/model_plan.h"

namespace prefixd {

// kInvalidArgument: the options contradict each other.
Status CheckOptions(const EngineOptions& options);

// kInvalidArgument: a step of the scheduler would not fit the buffers of the model.
Status CheckModelLimits(const EngineOptions& options, const StepLimits& model);

// kInvalidArgument: see Engine::Submit.
Status CheckRequest(const EngineOptions& options, int vocab, const Request& request);

}  // namespace prefixd
