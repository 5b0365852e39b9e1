// The kernels of kernels/cuda/attention_kernels.h for KV whose numbers are expanded, in the emulation.
#include "tests/support/cuda_emulation/kernel_group.h"

#include "kernels/cuda/attention_kernels.h"

PREFIXD_EMULATE_KERNELS(PREFIXD_CUDA_ATTENTION_EXPANDED_KERNELS)
