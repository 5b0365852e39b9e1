// Module: what libprefixd_cuda.so exports to the program that loads it (module_loader.h). The two are built
// from one source tree, with one compiler: CudaRuntime and Status cross the border as C++ objects. So the
// loader compares `abi`, `version` and `table` with its own before it uses anything else.
//
// Invariants
//   1. `abi` and `version` keep their places and types in every version.
//   2. kModuleAbi grows whenever Module, or a class that crosses the border, changes in a way that `table`
//      does not see: members of CudaRuntime, ProductLibrary, Status, Result or DeviceFacts.
//
// A plain value that lives as long as the process. The functions may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/fnv.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

inline constexpr uint32_t kModuleAbi = 4;
inline constexpr char kModuleFile[] = "libprefixd_cuda.so";

struct Module {
  uint32_t abi;         // kModuleAbi
  const char* version;  // of prefixd
  uint64_t table;       // KernelTableHash()
  int kernels;          // rows of the table that it has; kKernels
  // Sets *count to the number of devices, > 0. kUnavailable says why there is none: no driver, a driver that
  // is too old, no device.
  Status (*count_devices)(int* count);
  // Requires 0 <= device < count. kUnsupported: prefixd has no kernels for it. Otherwise as CudaRuntime.
  Status (*create_runtime)(int device, std::unique_ptr<CudaRuntime>* runtime);
};

// The name and type of the function that the module exports.
inline constexpr char kModuleEntry[] = "prefixd_cuda_module";
using ModuleEntry = const Module* (*)();

// A hash (FNV-1a, 64 bits) of the names of the kernels and of the sizes of what a launch passes to them.
constexpr uint64_t KernelTableHash() {
  uint64_t hash = kFnvEmpty;
  const auto add_row = [&hash](std::string_view name, size_t bytes) {
    hash = FnvAdd(FnvAdd(hash, name), bytes);
  };
#define PREFIXD_CUDA_KERNEL(id, params, ...) add_row(#id, sizeof(params));
  PREFIXD_CUDA_KERNELS(PREFIXD_CUDA_KERNEL)
#undef PREFIXD_CUDA_KERNEL
  return FnvAdd(FnvAdd(hash, sizeof(KernelLaunch)), sizeof(DeviceFacts));
}

}  // namespace prefixd::cuda
