// Tests BlasLt, which is what prefixd asks of cuBLASLt, over a library (fake_blaslt.h) and a CUDA
// (fake_cuda.h) of the test.
#include "kernels/cuda/module/blas_lt.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "kernels/cuda/module/device_runtime.h"
#include "kernels/numerics.h"
#include "tests/kernels/cuda/module/fake_blaslt.h"
#include "tests/kernels/cuda/module/fake_cuda.h"

namespace prefixd::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kWhole = FAKE_BLASLT_FOLDER "/libcuda_fake_blaslt_whole.so";
constexpr const char* kOld = FAKE_BLASLT_FOLDER "/libcuda_fake_blaslt_old.so";
constexpr const char* kLacking = FAKE_BLASLT_FOLDER "/libcuda_fake_blaslt_lacking.so";
constexpr const char* kAbsent = FAKE_BLASLT_FOLDER "/libcuda_fake_blaslt_absent.so";

// The state of the library that the runtime loads; prefixd keeps that loaded as well.
fake_blaslt::State& Library() {
  static void* const library = dlopen(kWhole, RTLD_NOW | RTLD_LOCAL);
  PREFIXD_CHECK(library != nullptr) << dlerror();
  return *reinterpret_cast<fake_blaslt::StateFunction>(dlsym(library, fake_blaslt::kStateFunction))();
}

class BlasLtTest : public testing::Test {
 protected:
  BlasLtTest() {
    fake_cuda::Reset(size_t{64} << 20);
    Library() = {};
  }
  ~BlasLtTest() override {
    EXPECT_EQ(Library().alive, 0);
    EXPECT_EQ(Library().faults, "");
    EXPECT_EQ(fake_cuda::Faults(), "");
    fake_cuda::Reset();
  }

  static std::unique_ptr<DeviceRuntime> Open(std::span<const char* const> files) {
    auto runtime = std::make_unique<DeviceRuntime>(0, files);
    PREFIXD_CHECK(runtime->Open().ok());
    return runtime;
  }
  static Status WhyNot(std::span<const char* const> files) {
    const auto runtime = Open(files);
    const Status status = runtime->LoadProducts().status();
    EXPECT_FALSE(runtime->lost());
    return status;
  }
};

// Memory of a runtime for a product.
class Operands {
 public:
  Operands(DeviceRuntime* runtime, DType type, int rows, int n, int k, bool accumulate, bool has_bias = false)
      : runtime_(runtime), type_(type) {
    uint32_t random = 1;
    const auto fill = [&](std::byte* memory, int count) {
      std::vector<float> values;
      for (int i = 0; i < count; ++i) {
        random = random * 1664525u + 1013904223u;
        const float value = static_cast<float>(static_cast<int>(random >> 24) - 128) / 32.0f;
        auto* const at = reinterpret_cast<uint16_t*>(memory) + i;
        *at = type == DType::kBF16 ? numerics::F32ToBF16(value) : numerics::F32ToF16(value);
        values.push_back(type == DType::kBF16 ? numerics::F32FromBF16(*at) : numerics::F32FromF16(*at));
      }
      return values;
    };
    const auto allocate = [&](int bytes) {
      pieces_.push_back(runtime->Allocate(static_cast<size_t>(bytes)).value());
      return pieces_.back();
    };
    // The fake device has the memory of the host.
    std::byte* const w = allocate(n * k * 2);
    std::byte* const x = allocate(rows * k * 2);
    auto* const y = reinterpret_cast<float*>(allocate(rows * n * 4));
    float* bias = nullptr;
    if (has_bias) {
      bias = reinterpret_cast<float*>(allocate(n * 4));
      for (int i = 0; i < n; ++i) bias[i] = 3.5f - static_cast<float>(i % 11);
    }
    const std::vector<float> of_w = fill(w, n * k), of_x = fill(x, rows * k);
    for (int i = 0; i < rows * n; ++i) {
      // What is not added to is not read.
      y[i] = accumulate ? static_cast<float>(i % 7) : NAN;
      double sum = (accumulate ? y[i] : 0) + (has_bias ? bias[i % n] : 0);
      for (int c = 0; c < k; ++c) {
        sum += static_cast<double>(of_x[static_cast<size_t>(i / n * k + c)]) *
               static_cast<double>(of_w[static_cast<size_t>(i % n * k + c)]);
      }
      expected_.push_back(sum);
    }
    params = {.w = w, .x = x, .bias = bias, .y = y, .rows = rows, .n = n, .k = k, .accumulate = accumulate};
    workspace_ = allocate(16);  // the fake library does not touch it
  }
  ~Operands() {
    for (std::byte* const piece : pieces_) runtime_->Free(piece);
  }

  Result<bool> Multiply(ProductLibrary& library, const ProductWay& way = {}) {
    return library.Multiply(Stream::kCompute, way, type_, params, workspace_);
  }
  void ExpectProduct() const {
    for (size_t i = 0; i < expected_.size(); ++i)
      ASSERT_NEAR(params.y[i], expected_[i], 1e-4 * (1 + std::abs(expected_[i]))) << "output " << i;
  }

  GemmParams params = {};

 private:
  DeviceRuntime* const runtime_;
  const DType type_;
  std::vector<std::byte*> pieces_;
  std::byte* workspace_ = nullptr;
  std::vector<double> expected_;
};

TEST_F(BlasLtTest, TheFirstFileThatCanBeUsedIsTaken) {
  const char* const files[] = {kAbsent, kOld, kLacking, kWhole};
  const auto runtime = Open(files);
  const auto library = runtime->LoadProducts();
  ASSERT_TRUE(library.ok()) << library.status().ToString();
  EXPECT_EQ((*library)->name(), "cuBLASLt 13.1.0");
  EXPECT_EQ(Library().alive, 3) << "a handle and two operations";
  EXPECT_EQ(runtime->LoadProducts().value(), *library) << "it is loaded once";
}

TEST_F(BlasLtTest, SaysWhyThereIsNone) {
  const char* const absent[] = {kAbsent};
  EXPECT_EQ(WhyNot(absent).code(), Code::kNotFound);
  EXPECT_THAT(WhyNot(absent).message(), HasSubstr("blaslt_absent.so"));
  const char* const old[] = {kOld, kAbsent};
  EXPECT_EQ(WhyNot(old).code(), Code::kUnsupported);
  EXPECT_THAT(WhyNot(old).message(), HasSubstr("blaslt_old.so is cuBLASLt 11.9.4; it must be 12.0 or later"));
  const char* const lacking[] = {kLacking};
  EXPECT_EQ(WhyNot(lacking).code(), Code::kUnsupported);
  EXPECT_THAT(WhyNot(lacking).message(), HasSubstr("blaslt_lacking.so lacks cublasLtMatmul"));
}

TEST_F(BlasLtTest, WaysHaveNoSplitAndFitTheWorkspace) {
  const char* const files[] = {kWhole};
  const auto runtime = Open(files);
  ProductLibrary& library = **runtime->LoadProducts();
  Library().offers = {{.split = 4},
                      {.split = 1},
                      {.split = 1, .state = CUBLAS_STATUS_NOT_SUPPORTED},
                      {.split = 1, .workspace = kProductWorkspaceBytes + 1},
                      {.split = 0, .workspace = kProductWorkspaceBytes}};
  const auto ways = library.Ways({DType::kBF16, 3, 16, 8, false, false}, 8);
  ASSERT_TRUE(ways.ok()) << ways.status().ToString();
  ASSERT_EQ(ways->size(), 2u);
  EXPECT_EQ((*ways)[0].words[0], 1u);
  EXPECT_EQ((*ways)[1].words[0], 4u);
  EXPECT_EQ(Library().workspace, kProductWorkspaceBytes);
  EXPECT_EQ(Library().reductions, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  EXPECT_EQ(Library().requested, 8);
  EXPECT_FALSE(Library().asked_with_bias);
  EXPECT_EQ(library.Ways({DType::kBF16, 3, 16, 8, true, false}, 8)->size(), 2u);
  EXPECT_TRUE(Library().asked_with_bias);
  Library().offers_nothing = true;
  EXPECT_TRUE(library.Ways({DType::kBF16, 3, 16, 8, false, false}, 8).value().empty());
}

TEST_F(BlasLtTest, ProductsAreThoseOfTheirMatrices) {
  const char* const files[] = {kWhole};
  const auto runtime = Open(files);
  ProductLibrary& library = **runtime->LoadProducts();
  const ProductWay way{.words = {7, 1}};
  for (const DType type : {DType::kBF16, DType::kF16}) {
    for (const auto& [accumulate, bias] : {std::pair{false, false}, {true, false}, {false, true}}) {
      for (const int rows : {1, 5, 16}) {
        SCOPED_TRACE(testing::Message()
                     << DTypeName(type) << ", " << accumulate << ", " << bias << ", " << rows);
        Operands operands(runtime.get(), type, rows, 24, 40, accumulate, bias);
        ASSERT_TRUE(operands.Multiply(library, way).value());
        operands.ExpectProduct();
      }
    }
  }
  ASSERT_EQ(Library().streams.size(), 18u);
  for (size_t i = 0; i < 18; ++i) {
    EXPECT_EQ(Library().streams[i], runtime->StreamOf(Stream::kCompute));
    EXPECT_EQ(Library().algorithms[i], 7u);
    EXPECT_EQ(Library().workspaces[i], kProductWorkspaceBytes);
  }
  EXPECT_EQ(Library().alive, 3) << "a handle and two operations";
}

TEST_F(BlasLtTest, ARefusalIsNoError) {
  const char* const files[] = {kWhole};
  const auto runtime = Open(files);
  ProductLibrary& library = **runtime->LoadProducts();
  Operands operands(runtime.get(), DType::kBF16, 2, 8, 8, false);
  for (const cublasStatus_t refusal : {CUBLAS_STATUS_NOT_SUPPORTED, CUBLAS_STATUS_INVALID_VALUE}) {
    Library().error = refusal;
    Library().fails_at = Library().calls + 3;  // after the three matrices
    EXPECT_FALSE(operands.Multiply(library).value());
  }
  EXPECT_TRUE(std::isnan(operands.params.y[0]));
  Library().error = CUBLAS_STATUS_EXECUTION_FAILED;
  Library().fails_at = Library().calls + 3;
  const Status failed = operands.Multiply(library).status();
  EXPECT_EQ(failed.code(), Code::kIo);
  EXPECT_EQ(failed.message(), "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED");
  EXPECT_FALSE(runtime->lost());
  EXPECT_TRUE(operands.Multiply(library).value());
  operands.ExpectProduct();
}

TEST_F(BlasLtTest, ALostDeviceIsNotAsked) {
  const char* const files[] = {kWhole};
  const auto runtime = Open(files);
  ProductLibrary& library = **runtime->LoadProducts();
  Operands operands(runtime.get(), DType::kBF16, 2, 8, 8, false);
  fake_cuda::Fail(fake_cuda::Calls(), cudaErrorIllegalAddress, true);
  EXPECT_EQ(runtime->FreeBytes().status().code(), Code::kUnavailable);
  const uint64_t calls = Library().calls;
  EXPECT_EQ(operands.Multiply(library).status().code(), Code::kUnavailable);
  EXPECT_EQ(library.Ways({DType::kBF16, 2, 8, 8, false, false}, 1).status().code(), Code::kUnavailable);
  EXPECT_EQ(Library().calls, calls);
}

// The N-th call of the library fails, for all N: it refuses, or says what failed, and a product that it
// claims to have made is right.
TEST_F(BlasLtTest, EveryFailureIsReportedAndNothingLeaks) {
  const char* const files[] = {kWhole};
  const auto run = [&](Status* status) {
    const auto runtime = Open(files);
    const auto library = runtime->LoadProducts();
    *status = library.status();
    if (!library.ok()) return false;
    const auto ways = (*library)->Ways({DType::kF16, 3, 8, 16, true, false}, 4);
    *status = ways.status();
    if (!ways.ok() || ways->empty()) return false;
    Operands operands(runtime.get(), DType::kF16, 3, 8, 16, false, true);
    const auto made = operands.Multiply(**library, ways->front());
    *status = made.status();
    EXPECT_FALSE(runtime->lost());
    if (!made.ok() || !*made) return false;
    operands.ExpectProduct();
    return true;
  };
  Status status;
  ASSERT_TRUE(run(&status));
  const uint64_t calls = Library().calls;
  ASSERT_EQ(calls, 19u);
  for (const cublasStatus_t error : {CUBLAS_STATUS_ALLOC_FAILED, CUBLAS_STATUS_NOT_SUPPORTED,
                                     CUBLAS_STATUS_INVALID_VALUE, CUBLAS_STATUS_EXECUTION_FAILED}) {
    int made = 0, silent = 0;
    for (uint64_t call = 0; call < calls; ++call) {
      SCOPED_TRACE(testing::Message() << "call " << call << ", error " << error);
      Library() = {};
      Library().fails_at = call;
      Library().error = error;
      const bool whole = run(&status);
      made += whole ? 1 : 0;
      silent += !whole && status.ok() ? 1 : 0;
      EXPECT_TRUE(status.ok() || status.code() == Code::kIo) << status.ToString();
      EXPECT_EQ(Library().alive, 0);
      EXPECT_EQ(Library().faults, "");
    }
    EXPECT_EQ(made, 1) << "only the question for the split may fail";
    // The three matrices of the product, its refusal, and that of the heuristic.
    const bool refusal = error == CUBLAS_STATUS_NOT_SUPPORTED;
    EXPECT_EQ(silent, refusal ? 5 : error == CUBLAS_STATUS_INVALID_VALUE ? 4 : 3);
  }
}

}  // namespace
}  // namespace prefixd::cuda
