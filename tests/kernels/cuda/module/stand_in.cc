// Modules for the tests of the loader, which differ from the program in one respect each, or find no device.
// CMakeLists.txt compiles this file once for each.
#include "kernels/cuda/module.h"

#ifndef STAND_IN_ABI
#define STAND_IN_ABI kModuleAbi
#endif
#ifndef STAND_IN_TABLE
#define STAND_IN_TABLE KernelTableHash()
#endif
#ifndef STAND_IN_KERNELS
#define STAND_IN_KERNELS kKernels
#endif
#ifndef STAND_IN_ENTRY
#define STAND_IN_ENTRY prefixd_cuda_module
#endif

extern "C" const prefixd::cuda::Module* STAND_IN_ENTRY() {
  using namespace prefixd;
  using namespace prefixd::cuda;
  static const Module module = {
      .abi = STAND_IN_ABI,
      .version = STAND_IN_VERSION,
      .table = STAND_IN_TABLE,
      .kernels = STAND_IN_KERNELS,
      .count_devices = [](int*) -> Status { return Unavailable("there is no NVIDIA driver (stand-in)"); },
      .create_runtime = [](int, std::unique_ptr<CudaRuntime>*) -> Status {
        return Unavailable("no device");
      }};
  return &module;
}
