// ProductLibrary: a library of the machine that multiplies matrices on the device: cuBLASLt. The module has
// it for a device (kernels/cuda/module/blas_lt.h). A CudaRuntime loads and owns it; products.h decides what
// it computes.
//
// A product is y = x W^T, y = x W^T + bias, or y = y + x W^T, with f32 y and bias and with W and x of one
// 16-bit type: that of GemmParams. A way is how the library would compute it: its kernel, tiles and the like.
//
// Errors
//   kUnavailable: the device is lost, as with CudaRuntime.
//   Every other error is one of the library alone. The message names its call and its status.
//
// Threads: as CudaRuntime.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/runtime.h"
#include "kernels/kv_layout.h"

namespace prefixd::cuda {

struct ProductShape {
  DType type;  // kBF16 or kF16
  int rows, n, k;
  bool has_bias, accumulate;  // not both
};

// As the library describes it; a plain value that is used with the library that gave it.
struct ProductWay {
  uint64_t words[8] = {};
};

// Device memory that every product may use. The heuristic of cuBLASLt depends on its size.
inline constexpr size_t kProductWorkspaceBytes = size_t{32} << 20;
// What a product must have: pointers, but for that of the bias, to whole multiples of so many bytes, and n
// and k of so many elements.
inline constexpr size_t kProductAlignment = 256;
inline constexpr int kProductMultiple = 8;

class ProductLibrary {
 public:
  virtual ~ProductLibrary() = default;
  virtual const std::string& name() const = 0;  // "cuBLASLt 13.1.0"

  // Up to `most` ways for this shape that add up each output in one piece, without a split of K, and need
  // at most kProductWorkspaceBytes; what the library thinks the fastest comes first. None is no error.
  virtual Result<std::vector<ProductWay>> Ways(const ProductShape& shape, int most) = 0;

  // Gives a product to the stream. `type` is that of w and x. `workspace` has kProductWorkspaceBytes, and one
  // product at a time. False: the library does not compute this shape so, and the stream got nothing. After
  // another error nobody knows what the stream got.
  virtual Result<bool> Multiply(Stream stream, const ProductWay& way, DType type, const GemmParams& params,
                                std::byte* workspace) = 0;
};

}  // namespace prefixd::cuda
