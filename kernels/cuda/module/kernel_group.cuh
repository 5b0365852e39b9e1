// Makes the __global__ functions of one group of kernel_table.h. A .cu file includes the header with the
// kernels and this, and then says
//
//   PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_ROW_KERNELS, 128)
//
// with the most threads that a block of the group has (launches.h): so many registers does a thread get. The
// functions have C names, prefixd_ and the id, which profilers and the table of registers show. They await
// the launch before them; those of PREFIXD_MODULE_EARLY_KERNELS leave that to the kernels.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/module/module_kernels.h"

#define PREFIXD_EARLY_FUNCTION(id, params, ...)                       \
  extern "C" __global__ void __launch_bounds__(kThreadsOfBlock, 1)    \
      prefixd_##id(const __grid_constant__ params params_of_launch) { \
    prefixd::device::LetSuccessorBegin();                             \
    __VA_ARGS__(params_of_launch);                                    \
  }
#define PREFIXD_GLOBAL_FUNCTION(id, params, ...)                      \
  extern "C" __global__ void __launch_bounds__(kThreadsOfBlock, 1)    \
      prefixd_##id(const __grid_constant__ params params_of_launch) { \
    prefixd::device::LetSuccessorBegin();                             \
    prefixd::device::AwaitPredecessor();                              \
    __VA_ARGS__(params_of_launch);                                    \
  }
#define PREFIXD_MODULE_KERNEL(id, params, ...) \
  {KernelId::id, {#id, reinterpret_cast<const void*>(&prefixd_##id), kThreadsOfBlock, kCapability}},
#define PREFIXD_MODULE_KERNELS(GROUP, threads) \
  PREFIXD_MODULE_FUNCTIONS(GROUP, PREFIXD_GLOBAL_FUNCTION, threads, 0)
#define PREFIXD_MODULE_EARLY_KERNELS(GROUP, threads) \
  PREFIXD_MODULE_FUNCTIONS(GROUP, PREFIXD_EARLY_FUNCTION, threads, 0)
// For devices of this compute capability alone.
#define PREFIXD_MODULE_KERNELS_OF(GROUP, threads, capability) \
  PREFIXD_MODULE_FUNCTIONS(GROUP, PREFIXD_GLOBAL_FUNCTION, threads, capability)
#define PREFIXD_MODULE_FUNCTIONS(GROUP, FUNCTION, threads, capability) \
  namespace prefixd::cuda {                                            \
  namespace {                                                          \
  constexpr int kThreadsOfBlock = threads;                             \
  constexpr int kCapability = capability;                              \
  }                                                                    \
  GROUP(FUNCTION)                                                      \
  namespace {                                                          \
  const KernelGroup group({GROUP(PREFIXD_MODULE_KERNEL)});             \
  }                                                                    \
  }
