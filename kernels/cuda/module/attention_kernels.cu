#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

// Attention has one warp in a block, and the fold kRowWarps.
PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_ATTENTION_KERNELS, kRowWarps * 32)
