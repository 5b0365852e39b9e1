#include "kernels/cuda/gemm_quant_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_GEMM_QUANT_KERNELS, 128)
