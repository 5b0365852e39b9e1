// An emulated device with a model, for the tests of engines on one. One thread.
#pragma once

#include <filesystem>

#include "kernels/cuda/cuda_backend.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"
#include "tests/support/engine_driver.h"

namespace prefixd::testing_support {

struct CudaMachine {
  CudaMachine(const std::filesystem::path& folder, const cuda_emulation::EmulatedOptions& options,
              const DriverLimits& limits, Quantization quantize = {})
      : runtime(options),
        loaded(*TryLoadRunner(folder, cuda::CreateCudaBackend(&runtime), limits, quantize)) {}

  cuda_emulation::EmulatedRuntime runtime;
  LoadedRunner loaded;
};

}  // namespace prefixd::testing_support
