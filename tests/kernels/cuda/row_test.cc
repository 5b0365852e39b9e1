// The kernels of kernels/cuda/row_kernels.h, gemm_kernels.h and qkv_kernels.h against plain code, bit for
// bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "base/prng.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/launches.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/reference.h"

namespace prefixd {
namespace {

using cuda::LaunchOf;
using cuda_test::DeviceArray;

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// Numbers of both signs and many sizes, that the type has.
std::vector<float> Numbers(size_t count, DType type, uint64_t seed) {
  Prng prng(seed);
  std::vector<float> numbers(count);
  for (float& number : numbers) {
    const float size = std::ldexp(1.0f, static_cast<int>(prng.Below(6)) - 3);
    number = cuda_test::Rounded((static_cast<float>(prng.Below(2001)) / 1000.0f - 1.0f) * size, type);
  }
  return numbers;
}

// An array of elements of a type; the test sees them as f32.
class TypedArray {
 public:
  TypedArray(cuda::CudaRuntime* device, DType type, size_t size)
      : type_(type), bytes_(device, size * DTypeBytes(type)) {}
  TypedArray(cuda::CudaRuntime* device, DType type, const std::vector<float>& values)
      : TypedArray(device, type, values.size()) {
    std::vector<std::byte> bytes(values.size() * DTypeBytes(type));
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t half = type == DType::kF32 ? uint16_t{0} : cuda_test::BitsOf(values[i], type);
      std::memcpy(bytes.data() + i * DTypeBytes(type),
                  type == DType::kF32 ? static_cast<const void*>(&values[i]) : &half, DTypeBytes(type));
    }
    bytes_.Set(bytes);
  }
  std::byte* data() const { return bytes_.data(); }
  std::vector<float> Get() const {
    const std::vector<std::byte> bytes = bytes_.Get();
    std::vector<float> values(bytes.size() / DTypeBytes(type_));
    for (size_t i = 0; i < values.size(); ++i) values[i] = ElementOf(bytes, i);
    return values;
  }

 private:
  float ElementOf(const std::vector<std::byte>& bytes, size_t i) const {
    if (type_ == DType::kF32) {
      float value;
      std::memcpy(&value, &bytes[4 * i], 4);
      return value;
    }
    uint16_t half;
    std::memcpy(&half, &bytes[2 * i], 2);
    return type_ == DType::kBF16 ? numerics::F32FromBF16(half) : numerics::F32FromF16(half);
  }

  DType type_;
  DeviceArray<std::byte> bytes_;
};

// Equal bits, or both NaN.
void ExpectSame(const std::vector<float>& got, const std::vector<float>& expected, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    const bool same = std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(expected[i]) ||
                      (std::isnan(got[i]) && std::isnan(expected[i]));
    ASSERT_TRUE(same) << what << ": element " << i << " is " << got[i] << ", not " << expected[i];
  }
}

class CudaRows : public testing::Test {
 protected:
  void Run(const cuda::KernelLaunch& launch) {
    const Status status = device_->Launch(cuda::Stream::kCompute, launch);
    ASSERT_TRUE(status.ok()) << status.ToString();
    cuda_test::Wait(*device_);
  }
  std::unique_ptr<cuda::CudaRuntime> device_ = cuda_test::NewDevice({.bytes = size_t{64} << 30});
};

TEST_F(CudaRows, EmbedTakesTheRowsOfTheTokens) {
  for (const DType type : kTypes) {
    for (const int dim : {1, 33, 96}) {
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

TEST_F(CudaRows, RmsNormFollowsItsRule) {
  for (const DType type : kTypes) {
    for (const int dim : {2, 31, 64, 100}) {
      for (const int rows : {1, 5}) {
        const auto width = static_cast<size_t>(dim);
        const std::vector<float> x = Numbers(static_cast<size_t>(rows) * width, DType::kF32, 2);
        const std::vector<float> weight = Numbers(width, DType::kF32, 3);
        const DeviceArray<float> of_x(device_.get(), x), of_weight(device_.get(), weight);
        const TypedArray out(device_.get(), type, x.size());
        const cuda::RmsNormParams params{of_x.data(), of_weight.data(), out.data(), 1e-5f, rows, dim};
        Run(LaunchOf(params, type));
        std::vector<float> expected;
        for (int r = 0; r < rows; ++r) {
          for (const float value :
               cuda_test::Normed(std::span(x).subspan(static_cast<size_t>(r) * width, width), weight, 1e-5f))
            expected.push_back(cuda_test::Rounded(value, type));
        }
        ExpectSame(out.Get(), expected, std::string(DTypeName(type)) + " " + std::to_string(dim));
      }
    }
  }
}

TEST_F(CudaRows, GatherCopiesRows) {
  const std::vector<float> x = Numbers(5 * 35, DType::kF32, 4);
  const std::vector<int32_t> indices = {4, 1, 1};
  const DeviceArray<float> of_x(device_.get(), x), out(device_.get(), 3 * 35);
  const DeviceArray<int32_t> of_indices(device_.get(), indices);
  const cuda::GatherParams params{of_x.data(), of_indices.data(), out.data(), 3, 35 * 4};
  Run(LaunchOf(params));
  std::vector<float> expected;
  for (const int32_t index : indices)
    expected.insert(expected.end(), x.begin() + index * 35, x.begin() + (index + 1) * 35);
  ExpectSame(out.Get(), expected, "gather");
}

TEST_F(CudaRows, ActivationsAreThoseOfTheCpu) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const DType type : kTypes) {
      std::vector<float> x = Numbers(3 * 2 * 70, DType::kF32, 5);
      x[0] = 200;
      x[1] = -200;
      x[2] = std::numeric_limits<float>::infinity();
      const DeviceArray<float> of_x(device_.get(), x);
      const TypedArray out(device_.get(), type, 3 * 70);
      const cuda::ActivationParams params{of_x.data(), out.data(), activation, 3, 70};
      Run(LaunchOf(params, type));
      std::vector<float> expected;
      for (size_t r = 0; r < 3; ++r) {
        for (size_t i = 0; i < 70; ++i) {
          const float value = cuda_test::Activated(activation, x[r * 140 + i]) * x[r * 140 + 70 + i];
          expected.push_back(cuda_test::Rounded(value, type));
        }
      }
      ExpectSame(out.Get(), expected, std::string(DTypeName(type)));
    }
  }
}

// Borders of tiles and stages, and columns whose rows do not begin at 16 bytes.
TEST_F(CudaRows, ProductsAreChains) {
  struct Sizes {
    int rows, n, k;
  };
  for (const DType type : kTypes) {
    for (const auto& [rows, n, k] :
         {Sizes{1, 1, 8}, {3, 65, 64}, {17, 7, 136}, {65, 3, 72}, {2, 5, 30}, {1, 70, 1}}) {
      const auto size = [](int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); };
      const std::vector<float> w = Numbers(size(n, k), type, 6), x = Numbers(size(rows, k), type, 7);
      const std::vector<float> bias = Numbers(static_cast<size_t>(n), DType::kF32, 8);
      const std::vector<float> before = Numbers(size(rows, n), DType::kF32, 9);
      const TypedArray of_w(device_.get(), type, w), of_x(device_.get(), type, x);
      const DeviceArray<float> of_bias(device_.get(), bias);
      for (const bool accumulate : {false, true}) {
        const DeviceArray<float> y(device_.get(), before);
        const cuda::GemmParams params{.w = of_w.data(),
                                      .x = of_x.data(),
                                      .bias = accumulate ? of_bias.data() : nullptr,
                                      .y = y.data(),
                                      .rows = rows,
                                      .n = n,
                                      .k = k,
                                      .accumulate = accumulate};
        Run(LaunchOf(params, type));
        std::vector<float> expected;
        for (int r = 0; r < rows; ++r) {
          for (int c = 0; c < n; ++c) {
            const auto width = static_cast<size_t>(k);
            float sum = cuda_test::Product(std::span(x).subspan(size(r, k), width),
                                           std::span(w).subspan(size(c, k), width), type);
            if (accumulate) sum = before[expected.size()] + (sum + bias[static_cast<size_t>(c)]);
            expected.push_back(sum);
          }
        }
        ExpectSame(y.Get(), expected,
                   std::string(DTypeName(type)) + " " + std::to_string(rows) + " x " + std::to_string(n) +
                       " x " + std::to_string(k));
      }
    }
  }
}

// --- Qkv ---

struct QkvCase {
  int heads, kv_heads, head_dim, block_tokens;
  bool norm;
};

// Two sequences: rows at the positions 0 .. 2 and 37 .. 38, with blocks whose bytes lie beyond 32 bits.
class CudaQkv : public CudaRows, public testing::WithParamInterface<DType> {
 protected:
  void Check(const QkvCase& c) {
    const DType type = GetParam();
    const int rows = 5, width = (c.heads + 2 * c.kv_heads) * c.head_dim, layer = 1;
    const KvLayout layout{2, c.kv_heads, c.head_dim, c.block_tokens, type};
    const std::vector<cuda::RowPlace> places = {{0, 0}, {1, 0}, {2, 0}, {37, 1}, {38, 1}};
    const int stride = 38 / c.block_tokens + 1;
    std::vector<int32_t> tables(static_cast<size_t>(2 * stride));
    const auto far = static_cast<int32_t>((uint64_t{5} << 30) / layout.BlockBytes());
    for (size_t i = 0; i < tables.size(); ++i) tables[i] = far + static_cast<int32_t>(tables.size() - i);
    const std::vector<float> x = Numbers(static_cast<size_t>(rows * width), DType::kF32, 10);
    const std::vector<float> norm = Numbers(static_cast<size_t>(2 * c.head_dim), DType::kF32, 11);
    const std::vector<float> rope = Numbers(static_cast<size_t>(40 * c.head_dim), DType::kF32, 12);
    const DeviceArray<float> of_x(device_.get(), x), of_norm(device_.get(), norm),
        of_rope(device_.get(), rope);
    const DeviceArray<cuda::RowPlace> of_places(device_.get(), places);
    const DeviceArray<int32_t> of_tables(device_.get(), tables);
    const size_t blocks = static_cast<size_t>(far) + tables.size() + 1;
    const DeviceArray<std::byte> pool(device_.get(), blocks * layout.BlockBytes());
    const TypedArray q(device_.get(), type, static_cast<size_t>(rows * c.heads * c.head_dim));
    const cuda::QkvParams params{
        .qkv = of_x.data(),
        .q_norm = c.norm ? of_norm.data() : nullptr,
        .k_norm = c.norm ? of_norm.data() + c.head_dim : nullptr,
        .rope = of_rope.data(),
        .places = of_places.data(),
        .tables = {of_tables.data(), stride},
        .kv = {pool.data(), layout.BlockBytes(), c.block_tokens, c.kv_heads, c.head_dim, layer},
        .q = q.data(),
        .eps = 1e-6f,
        .scale = 0.3f,
        .rows = rows,
        .heads = c.heads};
    Run(LaunchOf(params, type));

    const auto dim = static_cast<size_t>(c.head_dim);
    const auto head_of = [&](int row, int head, int kind) {  // 0: q, 1: k, 2: v; as it is stored
      std::vector<float> values(x.begin() + row * width + head * c.head_dim,
                                x.begin() + row * width + (head + 1) * c.head_dim);
      if (kind < 2) {
        if (c.norm)
          values = cuda_test::Normed(values, std::span(norm).subspan(kind == 0 ? 0 : dim, dim), 1e-6f);
        const int position = places[static_cast<size_t>(row)].position;
        cuda_test::Rotate(values, std::span(rope).subspan(static_cast<size_t>(position) * dim, dim));
      }
      for (float& value : values) value = cuda_test::Rounded(kind == 0 ? value * 0.3f : value, type);
      return values;
    };
    std::vector<float> expected;
    for (int r = 0; r < rows; ++r) {
      for (int h = 0; h < c.heads; ++h) {
        const std::vector<float> values = head_of(r, h, 0);
        expected.insert(expected.end(), values.begin(), values.end());
      }
    }
    ExpectSame(q.Get(), expected, "q");
    for (int r = 0; r < rows; ++r) {
      const auto [position, sequence] = places[static_cast<size_t>(r)];
      const auto block =
          static_cast<size_t>(tables[static_cast<size_t>(sequence * stride + position / c.block_tokens)]);
      for (int h = 0; h < 2 * c.kv_heads; ++h) {
        const bool is_v = h >= c.kv_heads;
        const size_t plane = block * layout.BlockBytes() +
                             (is_v ? layout.VOffset(layer, h - c.kv_heads) : layout.KOffset(layer, h));
        const std::vector<std::byte> bytes = pool.Get(plane, layout.PlaneBytes());
        std::vector<float> stored;
        for (int d = 0; d < c.head_dim; ++d) {
          const size_t at = cuda::PlaneOffset(position % c.block_tokens, d, c.head_dim,
                                              static_cast<int>(DTypeBytes(type)), c.block_tokens);
          float value = 0;
          uint16_t half = 0;
          std::memcpy(type == DType::kF32 ? static_cast<void*>(&value) : &half, &bytes[at], DTypeBytes(type));
          if (type != DType::kF32)
            value = type == DType::kBF16 ? numerics::F32FromBF16(half) : numerics::F32FromF16(half);
          stored.push_back(value);
        }
        ExpectSame(stored, head_of(r, c.heads + h, is_v ? 2 : 1), is_v ? "v" : "k");
      }
    }
  }
};

TEST_P(CudaQkv, HeadsAreNormedRotatedAndStored) {
  Check({4, 2, 64, 16, false});
  Check({3, 3, 32, 8, true});
  Check({6, 1, 128, 32, true});
  Check({2, 1, 10, 16, false});
  Check({2, 2, 96, 4, true});
}

INSTANTIATE_TEST_SUITE_P(Types, CudaQkv, testing::ValuesIn(kTypes),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

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

}  // namespace
}  // namespace prefixd
