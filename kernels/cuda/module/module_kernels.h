// The kernels of kernel_table.h as functions of the module. Each group has a .cu file, which makes a
// __global__ function of each of its rows and enters it here before main; a group that is not linked is
// absent.
//
// Filled before main, constant afterwards. Any thread.
#pragma once

#include <initializer_list>
#include <utility>

#include "kernels/cuda/kernel_table.h"

namespace prefixd::cuda {

struct ModuleKernel {
  const char* name = nullptr;      // of its id
  const void* function = nullptr;  // null: absent
  int threads = 0;                 // the most of a block
  int capability = 0;              // > 0: only devices of this compute capability have it
};
const ModuleKernel& KernelOf(KernelId kernel);
// How many are there.
int PresentKernels();

class KernelGroup {
 public:
  KernelGroup(std::initializer_list<std::pair<KernelId, ModuleKernel>> kernels);
};

}  // namespace prefixd::cuda
