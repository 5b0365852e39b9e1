// A module with two devices that the CPU emulates. Beside a program it makes the backend `cuda` run there.
// The environment says what the devices are like:
//
//   EMULATED_CUDA_BYTES   their memory
//   EMULATED_CUDA_OTHERS  bytes of it that other programs have
//   EMULATED_CUDA_OLD     they have the compute capability 7.5
//   EMULATED_CUDA_LOST    a file: when it exists, the next call loses the device and removes the file
//   EMULATED_CUDA_GONE    a file: where it exists, there are no devices
//   EMULATED_CUDA_BLASLT  they have a library of matrix products
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/cuda/module.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"
#include "tests/support/cuda_emulation/kernel_products.h"

namespace prefixd::cuda {
namespace {

size_t BytesOf(const char* variable, size_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Status CountEmulated(int* count) {
  const char* const gone = std::getenv("EMULATED_CUDA_GONE");
  if (gone != nullptr && access(gone, F_OK) == 0) return Unavailable("the devices are gone (emulated)");
  *count = 2;
  return Status::Ok();
}

Status CreateEmulated(int, std::unique_ptr<CudaRuntime>* runtime) {
  if (std::getenv("EMULATED_CUDA_OLD") != nullptr)
    return Unsupported("an emulated device of compute capability 7.5; the kernels need 8.0");
  cuda_emulation::EmulatedOptions options{.exact_products = false};
  options.bytes = BytesOf("EMULATED_CUDA_BYTES", options.bytes);
  options.others = BytesOf("EMULATED_CUDA_OTHERS", options.others);
  if (const char* const file = std::getenv("EMULATED_CUDA_LOST"))
    options.loses_device = [file] { return unlink(file) == 0; };
  // One for each runtime, which lives as long as the process.
  static std::vector<std::unique_ptr<cuda_emulation::KernelProducts>> libraries;
  cuda_emulation::KernelProducts& library =
      *libraries.emplace_back(std::make_unique<cuda_emulation::KernelProducts>());
  if (std::getenv("EMULATED_CUDA_BLASLT") != nullptr) options.products = &library;
  *runtime = std::make_unique<cuda_emulation::EmulatedRuntime>(options);
  library.set_runtime(runtime->get());
  return Status::Ok();
}

}  // namespace
}  // namespace prefixd::cuda

extern "C" const prefixd::cuda::Module* prefixd_cuda_module() {
  using namespace prefixd;
  using namespace prefixd::cuda;
  static const Module module = {.abi = kModuleAbi,
                                .version = PREFIXD_VERSION,
                                .table = KernelTableHash(),
                                .kernels = kKernels,
                                .count_devices = CountEmulated,
                                .create_runtime = CreateEmulated};
  return &module;
}
