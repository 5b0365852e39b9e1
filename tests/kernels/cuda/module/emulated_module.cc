// A module with two devices that the CPU emulates. Beside a program it makes the backend `cuda` run there.
#include "kernels/cuda/module.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"

extern "C" const prefixd::cuda::Module* prefixd_cuda_module() {
  using namespace prefixd;
  using namespace prefixd::cuda;
  static const Module module = {.abi = kModuleAbi,
                                .version = PREFIXD_VERSION,
                                .table = KernelTableHash(),
                                .kernels = kKernels,
                                .count_devices = [](int* count) -> Status {
                                  *count = 2;
                                  return Status::Ok();
                                },
                                .create_runtime = [](int, std::unique_ptr<CudaRuntime>* runtime) -> Status {
                                  *runtime = std::make_unique<cuda_emulation::EmulatedRuntime>(
                                      cuda_emulation::EmulatedOptions{.exact_products = false});
                                  return Status::Ok();
                                }};
  return &module;
}
