// What device code and its callers on the host share: the words that mark functions, and types without
// functions. For host and device; kernels/cuda/device.h has the functions.
#pragma once

#include <cstddef>
#include <cstdint>

// PREFIXD_UNROLL, before a loop of constant length: an array that it walks over can then stay in registers.
// PREFIXD_UNROLL_STEPS: the same of kUnrolledSteps steps at a time, a constant where it is used.
#ifdef __CUDACC__
#define PREFIXD_UNROLL _Pragma("unroll")
#define PREFIXD_UNROLL_STEPS _Pragma("unroll kUnrolledSteps")
#define PREFIXD_DEVICE __device__ __forceinline__
#define PREFIXD_HOST_DEVICE __host__ __device__ __forceinline__
#else
#include <source_location>
#define PREFIXD_UNROLL
#define PREFIXD_UNROLL_STEPS
#define PREFIXD_DEVICE inline
#define PREFIXD_HOST_DEVICE inline
#endif

namespace prefixd::device {

inline constexpr int kWarp = 32;

// The line of a collective call, for the messages of the emulation. Callers leave it out.
#ifdef __CUDACC__
struct Where {
  PREFIXD_DEVICE static constexpr Where current() { return {}; }
};
#else
using Where = std::source_location;
#endif

enum class HalfType { kBF16, kF16 };

}  // namespace prefixd::device
