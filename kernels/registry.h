// The table of backends: which are compiled in, which run on this machine, and how one is made. Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/backend.h"

namespace prefixd {

struct BackendInfo {
  std::string_view name;   // as in --backend
  bool runs_here;          // the CPU has the instructions (or the device is there)
  std::string reason;      // why not, in a few words; empty when runs_here
};

// In order of preference, slowest first.
std::vector<BackendInfo> ListBackends();

// `name`: one of the table, or "auto" for the best that runs here. threads: 0 = one per CPU this process may use.
// kNotFound for a name that is not in the table (the message lists it), kUnsupported for one that does not run here.
Result<std::unique_ptr<Backend>> CreateBackend(std::string_view name, int threads);

}  // namespace prefixd
