// The kernels of kernels/cuda/fused_kernels.h in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/fused_kernels.h"

PREFIXD_EMULATE_EARLY_KERNELS(PREFIXD_CUDA_FUSED_KERNELS)
