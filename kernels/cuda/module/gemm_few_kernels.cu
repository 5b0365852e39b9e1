#include "kernels/cuda/gemm_few_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_GEMM_FEW_KERNELS, 32)
