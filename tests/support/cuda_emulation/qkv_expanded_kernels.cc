// The kernels of kernels/cuda/qkv_expanded_kernels.h for KV whose numbers are expanded, in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/qkv_expanded_kernels.h"

PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_QKV_EXPANDED_KERNELS)
