// A cuBLASLt of the test: a shared library with the functions of cublasLt.h that kernels/cuda/module calls.
// It multiplies on the CPU, when it is called, as the documentation says: matrices are column-major, an
// operation may transpose, y = alpha op(A) op(B) + beta C. It shows what it was asked for, and fails when a
// test wants it to.
//
// The test loads the library as prefixd does, and gets its State by kStateFunction. One thread.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace prefixd::fake_blaslt {

struct Offer {
  int32_t split = 1;
  cublasStatus_t state = CUBLAS_STATUS_SUCCESS;
  size_t workspace = 0;
};

struct State {
  // The call with number `fails_at`, from 0, returns `error` instead of what it does. What destroys does not
  // count.
  uint64_t calls = 0, fails_at = UINT64_MAX;
  cublasStatus_t error = CUBLAS_STATUS_INTERNAL_ERROR;
  std::vector<Offer> offers = {Offer{}};  // of the heuristic
  bool offers_nothing = false;            // it returns CUBLAS_STATUS_NOT_SUPPORTED

  int alive = 0;                      // of handles, descriptions and preferences
  uint64_t workspace = 0;             // that the heuristic was told last
  uint32_t reductions = UINT32_MAX;   // as well
  int requested = 0;                  // as well
  bool asked_with_bias = false;       // as well
  std::vector<cudaStream_t> streams;  // of the products
  std::vector<uint64_t> algorithms;   // of the products: the number of the offer
  std::vector<size_t> workspaces;     // of the products
  std::string faults;                 // what the documentation does not allow
};

inline constexpr char kStateFunction[] = "fake_blaslt_state";
using StateFunction = State* (*)();

}  // namespace prefixd::fake_blaslt
