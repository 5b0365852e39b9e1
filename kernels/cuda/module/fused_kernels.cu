#include "kernels/cuda/fused_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_EARLY_KERNELS(PREFIXD_CUDA_FUSED_KERNELS, 128)
