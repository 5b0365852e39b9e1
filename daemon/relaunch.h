// Relaunch: the process executes its program again. After some errors of a CUDA device no process that has
// used it may use it again, so a daemon with a lost device begins anew. It does that once: the second time it
// ends, and the service manager decides. A variable of the environment tells the two apart.
//
// Threads: the main thread.
#pragma once

#include "base/status.h"

namespace prefixd {

inline constexpr char kRelaunchedVariable[] = "PREFIXD_RELAUNCHED";

// Returns whether this program was executed by Relaunch.
bool WasRelaunched();

// Executes the program of this process again, with the same arguments: the process keeps its id, and all
// its other threads and its open files beside the standard ones end. Returns only when that fails. In the
// folder of deploy/bundle the program is the dynamic loader, and its arguments name prefixd.
Status Relaunch();

}  // namespace prefixd
