#include "kernels/cuda/module/module_kernels.h"

#include <cstddef>

namespace prefixd::cuda {
namespace {

ModuleKernel* Kernels() {
  static ModuleKernel kernels[kKernels];
  return kernels;
}

}  // namespace

const ModuleKernel& KernelOf(KernelId kernel) { return Kernels()[static_cast<size_t>(kernel)]; }

int PresentKernels() {
  int present = 0;
  for (int i = 0; i < kKernels; ++i) present += Kernels()[i].function != nullptr ? 1 : 0;
  return present;
}

KernelGroup::KernelGroup(std::initializer_list<std::pair<KernelId, ModuleKernel>> kernels) {
  for (const auto& [id, kernel] : kernels) Kernels()[static_cast<size_t>(id)] = kernel;
}

}  // namespace prefixd::cuda
