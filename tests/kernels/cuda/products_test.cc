// Tests which products a library computes instead of the kernels, and that it never shows in a bit. The
// library is one of the emulation (kernel_products.h).
#include "kernels/cuda/products.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/one_product.h"
#include "tests/kernels/cuda/step_world.h"

namespace prefixd::cuda_test {
namespace {

using cuda::CudaMatrix;
using cuda::GemmParams;
using cuda::Products;
using cuda_emulation::EmulatedRuntime;
using cuda_emulation::KernelProducts;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Act = KernelProducts::Act;

std::unique_ptr<EmulatedRuntime> PlainDevice() {
  return std::make_unique<EmulatedRuntime>(cuda_emulation::EmulatedOptions{.exact_products = false});
}

// --- Whole steps ---

// What the library did in the steps after the start.
struct InSteps {
  size_t by_way[2];
};

// The steps by the kernels alone.
const std::vector<StepResult>& ByKernels() {
  static const std::vector<StepResult> results = [] {
    World world(PlainDevice(), DType::kBF16);
    std::vector<StepResult> all;
    for (const std::vector<Piece>& step : Steps()) {
      const Status status = world.Run(step, &all.emplace_back());
      PREFIXD_CHECK(status.ok()) << status.ToString();
    }
    return all;
  }();
  return results;
}

void ExpectStepsOfTheKernels(World& world) {
  for (size_t i = 0; i < Steps().size(); ++i) {
    StepResult result;
    const Status status = world.Run(Steps()[i], &result);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ExpectSame(ByKernels()[i], result);
  }
}

// Runs the steps with a library that does `act` from the start on, and compares every bit with the kernels.
InSteps RunSteps(const std::function<Act(uint64_t, const GemmParams&)>& act) {
  KernelProducts library;
  library.act = act;
  World world(DeviceWith(&library), DType::kBF16);
  for (auto& given : library.given) given.clear();
  ExpectStepsOfTheKernels(world);
  return {{library.given[0].size(), library.given[1].size()}};
}

// The head of each step, and the products of 5 rows or more: those of the first layer and the first one of
// the last layer, which is cut to the rows that are drawn after it. Three steps have so many rows.
constexpr size_t kProductsOfSteps = 5 + 3 * 5;

TEST(CudaProducts, TheLibraryComputesTheHeadAndTheProductsOfMoreRows) {
  const InSteps seen = RunSteps({});
  EXPECT_EQ(Steps().size(), 5u);
  EXPECT_EQ(seen.by_way[0], kProductsOfSteps);
  EXPECT_EQ(seen.by_way[1], 0u);
}

TEST(CudaProducts, AWayWithOtherBitsIsNotUsed) {
  constexpr int kHead = 1024;
  // The model has steps of up to 32 rows, so the ways are for 5 to 16 and for 17 to 32; the kernels compute
  // fewer rows, but for the head. One of the steps has more than 16 rows.
  for (const auto& [rows, act] : {std::pair{5, Act::kWrong},
                                  {16, Act::kWrong},
                                  {17, Act::kWrong},
                                  {32, Act::kWrong},
                                  {17, Act::kNothing},
                                  {17, Act::kFail}}) {
    SCOPED_TRACE(testing::Message() << rows << " rows, act " << static_cast<int>(act));
    const InSteps seen = RunSteps([rows = rows, act = act](uint64_t way, const GemmParams& params) {
      return way == 0 && params.rows == rows && params.n != kHead ? act : Act::kRight;
    });
    EXPECT_EQ(seen.by_way[1], rows <= 16 ? 10u : 5u);
    EXPECT_EQ(seen.by_way[0], rows <= 16 ? 10u : 15u);
  }
}

TEST(CudaProducts, WithoutARightWayTheKernelsComputeAll) {
  LogLines log;
  for (const Act act : {Act::kWrong, Act::kFail}) {
    SCOPED_TRACE(testing::Message() << "act " << static_cast<int>(act));
    const InSteps seen = RunSteps([&](uint64_t, const GemmParams&) { return act; });
    EXPECT_EQ(seen.by_way[0] + seen.by_way[1], 0u);
  }
}

TEST(CudaProducts, ARefusalInAStepIsServedByTheKernel) {
  KernelProducts library;
  World world(DeviceWith(&library), DType::kBF16);
  for (auto& given : library.given) given.clear();
  library.act = [](uint64_t, const GemmParams& params) {
    return params.accumulate ? Act::kRefuse : Act::kRight;
  };
  ExpectStepsOfTheKernels(world);
  // qkv, gate and up, qkv, of three steps, and the head of all.
  EXPECT_EQ(library.given[0].size(), 3 * 3 + Steps().size());
}

TEST(CudaProducts, AFailureInAStepEndsTheStepAndTheUseOfTheLibrary) {
  KernelProducts library;
  World world(DeviceWith(&library), DType::kBF16);
  int asked = 0;
  library.act = [&](uint64_t, const GemmParams&) { return ++asked == 4 ? Act::kFail : Act::kRight; };
  LogLines log;
  StepResult failed;
  const Status status = world.Run(Steps()[0], &failed);
  EXPECT_EQ(status.code(), Code::kIo) << status.ToString();
  EXPECT_THAT(log.lines, ElementsAre(HasSubstr("cuBLASLt failed; the kernels multiply all matrices from now "
                                               "on; error=a product fails (emulated)")));
  ExpectStepsOfTheKernels(world);
  EXPECT_EQ(asked, 4);
}

TEST(CudaProducts, TheBackendSaysWhatItUses) {
  KernelProducts library;
  library.ways = 0;
  LogLines log;
  {
    World world(DeviceWith(&library), DType::kBF16);
    EXPECT_EQ(world.backend().numerics_version(), "gpu-1-sm90-blaslt");
    World kernels(PlainDevice(), DType::kBF16);
    EXPECT_EQ(kernels.backend().numerics_version(), "gpu-1-sm90");
    EXPECT_EQ(world.runner().memory().scratch,
              kernels.runner().memory().scratch + cuda::kProductWorkspaceBytes);
    const ModelRunner& runner = world.runner();
    EXPECT_EQ(world.backend().StepMemoryFor(runner.shape(), runner.limits()).scratch,
              runner.memory().scratch);
  }
  EXPECT_EQ(library.asked.size(), 9u);
  EXPECT_THAT(log.lines,
              ElementsAre(HasSubstr("cuBLASLt does not multiply all matrices; library=cuBLASLt 0")));
  EXPECT_THAT(log.lines[0], HasSubstr("64x96 of 17 to 32 rows"));
  EXPECT_THAT(log.lines[0], HasSubstr("reason=the library has no way without a split"));
  log.lines.clear();
  library.asked.clear();
  World deterministic(DeviceWith(&library), DType::kBF16, true);
  EXPECT_EQ(deterministic.backend().numerics_version(), "gpu-1-sm90");
  EXPECT_THAT(library.asked, IsEmpty());
  EXPECT_THAT(log.lines, IsEmpty());
  World absent(std::make_unique<EmulatedRuntime>(
                   cuda_emulation::EmulatedOptions{.products = NotFound("no file (emulated)")}),
               DType::kBF16);
  EXPECT_EQ(absent.backend().numerics_version(), "gpu-1-sm90");
  EXPECT_THAT(log.lines, ElementsAre("the kernels multiply all matrices, which takes longer than with "
                                     "cuBLASLt; reason=no file (emulated)"));
}

// --- One product ---

TEST_F(OneProduct, OnlyWhatWasCheckedIsGivenToTheLibrary) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  Products products(device_.get());
  ASSERT_TRUE(Check(w, nullptr, &products).ok());
  const GemmParams right{.rows = 17};
  EXPECT_EQ(Given(&products, w, right), 1u);
  EXPECT_EQ(Given(&products, w, {.rows = 1}), 1u);
  EXPECT_EQ(Given(&products, w, {.rows = kRows}), 1u);
  DeviceArray<float> bias(device_.get(), std::vector<float>(16));
  EXPECT_EQ(Given(&products, w, {.bias = bias.data(), .rows = 17}), 0u);
  EXPECT_EQ(Given(&products, w, {.rows = 17, .accumulate = true}), 0u);
  EXPECT_EQ(Given(&products, w, {.x = reinterpret_cast<void*>(16), .rows = 17}), 0u) << "not aligned";
  EXPECT_EQ(Given(&products, Weights(16, 40, DType::kBF16), right), 0u);
  EXPECT_EQ(Given(&products, Weights(24, 32, DType::kBF16), right), 0u);
  EXPECT_EQ(Given(&products, Weights(16, 32, DType::kF16), right), 0u);
}

TEST_F(OneProduct, ProductsThatTheLibraryIsNotForAreNotChecked) {
  const DeviceArray<float> bias(device_.get(), std::vector<float>(16, 1));
  for (const auto& [n, k, type, added] : {std::tuple{16, 32, DType::kBF16, true},
                                          {12, 32, DType::kBF16, false},
                                          {16, 36, DType::kF16, false},
                                          {16, 32, DType::kF32, false}}) {
    const CudaMatrix w = Weights(n, k, type);
    Products products(device_.get());
    EXPECT_TRUE(Check(w, added ? bias.data() : nullptr, &products, added).ok());
    EXPECT_THAT(library_.asked, IsEmpty());
    EXPECT_EQ(Given(&products, w, {.rows = 17}), 0u);
  }
}

TEST_F(OneProduct, AProductWithABiasIsOneOfTheLibrary) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  const DeviceArray<float> bias(device_.get(), std::vector<float>(16, 0.37f));
  for (const Act act : {Act::kRight, Act::kWrong}) {
    library_.act = [act](uint64_t, const GemmParams&) { return act; };
    library_.asked.clear();
    Products products(device_.get());
    LogLines log;
    ASSERT_TRUE(Check(w, bias.data(), &products).ok());
    EXPECT_TRUE(library_.asked.front().has_bias);
    library_.act = {};
    const size_t given = act == Act::kRight ? 1 : 0;
    EXPECT_EQ(Given(&products, w, {.bias = bias.data(), .rows = 17}), given);
    EXPECT_EQ(Given(&products, w, {.rows = 17}), 0u) << "a way of its own";
    EXPECT_EQ(Given(&products, w, {.bias = bias.data(), .rows = 17, .accumulate = true}), 0u);
  }
}

TEST_F(OneProduct, ZerosProveNothing) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16, 0);
  const DeviceArray<float> bias(device_.get(), std::vector<float>(16, 1));
  for (const float* const of : {static_cast<const float*>(nullptr), static_cast<const float*>(bias.data())}) {
    Products products(device_.get());
    LogLines log;
    EXPECT_TRUE(Check(w, of, &products).ok());
    EXPECT_THAT(log.lines, ElementsAre(HasSubstr("reason=the products are 0")));
    EXPECT_EQ(Given(&products, w, {.bias = of, .rows = 17}), 0u);
  }
}

TEST_F(OneProduct, TheLogSaysWhyAProductIsLeftToTheKernel) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  for (const auto& [act, reason] : {std::pair{Act::kWrong, "reason=the bits differ"},
                                    {Act::kNothing, "reason=the bits differ"},
                                    {Act::kRefuse, "reason=the library refuses"},
                                    {Act::kFail, "reason=a product fails (emulated)"}}) {
    library_.act = [act = act](uint64_t, const GemmParams&) { return act; };
    Products products(device_.get());
    LogLines log;
    EXPECT_TRUE(Check(w, nullptr, &products).ok());
    EXPECT_THAT(log.lines, ElementsAre(HasSubstr(reason)));
    EXPECT_THAT(log.lines[0], HasSubstr("left_to_kernels=16x32 of 1 to 16 rows, 16x32 of 17 to 20 rows"));
  }
}

TEST_F(OneProduct, ALibraryThatFailsToAnswerLeavesItToTheKernel) {
  library_.ways_status = IoError("a question fails (emulated)");
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  Products products(device_.get());
  LogLines log;
  EXPECT_TRUE(Check(w, nullptr, &products).ok());
  EXPECT_THAT(log.lines, ElementsAre(HasSubstr("reason=a question fails (emulated)")));
  EXPECT_EQ(Given(&products, w, {.rows = 17}), 0u);
}

// The N-th call finds no memory, for all N: only the workspace must have it.
TEST_F(OneProduct, WithoutMemoryForTheCheckTheKernelsCompute) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  const uint64_t before = device_->memory_calls();
  {
    Products products(device_.get());
    ASSERT_TRUE(Check(w, nullptr, &products).ok());
  }
  const uint64_t calls = device_->memory_calls() - before;
  ASSERT_EQ(calls, 6u);
  for (uint64_t call = 0; call < calls; ++call) {
    SCOPED_TRACE(call);
    Products products(device_.get());
    device_->FailFrom(device_->memory_calls() + call, Code::kResourceExhausted);
    LogLines log;
    const Status status = Check(w, nullptr, &products);
    if (call == 0) {
      EXPECT_EQ(status.code(), Code::kResourceExhausted);
      continue;
    }
    EXPECT_TRUE(status.ok()) << status.ToString();
    EXPECT_THAT(log.lines, ElementsAre(HasSubstr("no memory (emulated)")));
    EXPECT_EQ(Given(&products, w, {.rows = 17}), 0u);
  }
}

// The device is lost at the N-th call, for all N.
TEST_F(OneProduct, ALostDeviceEndsTheCheck) {
  uint64_t calls = 0;
  for (uint64_t lost_at = 0; lost_at == 0 || lost_at < calls; ++lost_at) {
    SCOPED_TRACE(lost_at);
    device_ = DeviceWith(&library_);
    const CudaMatrix w = Weights(16, 32, DType::kBF16);
    const uint64_t before = device_->calls();
    if (calls == 0) {
      Products products(device_.get());
      ASSERT_TRUE(Check(w, nullptr, &products).ok());
      calls = device_->calls() - before;
      ASSERT_GT(calls, 20u);
    }
    Products products(device_.get());
    device_->FailFrom(device_->calls() + lost_at, Code::kUnavailable);
    // The last two calls wait for what nobody needs any more.
    EXPECT_EQ(Check(w, nullptr, &products).code(), lost_at + 2 < calls ? Code::kUnavailable : Code::kOk);
    EXPECT_TRUE(device_->lost());
  }
}

}  // namespace
}  // namespace prefixd::cuda_test
