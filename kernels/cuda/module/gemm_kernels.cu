#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_GEMM_KERNELS, kGemmThreads)
