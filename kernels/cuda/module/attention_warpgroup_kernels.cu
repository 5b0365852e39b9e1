#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/module/kernel_group.cuh"

PREFIXD_MODULE_KERNELS_OF(PREFIXD_CUDA_ATTENTION_WARPGROUP_KERNELS, kTeamUnits* device::kWarp, 90)
