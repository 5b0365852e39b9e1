#include "kernels/cuda/draw_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_DRAW_KERNELS, kDrawThreads)
