// BlasLt: cuBLASLt of the machine as a ProductLibrary. The module does not link it, because it is half a GiB
// large and a machine need not have it: it is loaded by name when it is asked for, and stays loaded.
//
// Invariants
//   1. Only a library of version 12 or later that has all functions is used. Its structs are those of the
//      headers of 13 that the module is compiled with.
//   2. A product is one of f32 arithmetic: the compute type and the type of alpha and beta are f32, alpha is
//      1, and beta is 1 or 0.
//   3. Its workspace is the caller's, with the size that the ways were asked for. It allocates no device
//      memory of its own besides that of its kernels' code.
//
// Threads: as CudaRuntime.
#pragma once

#include <cublasLt.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/product_library.h"

namespace prefixd::cuda {

class DeviceRuntime;

// The functions of the library that are used, without their prefix cublasLt.
#define PREFIXD_BLASLT_FUNCTIONS(X) \
  X(Create)                         \
  X(Destroy)                        \
  X(GetStatusName)                  \
  X(GetVersion)                     \
  X(Matmul)                         \
  X(MatmulAlgoConfigGetAttribute)   \
  X(MatmulAlgoGetHeuristic)         \
  X(MatmulDescCreate)               \
  X(MatmulDescDestroy)              \
  X(MatmulDescSetAttribute)         \
  X(MatmulPreferenceCreate)         \
  X(MatmulPreferenceDestroy)        \
  X(MatmulPreferenceSetAttribute)   \
  X(MatrixLayoutCreate)             \
  X(MatrixLayoutDestroy)

class BlasLt final : public ProductLibrary {
 public:
  // What the loader of the system looks for, in this order.
  static constexpr const char* kFiles[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                           "/usr/local/cuda/lib64/libcublasLt.so.13"};

  // Takes the first of the files that can be used. kNotFound: there is none of them. kUnsupported: none can
  // be used; the message says why not the last one. kUnavailable: the device is lost. `device` outlives it.
  static Result<std::unique_ptr<BlasLt>> Load(DeviceRuntime* device, std::span<const char* const> files);
  ~BlasLt() override;

  const std::string& name() const override { return name_; }
  Result<std::vector<ProductWay>> Ways(const ProductShape& shape, int most) override;
  Result<bool> Multiply(Stream stream, const ProductWay& way, DType type, const GemmParams& params,
                        std::byte* workspace) override;

 private:
  struct Functions {
#define PREFIXD_BLASLT_MEMBER(function) decltype(&cublasLt##function) function = nullptr;
    PREFIXD_BLASLT_FUNCTIONS(PREFIXD_BLASLT_MEMBER)
#undef PREFIXD_BLASLT_MEMBER
  };
  class Operands;

  explicit BlasLt(DeviceRuntime* device) : device_(device) {}
  Status Open(const char* file);
  Status Begin();  // the handle, and what all products have in common
  Status Take(cublasStatus_t status, const char* call) const;

  DeviceRuntime* const device_;
  Functions functions_;
  std::string name_;
  cublasLtHandle_t handle_ = nullptr;
  Status Describe(cublasLtMatmulDesc_t* operation);
  cublasLtMatmulDesc_t operation_ = nullptr, operation_with_bias_ = nullptr;
};

}  // namespace prefixd::cuda
