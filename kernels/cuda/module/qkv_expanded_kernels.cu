#include "kernels/cuda/module/kernel_group.cuh"
#include "kernels/cuda/qkv_expanded_kernels.h"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_QKV_EXPANDED_KERNELS, kRowWarps * 32)
