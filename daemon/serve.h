// `prefixd serve`: runs the daemon from its options to its exit code.
//
// Threads: the main thread. Serve starts and joins all other threads.
//
// Phases: loading (inference is answered 503) -> serving -> draining (readiness and new inference are
// answered 503, running requests finish). When the device fails, the process executes its program again, once
// (relaunch.h). The first SIGTERM or SIGINT ends the process well, also in its place; a second one ends it at
// once.
#pragma once

#include <string>
#include <vector>

#include "daemon/options.h"
#include "daemon/reload.h"
#include "daemon/serve_plan.h"

namespace prefixd {

// Logs `warnings` first. `reader` reads the options again, for SIGHUP (reload.h).
ExitCode Serve(const Options& options, const std::vector<std::string>& warnings, OptionsReader reader);

}  // namespace prefixd
