// Tests the measurement of the rates of a device.
#include <gtest/gtest.h>

#include "kernels/cuda/cuda_rates.h"
#include "tests/support/cuda_emulation/emulated_runtime.h"
#include "tests/support/cuda_emulation/kernel_products.h"

namespace prefixd::cuda {
namespace {

using cuda_emulation::EmulatedRuntime;
using cuda_emulation::KernelProducts;

TEST(MeasureRates, MultipliesAndCopiesWithEveryType) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    EmulatedRuntime runtime({.exact_products = false});
    const Result<CudaRates> rates = MeasureRates(&runtime, nullptr, dtype);
    ASSERT_TRUE(rates.ok()) << rates.status().ToString();
    EXPECT_GT(rates->flops, 0);
    EXPECT_GT(rates->copy_bytes, 0);
    EXPECT_GE(runtime.launches(), 3u);
  }
}

TEST(MeasureRates, TheLibraryIsTriedWhereItCanMultiply) {
  using Act = KernelProducts::Act;
  for (const Act act : {Act::kRight, Act::kRefuse, Act::kFail}) {
    KernelProducts library;
    library.act = [act](uint64_t, const GemmParams&) { return act; };
    EmulatedRuntime runtime({.exact_products = false});
    library.set_runtime(&runtime);
    const Result<CudaRates> rates = MeasureRates(&runtime, &library, DType::kBF16);
    ASSERT_TRUE(rates.ok()) << rates.status().ToString();
    EXPECT_GT(rates->flops, 0);
    ASSERT_FALSE(library.asked.empty());
    EXPECT_EQ(library.asked[0].n, 4 * library.asked[0].rows);
    EXPECT_EQ(library.given[0].size(), act == Act::kRight ? 3 * library.asked.size() : 0u);
  }
  KernelProducts library;
  EmulatedRuntime runtime({.exact_products = false});
  EXPECT_TRUE(MeasureRates(&runtime, &library, DType::kF32).ok());
  EXPECT_TRUE(library.asked.empty());
}

// The runtime stops the process when memory leaks.
TEST(MeasureRates, ReportsADeviceThatIsLostAtAnyCall) {
  uint64_t calls = 0;
  {
    EmulatedRuntime runtime({.exact_products = false});
    ASSERT_TRUE(MeasureRates(&runtime, nullptr, DType::kBF16).ok());
    calls = runtime.calls();
  }
  ASSERT_GT(calls, 15u);
  for (uint64_t call = 0; call < calls; ++call) {
    EmulatedRuntime runtime({.exact_products = false});
    runtime.FailFrom(call, Code::kUnavailable);
    EXPECT_EQ(MeasureRates(&runtime, nullptr, DType::kBF16).status().code(), Code::kUnavailable) << call;
  }
}

// Nothing that was given to a stream reaches memory that has been given back: the emulation looks for that.
TEST(MeasureRates, FindsNoMemoryAtAnyCall) {
  uint64_t calls = 0;
  {
    EmulatedRuntime runtime({.exact_products = false});
    ASSERT_TRUE(MeasureRates(&runtime, nullptr, DType::kBF16).ok());
    calls = runtime.memory_calls();
  }
  ASSERT_EQ(calls % 3, 2u) << "three for each size of a product, and two for the copy";
  for (uint64_t call = 0; call < calls; ++call) {
    EmulatedRuntime runtime({.exact_products = false});
    runtime.FailFrom(call, Code::kResourceExhausted);
    runtime.Hold(cuda::Stream::kCompute, call < 3);  // where nothing waits for the stream
    EXPECT_EQ(MeasureRates(&runtime, nullptr, DType::kBF16).status().code(), Code::kResourceExhausted)
        << call;
    runtime.Hold(cuda::Stream::kCompute, false);
  }
}

TEST(MeasureRates, NeedsMemory) {
  EmulatedRuntime runtime({.bytes = size_t{1} << 20});
  EXPECT_EQ(MeasureRates(&runtime, nullptr, DType::kBF16).status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace prefixd::cuda
