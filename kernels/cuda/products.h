// Products: the matrix products of a model. The kernels Gemm compute every one of them. A ProductLibrary
// computes some faster, and Products decides which.
//
// cuBLASLt chooses its kernel by the whole shape. Left to itself, it gives the bits of a row by the number of
// rows, so by the batch: an answer with the cache would differ from one without. So it is used only where it
// has the bits of the kernel:
//
//   1. It is asked for ways without a split of K only. Such a way can add up an output in the order of the
//      kernel, whatever the number of rows.
//   2. Check tries each way against the kernel at the start, with the weights of the model and random x, at
//      the first and the last of the numbers of rows that it would serve (at most kMostCheckedRows), and
//      compares every bit. A way that differs is not used. For the numbers of rows between them this rests on
//      what an H200 with cuBLASLt 13.1 showed (bench/results/gpu_probe_h200.txt: four shapes, nine numbers of
//      rows from 1 to 512): 178 of 179 such ways had the bits of the kernel at all numbers of rows, and the
//      other one at none.
//      A ProductChoices has the ways of an earlier start; they are tried first, and alone if they are right.
//   3. The ways of small and of large numbers of rows may differ, because all have the same bits.
//   4. A use may begin at a number of rows (Use::fewest_rows): below it, the kernels are faster together than
//      the library is alone, because their launches overlap and do more.
//   5. The kernels serve the rest: f32 and quantised weights, products with a bias that are added to y,
//      products into rows of a longer y, n or k that are no multiples of kProductMultiple, shapes without a
//      way, whatever the library refuses in a step, and everything after an error of the library.
//
// A check is no proof. So KV that was computed with a library has a numerics version of its own
// (Backend::numerics_version): `--deterministic`, which has no library, never reads it.
//
// One owner, on one thread at a time.
#pragma once

#include <span>
#include <vector>

#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/product_choices.h"
#include "kernels/cuda/product_library.h"
#include "kernels/cuda/runtime.h"

namespace prefixd::cuda {

class Products {
 public:
  static constexpr int kMostCheckedRows = 1024;

  // A product of the model, with one of the matrices that have its shape.
  struct Use {
    const CudaMatrix* w;
    int fewest_rows = 1;
    int most_rows;
    const float* bias = nullptr;  // one of those that the product has in the layers
    bool accumulate = false;
  };

  // Everything is computed by the kernels.
  explicit Products(CudaRuntime* runtime) : runtime_(runtime) {}

  // Finds and checks the ways of `library`, and logs what it will compute. Allocates the workspace, and more
  // while it runs. What it finds it keeps in *choices. kUnavailable: the device is lost. kResourceExhausted:
  // no memory for the workspace. Anything else that fails leaves products to the kernels.
  Status Check(ProductLibrary* library, std::span<const Use> uses, ProductChoices* choices);

  // Gives a product to Stream::kCompute. `format` is that of w. After an error of the library the stream
  // may lack work, and the next product is one of the kernels.
  Status Multiply(const GemmParams& params, WeightFormat format);
  // Whether Multiply would ask the library. Pointers of the params may be null.
  bool Computes(const GemmParams& params, WeightFormat format) const {
    return Find(params, format) != nullptr;
  }

 private:
  const CheckedWay* Find(const GemmParams& params, WeightFormat format) const;

  CudaRuntime* const runtime_;
  ProductLibrary* library_ = nullptr;
  DeviceMemory workspace_;
  std::vector<CheckedWay> ways_;
};

}  // namespace prefixd::cuda
