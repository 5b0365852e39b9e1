// Loads libprefixd_cuda.so, which has the kernels and is the only part of prefixd that calls CUDA. The
// program itself does not link it: it starts and computes on the CPU without the module, the driver and the
// device.
//
// A module that was loaded stays loaded. Any thread.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "kernels/cuda/module.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

// The file of the module: in the folder of the program that runs.
std::string ModulePath();

// Loads the module of a file and checks that it belongs to this program. kNotFound: there is no such file.
// kIo: it cannot be loaded. kUnsupported: it is no module, or one of another build. Never null.
Result<const Module*> LoadModule(const std::string& path);

// The module of ModulePath(), and the devices that it finds. Looked up once.
struct ModuleState {
  const Module* module = nullptr;
  bool present = false;  // there is such a file
  int devices = 0;       // that can be asked for
  std::string reason;    // in a few words, why there is none; empty when devices > 0
};
const ModuleState& FindModule();

// The runtime of a device, numbered from 0 in the order of CUDA_VISIBLE_DEVICES. kNotFound: there is no such
// device; kUnsupported: FindModule().reason, or prefixd has no kernels for it; otherwise as CudaRuntime.
Result<std::unique_ptr<CudaRuntime>> CreateRuntime(int device);
// The same, of a state that need not be that of FindModule. For tests.
Result<std::unique_ptr<CudaRuntime>> CreateRuntime(const ModuleState& state, int device);

// Loads the module of a file and counts its devices, as FindModule does. For tests.
ModuleState StateOf(const std::string& path);

}  // namespace prefixd::cuda
