#include "kernels/cuda/module/kernel_group.cuh"
#include "kernels/cuda/qkv_kernels.h"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_QKV_KERNELS, kRowWarps * 32)
