#include "kernels/cuda/gemm_quant_few_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_EARLY_KERNELS(PREFIXD_CUDA_EARLY_QUANT_KERNELS, 32)
