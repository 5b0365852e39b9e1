// Arrays of an element type that is known at run time only, and what the tests of kernels fill them with and
// compare them with. One thread.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/prng.h"
#include "kernels/host_memory.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/reference.h"

namespace prefixd::cuda_test {

inline constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

inline size_t Elements(int rows, int width) { return static_cast<size_t>(rows) * static_cast<size_t>(width); }

// Numbers of both signs and many sizes, that the type has.
inline std::vector<float> Numbers(size_t count, DType type, uint64_t seed) {
  Prng prng(seed);
  std::vector<float> numbers(count);
  for (float& number : numbers) {
    const float size = std::ldexp(1.0f, static_cast<int>(prng.Below(6)) - 3);
    number = Rounded((static_cast<float>(prng.Below(2001)) / 1000.0f - 1.0f) * size, type);
  }
  return numbers;
}

// The bytes of an array of `type`.
inline std::vector<std::byte> BytesOf(const std::vector<float>& values, DType type) {
  std::vector<std::byte> bytes(values.size() * DTypeBytes(type));
  for (size_t i = 0; i < values.size(); ++i) StoreElement(bytes.data(), type, i, values[i]);
  return bytes;
}

// An array in device memory; the test sees its elements as f32. Unwritten elements are NaN.
class TypedArray {
 public:
  TypedArray(cuda::CudaRuntime* device, DType type, size_t size)
      : type_(type), bytes_(device, size * DTypeBytes(type)) {}
  TypedArray(cuda::CudaRuntime* device, DType type, const std::vector<float>& values)
      : TypedArray(device, type, values.size()) {
    bytes_.Set(BytesOf(values, type));
  }
  std::byte* data() const { return bytes_.data(); }
  std::vector<float> Get() const {
    const std::vector<std::byte> bytes = bytes_.Get();
    std::vector<float> values(bytes.size() / DTypeBytes(type_));
    for (size_t i = 0; i < values.size(); ++i) values[i] = LoadElement(bytes.data(), type_, i);
    return values;
  }

 private:
  DType type_;
  DeviceArray<std::byte> bytes_;
};

// Equal bits, or both NaN.
inline void ExpectSame(const std::vector<float>& got, const std::vector<float>& expected,
                       const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    const bool same = std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(expected[i]) ||
                      (std::isnan(got[i]) && std::isnan(expected[i]));
    ASSERT_TRUE(same) << what << ": element " << i << " is " << got[i] << ", not " << expected[i];
  }
}

// Runs one launch to its end.
inline void RunLaunch(cuda::CudaRuntime& device, const cuda::KernelLaunch& launch) {
  const Status status = device.Launch(cuda::Stream::kCompute, launch);
  ASSERT_TRUE(status.ok()) << status.ToString();
  Wait(device);
}

}  // namespace prefixd::cuda_test
