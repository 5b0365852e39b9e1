// The kernels of kernels/cuda/gemm_quant_few_kernels.h in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/gemm_quant_few_kernels.h"

PREFIXD_EMULATE_EARLY_KERNELS(PREFIXD_CUDA_EARLY_QUANT_KERNELS)
