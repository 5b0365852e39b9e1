// What `serve` derives from its options and its plan for the parts that it starts. Pure functions but for the
// log; any thread.
#pragma once

#include "daemon/disk_tier.h"
#include "daemon/http/router.h"
#include "daemon/http/server.h"
#include "daemon/options.h"
#include "daemon/serve_plan.h"
#include "engine/engine_stats.h"
#include "engine/request.h"

namespace prefixd {

// Takes over the listening socket of the service manager, or of the program before this one, if there is one.
// kInvalidArgument: what the service manager passes does not fit (service_socket.h).
Result<HttpServerOptions> HttpOptionsFrom(const Options& options, const CorsPolicy& cors,
                                          const Router& router);
SamplingParams SamplingDefaults(const GenerationDefaults& recommended);

// Logs the program, what computes, the model and the limits, a line each.
void LogPlan(const Options& options, const ServePlan& plan);

// What the engine and the disk tier will be when the model is loaded: their capacities, and nothing in them.
EngineStats PlannedStats(const ServePlan& plan);
DiskTierStats PlannedDisk(const ServePlan& plan);

}  // namespace prefixd
