// `prefixd serve`: from options to an exit code. Main thread; everything else of the process lives inside.
//
// Phases: loading (HTTP answers, inference is 503) -> serving -> draining (readiness and new inference 503, what runs finishes).
#pragma once

#include <string>
#include <vector>

#include "daemon/options.h"
#include "daemon/plan.h"

namespace prefixd {

// `warnings` are logged first.
ExitCode Serve(const Options& options, const std::vector<std::string>& warnings);

}  // namespace prefixd
