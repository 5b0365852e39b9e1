// The kernels of quantised weights, bit for bit: products against `ref`, whose rule 9 they share, and what
// makes and reads quantised rows against plain code.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/batch.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/quant_order.h"
#include "kernels/quantize.h"
#include "kernels/registry.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/typed_array.h"

namespace prefixd {
namespace {

using cuda::LaunchOf;
using cuda_test::DeviceArray;
using cuda_test::Elements;
using cuda_test::ExpectSame;
using cuda_test::Numbers;
using Bytes = std::vector<std::byte>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows of activations in the order of quant_order.h, by the plain code of rule 9. Padding is 0xFF, as in a
// DeviceArray.
Bytes QuantizedRows(const std::vector<float>& x, int rows, int cols) {
  const auto width = static_cast<size_t>(cols), row_bytes = static_cast<size_t>(cuda::QuantXRowBytes(cols));
  Bytes bytes(static_cast<size_t>(rows) * row_bytes, std::byte{0xFF});
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
    for (size_t b = 0; b < width / kQuantBlock; ++b) {
      int8_t integers[kQuantBlock];
      const float scale = numerics::QuantizeBlock(&x[r * width + b * kQuantBlock], kQuantBlock, integers);
      std::memcpy(&bytes[r * row_bytes + b * kQuantBlock], integers, kQuantBlock);
      std::memcpy(&bytes[r * row_bytes + width + b * sizeof(float)], &scale, sizeof(float));
    }
  }
  return bytes;
}

// Weights of a quantised format, as in files.
Bytes WeightRows(WeightFormat format, const std::vector<float>& numbers, int rows, int cols) {
  const size_t row_bytes = format.RowBytes(cols);
  Bytes bytes(static_cast<size_t>(rows) * row_bytes);
  for (int r = 0; r < rows; ++r) {
    const bool fits =
        QuantizeRow(format, &numbers[Elements(r, cols)], cols, &bytes[static_cast<size_t>(r) * row_bytes]);
    PREFIXD_CHECK(fits);
  }
  return bytes;
}

Bytes Packed(WeightFormat format, const Bytes& weights, int rows, int cols) {
  Bytes bytes(static_cast<size_t>(rows) * cuda::DeviceRowBytes(format, cols), std::byte{0xFF});
  cuda::PackQuantizedRows(format, cols, weights.data(), rows, bytes.data());
  return bytes;
}

class CudaQuantizedRows : public testing::Test {
 protected:
  void Run(const cuda::KernelLaunch& launch) { cuda_test::RunLaunch(*device_, launch); }
  // Compares rows of activations; a scale may be any NaN.
  static void ExpectSameRows(const Bytes& got, const Bytes& expected, int cols, const std::string& what) {
    ASSERT_EQ(got.size(), expected.size());
    const auto row_bytes = static_cast<size_t>(cuda::QuantXRowBytes(cols));
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t at = i % row_bytes;
      if (at >= static_cast<size_t>(cols) && at % sizeof(float) == 0) {
        float a, b;
        std::memcpy(&a, &got[i], sizeof a);
        std::memcpy(&b, &expected[i], sizeof b);
        if (std::isnan(a) && std::isnan(b)) {
          i += sizeof(float) - 1;
          continue;
        }
      }
      ASSERT_EQ(got[i], expected[i]) << what << ": byte " << at << " of row " << i / row_bytes;
    }
  }

  std::unique_ptr<cuda::CudaRuntime> device_ = cuda_test::NewDevice();
};

// Blocks with numbers that are not finite, of zeros, and of numbers on both sides of the least.
void AddSpecialBlocks(std::vector<float>* x) {
  const float special[] = {kInfinity, std::nanf(""), -kInfinity, 0x1p-90f, 0x1.8p-91f, 3e38f};
  for (size_t i = 0; i < std::size(special) && (i + 1) * kQuantBlock <= x->size(); ++i) {
    const auto begin = x->begin() + static_cast<std::ptrdiff_t>(i) * kQuantBlock;
    if (std::abs(special[i]) < 1) std::fill_n(begin, kQuantBlock, -0.0f);
    begin[static_cast<std::ptrdiff_t>(5 * i + 2)] = special[i];
  }
}

// What the kernel for f32 weights writes, quantised by plain code.
TEST_F(CudaQuantizedRows, NormsAreQuantised) {
  for (const int dim : {32, 96, 1312}) {
    constexpr int kRows = 5;
    std::vector<float> x = Numbers(Elements(kRows, dim), DType::kF32, 2);
    std::fill_n(x.begin() + dim, dim, 0.0f);
    std::fill_n(x.begin() + 2 * dim, dim, kInfinity);
    const std::vector<float> weight = Numbers(static_cast<size_t>(dim), DType::kF32, 3);
    const DeviceArray<float> of_x(device_.get(), x), of_weight(device_.get(), weight),
        f32(device_.get(), x.size());
    const auto bytes = static_cast<size_t>(kRows * cuda::QuantXRowBytes(dim));
    const DeviceArray<std::byte> out(device_.get(), bytes);
    cuda::RmsNormParams params{of_x.data(), of_weight.data(), f32.data(), 1e-5f, kRows, dim};
    Run(LaunchOf(params, DType::kF32));
    params.out = out.data();
    Run(LaunchOf(params, WeightFormat::kQ8_0));
    ExpectSameRows(out.Get(), QuantizedRows(f32.Get(), kRows, dim), dim, "norm of " + std::to_string(dim));
  }
}

TEST_F(CudaQuantizedRows, ActivationsAreQuantised) {
  for (const int width : {32, 288, 544}) {
    constexpr int kRows = 3;
    std::vector<float> x = Numbers(Elements(kRows, 2 * width), DType::kF32, 5);
    AddSpecialBlocks(&x);
    const DeviceArray<float> of_x(device_.get(), x), f32(device_.get(), Elements(kRows, width));
    const DeviceArray<std::byte> out(device_.get(), static_cast<size_t>(kRows * cuda::QuantXRowBytes(width)));
    cuda::ActivationParams params{of_x.data(), f32.data(), Activation::kRelu, kRows, width};
    Run(LaunchOf(params, DType::kF32));
    params.out = out.data();
    Run(LaunchOf(params, WeightFormat::kQ4_0));
    ExpectSameRows(out.Get(), QuantizedRows(f32.Get(), kRows, width), width,
                   "activation of " + std::to_string(width));
  }
}

// Blocks of dims of one head, and of two.
TEST_F(CudaQuantizedRows, FoldsAreQuantised) {
  for (const auto& [heads, head_dim] : {std::pair(3, 64), {4, 24}, {2, 80}}) {
    constexpr int kRows = 3;
    const int width = heads * head_dim;
    std::vector<cuda::FoldPlace> places;
    int partials = 0;
    for (int i = 0; i < kRows * heads; ++i) {
      places.push_back({partials, 1 + i % 3, 1});
      partials += 1 + i % 3;
    }
    std::vector<float> numbers = Numbers(Elements(partials, head_dim + 2), DType::kF32, 6);
    for (int i = 0; i < partials; ++i) {
      float& l = numbers[Elements(i, head_dim + 2) + 1];
      l = std::abs(l) + 0.5f;
    }
    const DeviceArray<float> of_partials(device_.get(), numbers), f32(device_.get(), Elements(kRows, width));
    const DeviceArray<cuda::FoldPlace> of_places(device_.get(), places);
    const DeviceArray<std::byte> out(device_.get(), static_cast<size_t>(kRows * cuda::QuantXRowBytes(width)));
    cuda::FoldParams params{of_partials.data(), of_places.data(), f32.data(), kRows, heads, head_dim};
    Run(LaunchOf(params, DType::kF32));
    params.out = out.data();
    Run(LaunchOf(params, WeightFormat::kQ8_0));
    ExpectSameRows(out.Get(), QuantizedRows(f32.Get(), kRows, width), width,
                   "fold of " + std::to_string(head_dim));
  }
}

struct QuantCase {
  int rows, n, k;
  bool special = false;  // some blocks of x are not finite, of zeros, or tiny
  int extra = 0;         // floats between rows of y
};

class CudaQuantized : public CudaQuantizedRows, public testing::WithParamInterface<WeightFormat> {
 protected:
  // The products of `ref`.
  static std::vector<float> Products(const QuantCase& c, WeightFormat format, const Bytes& weights,
                                     const std::vector<float>& x) {
    auto ref = CreateOperations("ref", 1);
    PREFIXD_CHECK(ref.ok()) << ref.status().ToString();
    const std::vector<MatrixSource> sources = {{weights.data(), format, c.n, c.k}};
    const auto matrix = (*ref)->Pack(sources);
    PREFIXD_CHECK(matrix.ok()) << matrix.status().ToString();
    std::vector<float> y(Elements(c.rows, c.n));
    (*ref)->Gemm(**matrix, x.data(), c.rows, y.data(), GemmOutput::kStore);
    return y;
  }

  // Without and with a bias, stored and added: four launches.
  void Check(const QuantCase& c, bool plain = false) {
    const WeightFormat format = GetParam();
    const Bytes weights = WeightRows(format, Numbers(Elements(c.n, c.k), DType::kF32, 6), c.n, c.k);
    std::vector<float> x = Numbers(Elements(c.rows, c.k), DType::kF32, 7);
    if (c.special) AddSpecialBlocks(&x);
    const int stride = c.n + c.extra;
    const std::vector<float> bias = Numbers(static_cast<size_t>(c.n), DType::kF32, 8);
    const std::vector<float> before = Numbers(Elements(c.rows, stride) + kBehind, DType::kF32, 9);
    const DeviceArray<std::byte> of_w(device_.get(), Packed(format, weights, c.n, c.k));
    const DeviceArray<std::byte> of_x(device_.get(), QuantizedRows(x, c.rows, c.k));
    const DeviceArray<float> of_bias(device_.get(), bias);
    const std::vector<float> products = Products(c, format, weights, x);
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
                                      .accumulate = accumulate,
                                      .stride = c.extra == 0 ? 0 : stride};
        Run(plain ? PlainLaunchOf(params, format) : LaunchOf(params, format));
        std::vector<float> expected = before;
        for (int r = 0; r < c.rows; ++r) {
          for (int i = 0; i < c.n; ++i) {
            const float product = products[Elements(r, c.n) + static_cast<size_t>(i)];
            const float sum = with_bias ? product + bias[static_cast<size_t>(i)] : product;
            float& y_of = expected[Elements(r, stride) + static_cast<size_t>(i)];
            y_of = accumulate ? y_of + sum : sum;
          }
        }
        ExpectSame(y.Get(), expected,
                   std::string(format.name()) + " " + std::to_string(c.rows) + " x " + std::to_string(c.n) +
                       " x " + std::to_string(c.k) + (with_bias ? ", bias" : "") +
                       (accumulate ? ", accumulate" : ""));
      }
    }
  }

 private:
  static constexpr size_t kBehind = 70;  // floats behind y, which stay
};

TEST_P(CudaQuantized, ProductsAreThoseOfTheCpuAtBordersOfTiles) {
  for (const QuantCase& c :
       {QuantCase{17, 1, 32}, {64, 65, 96}, {65, 7, 64}, {18, 64, 160, false, 9}, {20, 3, 288}}) {
    Check(c);
  }
}

// Several blocks in both directions, stages that use each of the two buffers twice, and a few rows.
TEST_P(CudaQuantized, ProductsAreThoseOfTheCpuInEveryBlockAndStage) {
  Check({66, 130, 64});
  Check({17, 5, 1056});
  Check({3, 66, 800}, /*plain=*/true);
}

TEST_P(CudaQuantized, ProductsAreThoseOfTheCpuForSpecialNumbers) {
  Check({19, 5, 256, true});
  Check({4, 5, 256, true});
  Check({12, 17, 224, true});
}

TEST_P(CudaQuantized, ProductsOfFewRowsAreThoseOfTheCpuAtBordersOfTiles) {
  for (const QuantCase& c :
       {QuantCase{1, 1, 32}, {7, 16, 64}, {8, 17, 544, false, 5}, {9, 3, 512}, {16, 33, 96}}) {
    Check(c);
  }
}

// Fewer stages than buffers, and each buffer twice; the last stage is whole, or a part.
TEST_P(CudaQuantized, ProductsOfFewRowsAreThoseOfTheCpuInEveryStage) {
  for (const QuantCase& c : {QuantCase{3, 5, 8192}, {10, 5, 8192 + 96}, {2, 18, 1024}}) Check(c);
}

// It begins while the launch before it still runs, and that one makes its x.
TEST_P(CudaQuantized, XIsThatOfTheLaunchBefore) {
  constexpr int kRows = 3, kN = 20, kDim = 288;
  const WeightFormat format = GetParam();
  const std::vector<float> x = Numbers(Elements(kRows, kDim), DType::kF32, 10), ones(kDim, 1.0f);
  const Bytes weights = WeightRows(format, Numbers(Elements(kN, kDim), DType::kF32, 11), kN, kDim);
  const DeviceArray<float> of_x(device_.get(), x), of_ones(device_.get(), ones);
  const DeviceArray<float> f32(device_.get(), x.size()), y(device_.get(), Elements(kRows, kN));
  const DeviceArray<std::byte> normed(device_.get(), static_cast<size_t>(kRows * cuda::QuantXRowBytes(kDim)));
  const DeviceArray<std::byte> of_w(device_.get(), Packed(format, weights, kN, kDim));
  cuda::RmsNormParams norm{of_x.data(), of_ones.data(), f32.data(), 1e-5f, kRows, kDim};
  Run(LaunchOf(norm, DType::kF32));
  norm.out = normed.data();
  ASSERT_TRUE(device_->Launch(cuda::Stream::kCompute, LaunchOf(norm, format)).ok());
  const cuda::GemmParams product{
      .w = of_w.data(), .x = normed.data(), .y = y.data(), .rows = kRows, .n = kN, .k = kDim};
  Run(LaunchOf(product, format));
  ExpectSame(y.Get(), Products({kRows, kN, kDim}, format, weights, f32.Get()), "product of normed rows");
}

TEST_P(CudaQuantized, EmbedTakesTheNumbersOfTheTokens) {
  const WeightFormat format = GetParam();
  constexpr int kTokens = 7;
  for (const int dim : {32, 288, 608}) {
    const Bytes table = WeightRows(format, Numbers(Elements(kTokens, dim), DType::kF32, 1), kTokens, dim);
    const DeviceArray<cuda::DrawResult> drawn(device_.get(),
                                              std::vector<cuda::DrawResult>{{.token = 4}, {.token = 1}});
    const DeviceArray<int32_t> tokens(device_.get(), std::vector<int32_t>{6, 0, TokenDrawnBy(1), 3});
    const DeviceArray<std::byte> of_table(device_.get(), Packed(format, table, kTokens, dim));
    const DeviceArray<float> out(device_.get(), Elements(5, dim));
    const cuda::EmbedParams params{of_table.data(), tokens.data(), out.data(), 4, dim, drawn.data()};
    Run(LaunchOf(params, format));
    std::vector<float> expected(Elements(4, dim));
    size_t row = 0;
    for (const size_t token : {size_t{6}, size_t{0}, size_t{1}, size_t{3}})
      WidenRow(format, &table[token * format.RowBytes(dim)], dim,
               &expected[Elements(static_cast<int>(row++), dim)]);
    expected.resize(Elements(5, dim), std::nanf(""));  // what lies behind is untouched
    ExpectSame(out.Get(), expected, std::string(format.name()) + " " + std::to_string(dim));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaQuantized, testing::Values(WeightFormat::kQ8_0, WeightFormat::kQ4_0),
                         [](const auto& info) { return std::string(info.param.name()); });

// 8 rows that a warp reads at once, 16 bytes of each, lie in all of the 8 groups of 4 banks.
TEST(QuantOrder, RowsOfAStageLieInDifferentBanks) {
  for (const int bytes : {cuda::QuantTileXRowBytes(), cuda::QuantTileRowBytes(8), cuda::QuantTileRowBytes(4),
                          cuda::QuantFewXRowBytes(), cuda::QuantFewRowBytes(8), cuda::QuantFewRowBytes(4)}) {
    EXPECT_EQ(bytes % 32, 16) << bytes;
  }
  for (const int cols : {32, 96, 4096}) {
    EXPECT_EQ(cuda::QuantXRowBytes(cols) % 16, 0);
    EXPECT_EQ(cuda::QuantRowBytes(8, cols) % 16, 0);
    EXPECT_EQ(cuda::QuantRowBytes(4, cols) % 16, 0);
  }
}

}  // namespace
}  // namespace prefixd
