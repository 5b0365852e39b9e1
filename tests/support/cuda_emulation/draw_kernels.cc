// The kernels of kernels/cuda/draw_kernels.h in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/draw_kernels.h"

PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_DRAW_KERNELS)
