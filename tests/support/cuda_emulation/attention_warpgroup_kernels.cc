// The kernels of kernels/cuda/attention_staged.h by warpgroups in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/attention_kernels.h"

PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_ATTENTION_WARPGROUP_KERNELS)
