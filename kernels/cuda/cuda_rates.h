// MeasureRates: how fast a device multiplies matrices, and how fast memory of the host reaches it. A
// measurement of some milliseconds, for `validate` and for what a daemon assumes about loads before it has
// made one.
//
// Any thread; nothing else runs on the device meanwhile, or the rates are too low.
#pragma once

#include "base/status.h"
#include "kernels/cuda/product_library.h"
#include "kernels/cuda/runtime.h"
#include "kernels/kv_layout.h"

namespace prefixd::cuda {

struct CudaRates {
  double flops = 0;       // of matrix products, per second
  double copy_bytes = 0;  // from pinned memory to the device, per second
};

// `dtype` is that of the weights. The kernel multiplies, or `library` where that is faster; null: there is
// none. Nobody checks the bits here. The errors are those of CudaRuntime; all memory is freed again.
Result<CudaRates> MeasureRates(CudaRuntime* runtime, ProductLibrary* library, DType dtype);

}  // namespace prefixd::cuda
