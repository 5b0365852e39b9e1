// The kernels of kernels/cuda/row_kernels.h, gemm_kernels.h and qkv_kernels.h against plain code, bit for
// bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "kernels/batch.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/launches.h"
#include "kernels/dummy_weights.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/qkv_step.h"
#include "tests/kernels/cuda/reference.h"
#include "tests/kernels/cuda/typed_array.h"

namespace prefixd {
namespace {

using cuda::LaunchOf;
using cuda_test::DeviceArray;
using cuda_test::Elements;
using cuda_test::ExpectSame;
using cuda_test::kTypes;
using cuda_test::Numbers;
using cuda_test::QkvCase;
using cuda_test::QkvStep;
using cuda_test::TypedArray;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class CudaRows : public testing::Test {
 protected:
  void Run(const cuda::KernelLaunch& launch) { cuda_test::RunLaunch(*device_, launch); }
  std::unique_ptr<cuda::CudaRuntime> device_ = cuda_test::NewDevice({.bytes = size_t{64} << 30});
};

TEST_F(CudaRows, DummyWeightsAreThoseOfTheCpu) {
  for (const DType type : kTypes) {
    for (const auto& [rows, cols] : {std::pair(1, 1), {5, 33}, {9, 96}}) {
      const TypedArray out(device_.get(), type, Elements(rows, cols) + 3);
      const cuda::DummyParams params{out.data(), 11, 0.3f, rows, cols};
      Run(LaunchOf(params, type));
      std::vector<float> expected;
      for (size_t i = 0; i < Elements(rows, cols); ++i)
        expected.push_back(cuda_test::Rounded(DummyWeight(11, i, 0.3f), type));
      expected.resize(expected.size() + 3, std::nanf(""));  // what lies behind is untouched
      ExpectSame(out.Get(), expected, std::string(DTypeName(type)) + " " + std::to_string(cols));
    }
  }
}

TEST_F(CudaRows, EmbedTakesTheRowsOfTheTokens) {
  for (const DType type : kTypes) {
    for (const int dim : {1, 33, 600}) {
      const std::vector<float> table = Numbers(static_cast<size_t>(7 * dim), type, 1);
      const std::vector<int32_t> tokens = {6, 0, 3, 3, 5};
      const TypedArray of_table(device_.get(), type, table);
      const DeviceArray<int32_t> of_tokens(device_.get(), tokens);
      const DeviceArray<float> out(device_.get(), static_cast<size_t>(6 * dim));
      const cuda::EmbedParams params{of_table.data(), of_tokens.data(), out.data(), 5, dim};
      Run(LaunchOf(params, type));
      std::vector<float> expected;
      for (const int32_t token : tokens)
        expected.insert(expected.end(), table.begin() + token * dim, table.begin() + (token + 1) * dim);
      expected.resize(static_cast<size_t>(6 * dim), std::nanf(""));  // what lies behind is untouched
      ExpectSame(out.Get(), expected, std::string(DTypeName(type)));
    }
  }
}

TEST_F(CudaRows, EmbedTakesTokensThatTheStepBeforeHasDrawn) {
  constexpr int kDim = 33;
  for (const DType type : kTypes) {
    const std::vector<float> table = Numbers(7 * kDim, type, 1);
    const TypedArray of_table(device_.get(), type, table);
    const DeviceArray<cuda::DrawResult> drawn(
        device_.get(), std::vector<cuda::DrawResult>{{.token = 4, .rank = 1}, {.token = 6}, {.token = 1}});
    const DeviceArray<int32_t> of_tokens(
        device_.get(), std::vector<int32_t>{TokenDrawnBy(2), 0, TokenDrawnBy(0), TokenDrawnBy(1), 3});
    const DeviceArray<float> out(device_.get(), 5 * kDim);
    const cuda::EmbedParams params{of_table.data(), of_tokens.data(), out.data(), 5, kDim, drawn.data()};
    Run(LaunchOf(params, type));
    std::vector<float> expected;
    for (const int32_t token : {1, 0, 4, 6, 3})
      expected.insert(expected.end(), table.begin() + token * kDim, table.begin() + (token + 1) * kDim);
    ExpectSame(out.Get(), expected, std::string(DTypeName(type)));
  }
}

// The table has more than 2^31 elements and 2^32 bytes.
TEST_F(CudaRows, EmbedReachesTheEndOfALargeTable) {
  constexpr int kDim = 4096, kTokens = (1 << 19) + 3;
  const DType type = DType::kBF16;
  DeviceArray<std::byte> table(device_.get(), Elements(kTokens, kDim) * DTypeBytes(type));
  const std::vector<float> last = Numbers(kDim, type, 20), before = Numbers(kDim, type, 21);
  table.Set(cuda_test::BytesOf(last, type), Elements(kTokens - 1, kDim) * DTypeBytes(type));
  table.Set(cuda_test::BytesOf(before, type), Elements(kTokens - 2, kDim) * DTypeBytes(type));
  const DeviceArray<int32_t> tokens(device_.get(), std::vector<int32_t>{kTokens - 1, kTokens - 2});
  const DeviceArray<float> out(device_.get(), 2 * kDim);
  const cuda::EmbedParams params{table.data(), tokens.data(), out.data(), 2, kDim};
  Run(LaunchOf(params, type));
  std::vector<float> expected = last;
  expected.insert(expected.end(), before.begin(), before.end());
  ExpectSame(out.Get(), expected, "large table");
}

// The sizes leave warps without a row and lanes without an element; some rows are not finite, or all zeros.
TEST_F(CudaRows, RmsNormFollowsItsRule) {
  for (const DType type : kTypes) {
    for (const int dim : {1, 2, 31, 64, 1290}) {
      for (const int rows : {1, 5, 17}) {
        const auto width = static_cast<size_t>(dim);
        std::vector<float> x = Numbers(Elements(rows, dim), DType::kF32, 2);
        if (rows == 17) {
          std::fill_n(x.begin() + 2 * dim, dim, 0.0f);
          x[3 * width] = kInfinity;
          x[5 * width - 1] = std::nanf("");
        }
        const std::vector<float> weight = Numbers(width, DType::kF32, 3);
        const DeviceArray<float> of_x(device_.get(), x), of_weight(device_.get(), weight);
        const TypedArray out(device_.get(), type, x.size() + 3);
        const cuda::RmsNormParams params{of_x.data(), of_weight.data(), out.data(), 1e-5f, rows, dim};
        Run(LaunchOf(params, type));
        std::vector<float> expected;
        for (int r = 0; r < rows; ++r) {
          for (const float value :
               cuda_test::Normed(std::span(x).subspan(Elements(r, dim), width), weight, 1e-5f))
            expected.push_back(cuda_test::Rounded(value, type));
        }
        expected.resize(expected.size() + 3, std::nanf(""));  // what lies behind is untouched
        ExpectSame(out.Get(), expected, std::string(DTypeName(type)) + " " + std::to_string(dim));
      }
    }
  }
}

TEST_F(CudaRows, GatherCopiesRows) {
  for (const int words : {1, 32, 555}) {
    const auto width = static_cast<size_t>(words);
    const std::vector<float> x = Numbers(5 * width, DType::kF32, 4);
    const std::vector<int32_t> indices = {4, 1, 1, 0, 4, 3};
    const DeviceArray<float> of_x(device_.get(), x), out(device_.get(), indices.size() * width + 2);
    const DeviceArray<int32_t> of_indices(device_.get(), indices);
    const cuda::GatherParams params{of_x.data(), of_indices.data(), out.data(),
                                    static_cast<int>(indices.size()), words * 4};
    Run(LaunchOf(params));
    std::vector<float> expected;
    for (const int32_t index : indices)
      expected.insert(expected.end(), x.begin() + index * words, x.begin() + (index + 1) * words);
    expected.resize(expected.size() + 2, std::nanf(""));
    ExpectSame(out.Get(), expected, "gather");
  }
}

TEST_F(CudaRows, ActivationsAreThoseOfTheCpu) {
  constexpr int kRows = 5;
  const std::vector<float> special = {200, -200, kInfinity, -kInfinity, std::nanf(""), -0.0f, 1e-40f, 88.5f};
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const DType type : kTypes) {
      for (const int width : {1, 32, 570}) {
        std::vector<float> x = Numbers(Elements(kRows, 2 * width), DType::kF32, 5);
        if (width == 570) std::ranges::copy(special, x.begin());
        const DeviceArray<float> of_x(device_.get(), x);
        const TypedArray out(device_.get(), type, Elements(kRows, width) + 3);
        const cuda::ActivationParams params{of_x.data(), out.data(), activation, kRows, width};
        Run(LaunchOf(params, type));
        std::vector<float> expected;
        for (int r = 0; r < kRows; ++r) {
          for (int i = 0; i < width; ++i) {
            const size_t at = Elements(r, 2 * width) + static_cast<size_t>(i);
            const float value = cuda_test::Activated(activation, x[at]) * x[at + static_cast<size_t>(width)];
            expected.push_back(cuda_test::Rounded(value, type));
          }
        }
        expected.resize(expected.size() + 3, std::nanf(""));
        ExpectSame(out.Get(), expected, std::string(DTypeName(type)) + " " + std::to_string(width));
      }
    }
  }
}

struct GemmCase {
  int rows, n, k;
  bool special = false;  // some operands are not finite, subnormal, or zero
};

class CudaGemm : public CudaRows, public testing::WithParamInterface<DType> {
 protected:
  std::vector<float> Products(const GemmCase& c, std::span<const float> w, std::span<const float> x) const {
    const auto k = static_cast<size_t>(c.k);
    std::vector<float> products;
    for (int r = 0; r < c.rows; ++r) {
      for (int i = 0; i < c.n; ++i) {
        products.push_back(
            cuda_test::Product(x.subspan(Elements(r, c.k), k), w.subspan(Elements(i, c.k), k), GetParam()));
      }
    }
    return products;
  }
  using LaunchMaker = cuda::KernelLaunch (*)(const cuda::GemmParams&, WeightFormat);

  // Without and with a bias, stored and added: four launches.
  void Check(const GemmCase& c, LaunchMaker launch_of = cuda::PlainLaunchOf) {
    const DType type = GetParam();
    std::vector<float> w = Numbers(Elements(c.n, c.k), type, 6), x = Numbers(Elements(c.rows, c.k), type, 7);
    if (c.special) {
      x[0] = kInfinity;
      w[Elements(1, c.k)] = std::nanf("");
      x[Elements(2, c.k) - 1] = cuda_test::Rounded(0x1p-20f, type);
      std::fill_n(x.begin() + 2 * c.k, c.k, -0.0f);
    }
    const std::vector<float> bias = Numbers(static_cast<size_t>(c.n), DType::kF32, 8);
    const std::vector<float> before = Numbers(Elements(c.rows, c.n) + kBehind, DType::kF32, 9);
    const TypedArray of_w(device_.get(), type, w), of_x(device_.get(), type, x);
    const DeviceArray<float> of_bias(device_.get(), bias);
    const std::vector<float> products = Products(c, w, x);
    for (const bool with_bias : {false, true}) {
      for (const bool accumulate : {false, true}) {
        const DeviceArray<float> y(device_.get(), before);
        const cuda::GemmParams params{.w = of_w.data(),
                                      .x = of_x.data(),
                                      .bias = with_bias ? of_bias.data() : nullptr,
                                      .y = y.data(),
                                      .rows = c.rows,
                                      .n = c.n,
                                      .k = c.k,
                                      .accumulate = accumulate};
        Run(launch_of(params, type));
        std::vector<float> expected = before;
        for (size_t i = 0; i < products.size(); ++i) {
          const float sum = with_bias ? products[i] + bias[i % bias.size()] : products[i];
          expected[i] = accumulate ? before[i] + sum : sum;
        }
        ExpectSame(y.Get(), expected, NameOf(c, with_bias, accumulate));
      }
    }
  }

 private:
  static constexpr size_t kBehind = 70;  // floats behind y, which stay

  std::string NameOf(const GemmCase& c, bool with_bias, bool accumulate) const {
    return std::string(DTypeName(GetParam())) + " " + std::to_string(c.rows) + " x " + std::to_string(c.n) +
           " x " + std::to_string(c.k) + (with_bias ? ", bias" : "") + (accumulate ? ", accumulate" : "");
  }
};

TEST_P(CudaGemm, ProductsAreChainsAtBordersOfTiles) {
  for (const GemmCase& c : {GemmCase{1, 1, 8}, {3, 65, 64}, {16, 64, 16}, {17, 7, 136}, {65, 3, 72}})
    Check(c);
}

// Several blocks in both directions, and stages that use each of the two buffers twice.
TEST_P(CudaGemm, ProductsAreChainsInEveryBlockAndStage) {
  Check({66, 130, 128});
  Check({2, 66, 264});
}

// Such rows do not begin at 16 bytes.
TEST_P(CudaGemm, ProductsAreChainsWhereRowsAreNotAligned) {
  for (const GemmCase& c : {GemmCase{2, 5, 30}, {1, 70, 1}, {5, 3, 130}, {3, 2, 198}, {4, 9, 7}}) Check(c);
}

TEST_P(CudaGemm, ProductsAreChainsOfSpecialNumbers) {
  Check({4, 5, 40, true});
  Check({4, 5, 22, true});
}

INSTANTIATE_TEST_SUITE_P(Types, CudaGemm, testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

// The fast kernel against the same plain code. LaunchOf takes it for all of these.
class CudaGemmFew : public CudaGemm {
 protected:
  void CheckFew(const GemmCase& c) {
    const auto launch_of = [](const cuda::GemmParams& params, WeightFormat type) {
      const cuda::KernelLaunch launch = LaunchOf(params, type);
      EXPECT_NE(launch.kernel, PlainLaunchOf(params, type).kernel);
      return launch;
    };
    Check(c, launch_of);
  }
};

TEST_P(CudaGemmFew, ProductsAreChainsAtBordersOfTiles) {
  for (const GemmCase& c : {GemmCase{1, 1, 8}, {7, 16, 24}, {8, 17, 264}, {9, 3, 256}, {16, 33, 40}})
    CheckFew(c);
}

// Each of the four buffers is used twice, and fewer stages than buffers; the last stage is whole, or a part.
TEST_P(CudaGemmFew, ProductsAreChainsInEveryStage) {
  for (const GemmCase& c : {GemmCase{3, 5, 2048}, {10, 5, 2072}, {2, 18, 768}}) CheckFew(c);
}

// It begins while the launch before it still runs, and that one makes its x.
TEST_P(CudaGemmFew, XIsThatOfTheLaunchBefore) {
  constexpr int kRows = 3, kN = 20, kDim = 264;
  const DType type = GetParam();
  const std::vector<float> x = Numbers(Elements(kRows, kDim), DType::kF32, 10), ones(kDim, 1.0f);
  const std::vector<float> w = Numbers(Elements(kN, kDim), type, 11);
  const DeviceArray<float> of_x(device_.get(), x), of_ones(device_.get(), ones);
  const TypedArray normed(device_.get(), type, x.size()), of_w(device_.get(), type, w);
  const DeviceArray<float> y(device_.get(), Elements(kRows, kN));
  const cuda::RmsNormParams norm{of_x.data(), of_ones.data(), normed.data(), 1e-5f, kRows, kDim};
  ASSERT_TRUE(device_->Launch(cuda::Stream::kCompute, LaunchOf(norm, type)).ok());
  const cuda::GemmParams product{
      .w = of_w.data(), .x = normed.data(), .y = y.data(), .rows = kRows, .n = kN, .k = kDim};
  Run(LaunchOf(product, type));
  ExpectSame(y.Get(), Products({kRows, kN, kDim}, w, normed.Get()), "product of normed rows");
}

TEST_P(CudaGemmFew, ProductsAreChainsOfSpecialNumbers) {
  CheckFew({4, 5, 40, true});
  CheckFew({12, 5, 280, true});
}

INSTANTIATE_TEST_SUITE_P(Types, CudaGemmFew, testing::Values(DType::kF16, DType::kBF16),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

class CudaQkv : public CudaRows, public testing::WithParamInterface<KvType> {
 protected:
  void Check(const QkvCase& c) {
    if (!GetParam().Fits(c.head_dim)) return;
    const QkvStep step(c, GetParam());
    const QkvStep::Results got = step.Compute(device_.get()), expected = step.Expected();
    ExpectSame(got.q, expected.q, "q");
    ASSERT_EQ(got.blocks.size(), expected.blocks.size());
    const auto differs = std::ranges::mismatch(got.blocks, expected.blocks).in1 - got.blocks.begin();
    const auto bytes = static_cast<std::ptrdiff_t>(step.layout().BlockBytes());
    ASSERT_EQ(differs, std::ssize(got.blocks))
        << "byte " << differs % bytes << " of block " << differs / bytes << ", head_dim " << c.head_dim;
  }
};

// The blocks are compared byte for byte: nothing but the rows of the step changes.
TEST_P(CudaQkv, HeadsAreNormedRotatedAndStored) {
  Check({4, 2, 64, 16, false});
  Check({3, 3, 32, 8, true});
  Check({6, 1, 128, 32, true});
  Check({2, 1, 10, 16, false});
  Check({2, 2, 96, 4, true});
  Check({8, 1, 256, 16, true});
  Check({7, 1, 2, 1, true});
}

INSTANTIATE_TEST_SUITE_P(Types, CudaQkv,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, KvType::kQ8_0, KvType::kFp8),
                         [](const auto& info) { return std::string(info.param.name()); });

// Every element has a byte of its own, and those of a plane fill it.
TEST(KvOrder, IsABijection) {
  for (const int dim : {10, 32, 64, 96, 128, 256}) {
    for (const int tokens : {1, 4, 8, 16, 64}) {
      for (const int element : {2, 4}) {
        std::vector<bool> used(static_cast<size_t>(dim * tokens));
        for (int t = 0; t < tokens; ++t) {
          for (int d = 0; d < dim; ++d) {
            const size_t at = cuda::PlaneOffset(t, d, dim, element, tokens);
            ASSERT_EQ(at % static_cast<size_t>(element), 0u);
            const size_t index = at / static_cast<size_t>(element);
            ASSERT_LT(index, used.size());
            ASSERT_FALSE(used[index]) << dim << " " << tokens << " " << t << " " << d;
            used[index] = true;
          }
        }
      }
    }
  }
}

// What the tensor cores read at once, 16 bytes of each of 8 tokens, lies in pieces that are whole, and in all
// of the 8 groups of 4 banks.
TEST(KvOrder, RowsOfAMatrixLieInDifferentBanks) {
  for (const int dim : {64, 96, 128, 192, 256}) {
    for (const int tokens : {8, 64}) {
      for (int t = 0; t < tokens; t += 8) {
        for (int d = 0; d < dim; d += 8) {
          unsigned groups = 0;
          for (int row = 0; row < 8; ++row) {
            const size_t at = cuda::PlaneOffset(t + row, d, dim, 2, tokens);
            ASSERT_EQ(at % 16, 0u);
            ASSERT_EQ(cuda::PlaneOffset(t + row, d + 7, dim, 2, tokens), at + 14);
            groups |= 1u << at / 16 % 8;
          }
          ASSERT_EQ(groups, 0xFFu) << dim << ", token " << t << ", dim " << d;
        }
      }
    }
  }
}

}  // namespace
}  // namespace prefixd
