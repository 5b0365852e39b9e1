#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_ATTENTION_KERNELS, kMostStagedThreads)
