// What libprefixd_cuda.so exports (kernels/cuda/module.h).
#include "kernels/cuda/module.h"

#include "kernels/cuda/module/device_runtime.h"
#include "kernels/cuda/module/module_kernels.h"

extern "C" __attribute__((visibility("default"))) const prefixd::cuda::Module* prefixd_cuda_module() {
  using namespace prefixd::cuda;
  static const Module module = {.abi = kModuleAbi,
                                .version = PREFIXD_VERSION,
                                .table = KernelTableHash(),
                                .kernels = PresentKernels(),
                                .count_devices = CountDevices,
                                .create_runtime = CreateDeviceRuntime};
  return &module;
}
