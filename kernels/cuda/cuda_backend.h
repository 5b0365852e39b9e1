// The CUDA backend: a Backend whose memory and steps are those of a CudaRuntime. Weights stay as they are in
// the files, row-major; KV blocks have the order of kv_order.h. What goes to the device is copied through
// pinned memory, a piece of which is filled while others are copied. Uploads have ended on return; CopyBlock
// has not: the streams of a KvCopier wait for it.
//
// Unless it is deterministic, it takes the ProductLibrary of the runtime where products.h lets it. Its
// numerics version then ends in "-blaslt", also when no product of a model takes it. `product_choices` is the
// path of a file for what Products chooses (product_choices.h); "": none.
//
// Threads: as Backend.
#pragma once

#include <memory>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

// `runtime` must outlive the backend.
std::unique_ptr<Backend> CreateCudaBackend(CudaRuntime* runtime, bool deterministic = false,
                                           std::string product_choices = {});
// The same, with a runtime that it owns.
std::unique_ptr<Backend> CreateCudaBackend(std::unique_ptr<CudaRuntime> runtime, bool deterministic = false,
                                           std::string product_choices = {});

}  // namespace prefixd::cuda
