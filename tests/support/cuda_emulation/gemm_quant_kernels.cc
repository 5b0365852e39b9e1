// The kernels of kernels/cuda/gemm_quant_kernels.h in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/gemm_quant_kernels.h"

PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_GEMM_QUANT_KERNELS)
