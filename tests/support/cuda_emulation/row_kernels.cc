// The kernels of kernels/cuda/row_kernels.h in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/row_kernels.h"

PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_ROW_KERNELS)
