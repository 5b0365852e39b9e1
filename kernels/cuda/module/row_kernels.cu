#include "kernels/cuda/module/kernel_group.cuh"
#include "kernels/cuda/row_kernels.h"

PREFIXD_MODULE_KERNELS(PREFIXD_CUDA_ROW_KERNELS, kRowWarps * 32)
