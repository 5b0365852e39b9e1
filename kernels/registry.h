// The table of backends: which ones are compiled in, which ones run on this machine, and how to create one.
// Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/operations.h"

namespace prefixd {

struct BackendInfo {
  std::string_view name;  // as in --backend
  bool runs_here;         // the CPU has the instructions, or the device is present
  std::string reason;     // why it does not run, in a few words; empty when runs_here
};

// Returns the backends in order of preference, slowest first.
std::vector<BackendInfo> ListBackends();

// Creates the backend `name`: a name from the table, or "auto" for the fastest that runs here. `threads` is
// the number of compute threads; 0 means one for each CPU that this process may use (base/usable_cpus.h).
// Returns kNotFound, with a message that lists the names, for a name that is not in the table. Returns
// kUnsupported for a backend that does not run here. Requires threads >= 0.
Result<std::unique_ptr<Backend>> CreateBackend(std::string_view name, int threads);

// Creates the operations of a backend that computes on the CPU, for tests and benchmarks of single
// operations. The arguments and errors are those of CreateBackend.
Result<std::unique_ptr<Operations>> CreateOperations(std::string_view name, int threads);

}  // namespace prefixd
