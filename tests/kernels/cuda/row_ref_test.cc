// The kernels of rows, products and heads against the operations of `ref`. Those add in another order and
// keep f32 between operations, so results are equal within what rounding to the type of the weights, and the
// order of sums, allow. Where neither plays a part, the bits are equal.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/launches.h"
#include "kernels/registry.h"
#include "tests/kernels/cuda/qkv_step.h"
#include "tests/kernels/cuda/typed_array.h"

namespace prefixd {
namespace {

using cuda::LaunchOf;
using cuda_test::DeviceArray;
using cuda_test::Elements;
using cuda_test::ExpectSame;
using cuda_test::Numbers;
using cuda_test::QkvCase;
using cuda_test::QkvStep;
using cuda_test::Rounded;
using cuda_test::TypedArray;

class CudaRowsAgainstRef : public testing::TestWithParam<DType> {
 protected:
  CudaRowsAgainstRef() {
    auto ref = CreateOperations("ref", 1);
    PREFIXD_CHECK(ref.ok()) << ref.status().ToString();
    ref_ = std::move(*ref);
  }
  void Run(const cuda::KernelLaunch& launch) { cuda_test::RunLaunch(*device_, launch); }
  // The distance of two neighbours of the type, relative to them: twice the error of rounding.
  float Unit() const {
    return GetParam() == DType::kBF16 ? 0x1p-7f : GetParam() == DType::kF16 ? 0x1p-10f : 0x1p-23f;
  }
  std::vector<float> AllRounded(std::vector<float> values) const {
    for (float& value : values) value = Rounded(value, GetParam());
    return values;
  }
  // |got - expected| <= Unit() |expected| + slack
  void ExpectNear(std::span<const float> got, std::span<const float> expected, float slack,
                  const std::string& what) const {
    ASSERT_EQ(got.size(), expected.size()) << what;
    float largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_LE(std::abs(got[i] - expected[i]), Unit() * std::abs(expected[i]) + slack)
          << what << ": element " << i << " is " << got[i] << ", not " << expected[i];
      largest = std::max(largest, std::abs(expected[i]));
    }
    ASSERT_GT(largest, 1000 * slack) << what << ": results so small prove nothing";
  }

  std::unique_ptr<Operations> ref_;
  std::unique_ptr<cuda::CudaRuntime> device_ = cuda_test::NewDevice({.bytes = size_t{64} << 30});
};

TEST_P(CudaRowsAgainstRef, Embed) {
  constexpr int kTokens = 9, kDim = 70;
  const std::vector<float> table = Numbers(Elements(kTokens, kDim), GetParam(), 31);
  const std::vector<std::byte> bytes = cuda_test::BytesOf(table, GetParam());
  const std::vector<int32_t> tokens = {8, 0, 5, 5, 7};
  const std::vector<SequenceSpan> sequences = {{.first_row = 0, .rows = 5, .position = 0, .blocks = {}}};
  const std::vector<MatrixSource> sources = {{bytes.data(), GetParam(), kTokens, kDim}};
  const auto matrix = ref_->Pack(sources);
  ASSERT_TRUE(matrix.ok());
  std::vector<float> expected(Elements(5, kDim));
  ref_->BeginStep({tokens, sequences});
  ref_->Embed(**matrix, expected.data());
  const TypedArray of_table(device_.get(), GetParam(), table);
  const DeviceArray<int32_t> of_tokens(device_.get(), tokens);
  const DeviceArray<float> out(device_.get(), expected.size());
  const cuda::EmbedParams params{of_table.data(), of_tokens.data(), out.data(), 5, kDim};
  Run(LaunchOf(params, GetParam()));
  ExpectSame(out.Get(), expected, "embed");
}

TEST_P(CudaRowsAgainstRef, RmsNorm) {
  for (const int dim : {2, 33, 576}) {
    constexpr int kRows = 17;
    const std::vector<float> x = Numbers(Elements(kRows, dim), DType::kF32, 32);
    const std::vector<float> weight = Numbers(static_cast<size_t>(dim), DType::kF32, 33);
    std::vector<float> expected(x.size());
    ref_->RmsNorm(x.data(), weight.data(), 1e-5f, kRows, dim, expected.data());
    const DeviceArray<float> of_x(device_.get(), x), of_weight(device_.get(), weight);
    const TypedArray out(device_.get(), GetParam(), x.size());
    const cuda::RmsNormParams params{of_x.data(), of_weight.data(), out.data(), 1e-5f, kRows, dim};
    Run(LaunchOf(params, GetParam()));
    ExpectNear(out.Get(), expected, 0x1p-16f, "norm of " + std::to_string(dim));
  }
}

TEST_P(CudaRowsAgainstRef, Activations) {
  constexpr int kRows = 3, kWidth = 45;
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu}) {
    const std::vector<float> x = Numbers(Elements(kRows, 2 * kWidth), DType::kF32, 34);
    std::vector<float> expected(Elements(kRows, kWidth));
    ref_->GatedActivation(activation, x.data(), kRows, kWidth, expected.data());
    const DeviceArray<float> of_x(device_.get(), x);
    const TypedArray out(device_.get(), GetParam(), expected.size());
    const cuda::ActivationParams params{of_x.data(), out.data(), activation, kRows, kWidth};
    Run(LaunchOf(params, GetParam()));
    ExpectSame(out.Get(), AllRounded(expected), "activation");
  }
}

TEST(CudaGatherAgainstRef, Gather) {
  constexpr int kDim = 37;
  auto ref = CreateOperations("ref", 1);
  ASSERT_TRUE(ref.ok());
  const auto device = cuda_test::NewDevice();
  const std::vector<float> x = Numbers(Elements(6, kDim), DType::kF32, 35);
  const std::vector<int> indices = {5, 2, 2, 0, 4};
  std::vector<float> expected(Elements(5, kDim));
  (*ref)->GatherRows(x.data(), indices, kDim, expected.data());
  const DeviceArray<float> of_x(device.get(), x), out(device.get(), expected.size());
  const DeviceArray<int32_t> of_indices(device.get(), indices);
  const cuda::GatherParams params{of_x.data(), of_indices.data(), out.data(), 5, kDim * 4};
  cuda_test::RunLaunch(*device, LaunchOf(params));
  ExpectSame(out.Get(), expected, "gather");
}

// The error of an output is at most k 2^-22 of the sum of |x w|: each fused sum cuts 17 terms and its result
// at 2^-23 of the largest or finer, and a chain of fma rounds k times.
TEST_P(CudaRowsAgainstRef, Gemm) {
  struct Sizes {
    int rows, n, k;
  };
  for (const auto& [rows, n, k] : {Sizes{1, 70, 64}, {17, 5, 200}, {65, 66, 30}}) {
    const std::vector<float> w = Numbers(Elements(n, k), GetParam(), 36);
    const std::vector<float> x = Numbers(Elements(rows, k), GetParam(), 37);
    const std::vector<float> bias = Numbers(static_cast<size_t>(n), DType::kF32, 38);
    const std::vector<float> before = Numbers(Elements(rows, n), DType::kF32, 39);
    const std::vector<std::byte> bytes = cuda_test::BytesOf(w, GetParam());
    const std::vector<MatrixSource> sources = {{bytes.data(), GetParam(), n, k}};
    const auto matrix = ref_->Pack(sources);
    ASSERT_TRUE(matrix.ok());
    std::vector<float> expected = before;
    ref_->Gemm(**matrix, x.data(), rows, expected.data(), GemmOutput::kAccumulate);
    ref_->AddBias(bias.data(), rows, n, expected.data());
    const TypedArray of_w(device_.get(), GetParam(), w), of_x(device_.get(), GetParam(), x);
    const DeviceArray<float> of_bias(device_.get(), bias), y(device_.get(), before);
    const cuda::GemmParams params{.w = of_w.data(),
                                  .x = of_x.data(),
                                  .bias = of_bias.data(),
                                  .y = y.data(),
                                  .rows = rows,
                                  .n = n,
                                  .k = k,
                                  .accumulate = true};
    Run(LaunchOf(params, GetParam()));
    const std::vector<float> got = y.Get();
    for (size_t i = 0; i < got.size(); ++i) {
      const auto width = static_cast<size_t>(k), column = i % static_cast<size_t>(n);
      const float* const x_row = &x[i / static_cast<size_t>(n) * width];
      const float* const w_row = &w[column * width];
      float sum = std::abs(before[i]) + std::abs(bias[column]);
      for (size_t j = 0; j < width; ++j) sum += std::abs(x_row[j] * w_row[j]);
      ASSERT_LE(std::abs(got[i] - expected[i]), static_cast<float>(k) * 0x1p-22f * sum)
          << "element " << i << " of " << rows << " x " << n << " x " << k << " is " << got[i] << ", not "
          << expected[i];
    }
  }
}

// --- Qkv ---

// Heads as `ref` makes them, in its own blocks.
struct RefQkv {
  std::vector<float> x;  // [rows][heads][head_dim]: q and k are normed and rotated
  std::unique_ptr<KvPool> pool;
};

RefQkv RefResults(Operations& ref, const QkvStep& step) {
  const QkvCase& c = step.params();
  const auto stride = static_cast<size_t>(step.stride());
  std::vector<BlockId> tables;
  for (int s = 0; s < QkvStep::kSequences; ++s)
    for (int i = 0; i < step.stride(); ++i) tables.push_back(static_cast<BlockId>(step.BlockAt(s, i)));
  const auto& places = step.places();
  std::vector<SequenceSpan> sequences;
  for (int row = 0; row < step.rows(); ++row) {
    const auto [position, sequence] = places[static_cast<size_t>(row)];
    if (row > 0 && places[static_cast<size_t>(row) - 1].sequence == sequence) {
      ++sequences.back().rows;
      continue;
    }
    const auto blocks = std::span(tables).subspan(static_cast<size_t>(sequence) * stride, stride);
    sequences.push_back({.first_row = row, .rows = 1, .position = position, .blocks = blocks});
  }
  auto pool = AllocateHostKv(step.layout(), static_cast<uint32_t>(tables.size()) + 1, KvOrder::kBlocks);
  PREFIXD_CHECK(pool.ok()) << pool.status().ToString();
  const std::vector<TokenId> tokens(places.size(), 0);
  RefQkv results{step.x(), std::move(*pool)};
  float* const q = results.x.data();
  float* const k = q + c.heads * c.head_dim;
  ref.BeginStep({tokens, sequences});
  if (c.norm) {
    ref.HeadRmsNorm(q, step.width(), c.heads, c.head_dim, step.q_norm().data(), QkvStep::kEps);
    ref.HeadRmsNorm(k, step.width(), c.kv_heads, c.head_dim, step.k_norm().data(), QkvStep::kEps);
  }
  ref.Rope(q, step.width(), c.heads + c.kv_heads, c.head_dim, step.rope().data());
  ref.StoreKv(k, k + c.kv_heads * c.head_dim, step.width(), QkvStep::kLayer, *results.pool);
  return results;
}

// A head of k or v of a row in the blocks of `ref`.
std::vector<float> RefHead(const RefQkv& ref, const QkvStep& step, int row, int head) {
  const QkvCase& c = step.params();
  const KvLayout& layout = step.layout();
  const auto [position, sequence] = step.places()[static_cast<size_t>(row)];
  const int kv_head = head - c.heads, token = position % c.block_tokens;
  const bool is_key = kv_head < c.kv_heads;
  const size_t plane = is_key ? layout.KOffset(QkvStep::kLayer, kv_head)
                              : layout.VOffset(QkvStep::kLayer, kv_head - c.kv_heads);
  const std::byte* const from =
      ref.pool->block(static_cast<BlockId>(step.BlockAt(sequence, position / c.block_tokens))) + plane;
  std::vector<float> values;
  for (int d = 0; d < c.head_dim; ++d) {
    const int element = is_key ? d * c.block_tokens + token : token * c.head_dim + d;
    values.push_back(LoadElement(from, layout.type.dtype(), static_cast<size_t>(element)));
  }
  return values;
}

float Largest(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

TEST_P(CudaRowsAgainstRef, Qkv) {
  for (const QkvCase& c : {QkvCase{4, 2, 64, 16, false}, {7, 1, 96, 8, true}, {3, 3, 10, 32, true}}) {
    const QkvStep step(c, GetParam());
    const QkvStep::Results got = step.Compute(device_.get());
    const RefQkv ref = RefResults(*ref_, step);
    const auto dim = static_cast<size_t>(c.head_dim);
    for (int row = 0; row < step.rows(); ++row) {
      for (int head = 0; head < step.heads(); ++head) {
        const std::string what = "row " + std::to_string(row) + ", head " + std::to_string(head);
        if (head < c.heads) {
          const auto first = ref.x.begin() + row * step.width() + head * c.head_dim;
          std::vector<float> expected(first, first + c.head_dim);
          for (float& value : expected) value = value * QkvStep::kScale;
          const auto q = std::span(got.q).subspan(Elements(row * c.heads + head, c.head_dim), dim);
          ExpectNear(q, expected, 0x1p-16f * Largest(expected), what);
          continue;
        }
        std::vector<float> stored;
        for (int d = 0; d < c.head_dim; ++d)
          stored.push_back(LoadElement(&got.blocks[step.ByteOf(row, head, d)], GetParam(), 0));
        const std::vector<float> expected = RefHead(ref, step, row, head);
        if (head < c.heads + c.kv_heads)
          ExpectNear(stored, expected, 0x1p-16f * Largest(expected), what);
        else
          ExpectSame(stored, expected, what);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaRowsAgainstRef, testing::ValuesIn(cuda_test::kTypes),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace prefixd
