// OneProduct: a fixture for tests of which products a library computes, with a device and a library of the
// emulation; and what such tests need besides. One owner.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "kernels/cuda/products.h"
#include "kernels/numerics.h"
#include "tests/kernels/cuda/step_world.h"
#include "tests/support/cuda_emulation/kernel_products.h"

namespace prefixd::cuda_test {

// Keeps the lines of a test.
class LogLines {
 public:
  LogLines() {
    SetLogLevel(LogLevel::kInfo);
    SetLogSink([this](LogLevel, std::string_view message, std::initializer_list<LogField> fields) {
      std::string& line = lines.emplace_back(message);
      for (const LogField& field : fields)
        line.append("; ").append(field.key).append("=").append(field.value);
    });
  }
  ~LogLines() {
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
    SetLogLevel(LogLevel::kWarning);
  }
  std::vector<std::string> lines;
};

// A device with a library, which must outlive it.
inline std::unique_ptr<cuda_emulation::EmulatedRuntime> DeviceWith(cuda_emulation::KernelProducts* library) {
  auto device = std::make_unique<cuda_emulation::EmulatedRuntime>(
      cuda_emulation::EmulatedOptions{.exact_products = false, .products = library});
  library->set_runtime(device.get());
  return device;
}
class OneProduct : public testing::Test {
 protected:
  using CudaMatrix = cuda::CudaMatrix;
  using DeviceMemory = cuda::DeviceMemory;
  using GemmParams = cuda::GemmParams;
  using ProductChoices = cuda::ProductChoices;
  using Products = cuda::Products;

  static constexpr int kRows = 20;

  CudaMatrix Weights(int n, int k, DType type, float value = 0.75f) {
    std::vector<uint16_t> bits(static_cast<size_t>(n * k) * (type == DType::kF32 ? 2 : 1));
    for (size_t i = 0; i < bits.size(); ++i) {
      const float element = value * (1.0f + static_cast<float>(i % 13));
      bits[i] = type == DType::kF16 ? numerics::F32ToF16(element) : numerics::F32ToBF16(element);
    }
    auto memory = DeviceMemory::Allocate(device_.get(), bits.size() * 2);
    auto pinned = cuda::PinnedMemory::Allocate(device_.get(), bits.size() * 2);
    PREFIXD_CHECK(memory.ok() && pinned.ok());
    std::memcpy(pinned->data(), bits.data(), bits.size() * 2);
    PREFIXD_CHECK(
        device_->CopyToDevice(Stream::kCompute, memory->data(), pinned->data(), bits.size() * 2).ok());
    Wait(*device_);
    return CudaMatrix(std::move(*memory), n, k, type);
  }

  // What Check returns for a product, and how often the library is used for it afterwards.
  Status Check(const CudaMatrix& w, const float* bias, Products* products, bool accumulate = false,
               ProductChoices* choices = nullptr) {
    const Products::Use use{.w = &w, .most_rows = kRows, .bias = bias, .accumulate = accumulate};
    ProductChoices none;
    return products->Check(&library_, {&use, 1}, choices != nullptr ? choices : &none);
  }
  size_t Given(Products* products, const CudaMatrix& w, const GemmParams& like) {
    DeviceArray<float> y(device_.get(), static_cast<size_t>(kRows * w.rows()));
    DeviceArray<float> x(device_.get(), static_cast<size_t>(kRows * w.cols() + 64));
    GemmParams params = like;
    params.w = w.data();
    params.x = reinterpret_cast<const std::byte*>(x.data()) + reinterpret_cast<size_t>(like.x);
    params.y = y.data();
    params.n = w.rows();
    params.k = w.cols();
    for (auto& given : library_.given) given.clear();
    const uint64_t launches = device_->launches();
    EXPECT_TRUE(products->Multiply(params, w.dtype()).ok());
    Wait(*device_);
    EXPECT_EQ(device_->launches(), launches + 1) << "one product, whoever makes it";
    return library_.given[0].size() + library_.given[1].size();
  }

  cuda_emulation::KernelProducts library_;
  std::unique_ptr<cuda_emulation::EmulatedRuntime> device_ = DeviceWith(&library_);
};

}  // namespace prefixd::cuda_test
