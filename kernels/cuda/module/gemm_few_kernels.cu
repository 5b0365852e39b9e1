#include "kernels/cuda/gemm_few_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_EARLY_KERNELS(PREFIXD_CUDA_EARLY_KERNELS, 32)
