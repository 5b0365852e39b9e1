// The table of backends: which ones there are, which ones run on this machine, and how to create one. Any
// thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/numerics.h"
#include "kernels/operations.h"

namespace prefixd {

struct BackendInfo {
  std::string_view name;  // as in --backend
  bool runs_here;         // the CPU has the instructions, or the device is present
  std::string reason;     // why it does not run, in a few words; empty when runs_here
  // Whether its code is installed. That of `cuda` is a file beside the program; the others are part of it.
  bool installed = true;
  std::string passed_over;  // why "auto" leaves it out although it runs here, in a few words; mostly empty

  bool ForAuto() const { return runs_here && passed_over.empty(); }
};

// Returns the backends in order of preference, slowest first. The first call in a process tries the bf16
// instruction of a CPU that has one (cpu/dots_probe.h), for some milliseconds: `avx512bf16` does not run here
// if it has other bits than the definition, and "auto" leaves it out if it is no faster than fma.
std::vector<BackendInfo> ListBackends();

// Of the backend `cuda`; others look at none of it.
struct CudaOptions {
  int device = 0;               // the GPU, from 0
  bool deterministic = false;   // only its own kernels compute (cuda_backend.h), as those of the others do
  std::string product_choices;  // file of what cuBLASLt is to do; "": none
};

// Creates the backend `name`: a name from the table, or "auto" for the last one of the list for which ForAuto
// holds. `threads` is
// the number of compute threads of a CPU backend; 0 means one for each CPU that this process may use
// (base/usable_cpus.h). `version` is that of the numerics of a CPU backend. Returns kNotFound, with a message
// that lists the names, for a name that is not in the table, or when there is no such device. Returns
// kUnsupported for a backend that does not run here; errors of the device are those of cuda::CudaRuntime.
// Requires threads >= 0 and options.device >= 0.
Result<std::unique_ptr<Backend>> CreateBackend(std::string_view name, int threads,
                                               const CudaOptions& options = {},
                                               numerics::Version version = numerics::kLatest);

// Creates the operations of a backend that computes on the CPU, for tests and benchmarks of single
// operations; "auto" is the last of those. The errors are those of CreateBackend; kUnsupported for `cuda`.
Result<std::unique_ptr<Operations>> CreateOperations(std::string_view name, int threads,
                                                     numerics::Version version = numerics::kLatest);

}  // namespace prefixd
