// Enters the kernels of one group of kernels/cuda/kernel_table.h into the list of the emulation. Each group
// has a source of its own, that includes this, the header with its kernels, and then says
//
//   PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_ROW_KERNELS)
//
// or PREFIXD_EMULATE_EARLY_KERNELS for kernels that await the launch before them by themselves.
#pragma once

#include "kernels/cuda/kernel_table.h"
#include "tests/support/cuda_emulation/device.inl.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"

#define PREFIXD_CUDA_ENTRY(id, params, ...) \
  {KernelId::id, {#id, [](const void* at) { __VA_ARGS__(*static_cast<const params*>(at)); }, sizeof(params)}},
#define PREFIXD_EMULATE_KERNELS(GROUP) PREFIXD_EMULATE_GROUP(GROUP, false)
#define PREFIXD_EMULATE_EARLY_KERNELS(GROUP) PREFIXD_EMULATE_GROUP(GROUP, true)
#define PREFIXD_EMULATE_GROUP(GROUP, early)                                    \
  namespace prefixd::cuda {                                                    \
  namespace {                                                                  \
  const cuda_emulation::KernelGroup group({GROUP(PREFIXD_CUDA_ENTRY)}, early); \
  }                                                                            \
  }
