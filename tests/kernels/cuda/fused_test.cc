// The fused kernels have the bits of the launches that they replace, which cuda_row_test compares with plain
// code; and a layer of a step that decodes takes six launches.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "bench/presets.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/launches.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/typed_array.h"
#include "tests/support/cuda_emulation/kernel_products.h"

namespace prefixd {
namespace {

using cuda::KernelId;
using cuda::Stream;
using cuda_emulation::EmulatedRuntime;
using cuda_test::DeviceArray;
using cuda_test::Elements;
using cuda_test::ExpectSame;
using cuda_test::NewDevice;
using cuda_test::Numbers;
using cuda_test::TypedArray;

constexpr float kEps = 1e-5f;

// A product of rows, with what comes before it. The type is that of the weights and the KV.
class Product {
 public:
  Product(cuda::CudaRuntime* device, DType type, int rows, int n, int k, bool bias)
      : device_(device),
        type_(type),
        w_(device, type, Numbers(Elements(n, k), type, 1)),
        x_(device, Numbers(Elements(rows, k), DType::kF32, 2)),
        weight_(device, Numbers(static_cast<size_t>(k), DType::kF32, 3)),
        bias_(device, Numbers(static_cast<size_t>(n), DType::kF32, 4)),
        late_x_(device, Elements(rows, k)),
        indices_(device, std::vector<int32_t>{0}),
        normed_(device, type, Elements(rows, k)),
        y_(device, Elements(rows, n)),
        params_{.w = w_.data(),
                .x = normed_.data(),
                .bias = bias ? bias_.data() : nullptr,
                .y = y_.data(),
                .rows = rows,
                .n = n,
                .k = k,
                .accumulate = false} {}

  const cuda::GemmParams& params() const { return params_; }
  const float* y() const { return y_.data(); }
  DType type() const { return type_; }

  void Give(const cuda::KernelLaunch& launch) {
    const Status status = device_->Launch(Stream::kCompute, launch);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  // What a launch right before the others writes: the x that is normed. So nobody may read it early.
  void MakeX() {
    const cuda::GatherParams all{.x = x_.data(),
                                 .indices = indices_.data(),
                                 .out = late_x_.data(),
                                 .rows = 1,
                                 .row_bytes = static_cast<int>(late_x_.size() * sizeof(float))};
    Give(LaunchOf(all));
  }
  void Norm() {
    const cuda::RmsNormParams norm{late_x_.data(), weight_.data(), normed_.data(),
                                   kEps,           params_.rows,   params_.k};
    Give(LaunchOf(norm, type_));
  }
  cuda::FewNorm norm() const { return {late_x_.data(), weight_.data(), kEps}; }
  void MakeY() { Give(LaunchOf(params_, type_)); }

 private:
  cuda::CudaRuntime* device_;
  const DType type_;
  const TypedArray w_;
  const DeviceArray<float> x_, weight_, bias_, late_x_;
  const DeviceArray<int32_t> indices_;
  const TypedArray normed_;
  const DeviceArray<float> y_;
  const cuda::GemmParams params_;
};

struct FusedCase {
  int rows, k;
  bool norm;
  std::string Name(DType type) const {
    return std::string(DTypeName(type)) + ", " + std::to_string(rows) + " rows of " + std::to_string(k) +
           (norm ? ", normed" : "");
  }
};

// Fewer and more stages than buffers, whole ones and a part of 8 columns; few rows and all rows.
const std::vector<FusedCase>& Cases() {
  static const std::vector<FusedCase> cases = {{1, 8, true},     {4, 264, true},  {2, 1288, true},
                                               {3, 4224, true},  {1, 264, false}, {8, 40, false},
                                               {9, 1288, false}, {16, 72, false}};
  return cases;
}

class CudaFused : public testing::TestWithParam<DType> {
 protected:
  // Runs what `run` gives to the stream with the norm, if there is one, in the launch or before it.
  template <typename Run>
  void Around(const FusedCase& c, Product* product, bool fused, const Run& run) {
    product->MakeX();
    if (!fused || !c.norm) product->Norm();
    run(fused && c.norm ? product->norm() : cuda::FewNorm{});
    cuda_test::Wait(*device_);
  }
  // Both sides have the same products, so they need not be those of a device.
  std::unique_ptr<cuda::CudaRuntime> device_ = NewDevice({.exact_products = false});
};

struct QkvHeads {
  int heads, kv_heads, head_dim, block_tokens;
};

// What the step writes, as bytes.
struct QkvResults {
  std::vector<float> q;
  std::vector<std::byte> blocks;
};

class CudaFusedQkv : public CudaFused {
 protected:
  static constexpr int kSequences = 3, kStride = 9, kPositions = 33;

  QkvResults Compute(const FusedCase& c, const QkvHeads& h, bool bias, bool fused) {
    const DType type = GetParam();
    const int heads = h.heads + 2 * h.kv_heads;
    Product product(device_.get(), type, c.rows, heads * h.head_dim, c.k, bias);
    const KvLayout layout{2, h.kv_heads, h.head_dim, h.block_tokens, type};
    std::vector<cuda::RowPlace> places;
    for (int row = 0; row < c.rows; ++row) places.push_back({row * 2 + row % 2, row % kSequences});
    std::vector<int32_t> tables;
    for (int i = 0; i < kSequences * kStride; ++i) tables.push_back(kSequences * kStride - i);
    const DeviceArray<cuda::RowPlace> of_places(device_.get(), places);
    const DeviceArray<int32_t> of_tables(device_.get(), tables);
    const DeviceArray<float> rope(device_.get(), Numbers(Elements(kPositions, h.head_dim), DType::kF32, 5));
    DeviceArray<std::byte> pool(device_.get(), (tables.size() + 1) * layout.BlockBytes());
    pool.Set(std::vector<std::byte>(pool.size(), std::byte{0xA5}));
    const TypedArray q(device_.get(), type, Elements(c.rows, h.heads * h.head_dim));
    const cuda::QkvParams append{
        .qkv = product.y(),
        .q_norm = nullptr,
        .k_norm = nullptr,
        .rope = rope.data(),
        .places = of_places.data(),
        .tables = {of_tables.data(), kStride},
        .kv = {pool.data(), layout.BlockBytes(), h.block_tokens, h.kv_heads, h.head_dim, 1},
        .q = q.data(),
        .eps = kEps,
        .scale = 0.3f,
        .rows = c.rows,
        .heads = h.heads};
    Around(c, &product, fused, [&](const cuda::FewNorm& norm) {
      if (fused) {
        const cuda::FewQkvParams few{product.params(), norm, append};
        EXPECT_TRUE(CanFuse(few, type, type));
        if (c.norm) {
          EXPECT_TRUE(FewCanNorm(few.product, type, norm, device_->facts().shared_bytes));
        }
        return product.Give(LaunchOf(few, type));
      }
      product.MakeY();
      product.Give(LaunchOf(append, type));
    });
    return {q.Get(), pool.Get()};
  }
};

TEST_P(CudaFusedQkv, HasTheBitsOfTheLaunchesThatItReplaces) {
  // Blocks with a warp that has no tile; heads of one tile and of eight; KV planes in every order.
  for (const auto& [heads, bias] : {std::pair{QkvHeads{3, 1, 16, 16}, true},
                                    {QkvHeads{4, 2, 64, 8}, false},
                                    {QkvHeads{1, 1, 128, 16}, true},
                                    {QkvHeads{2, 2, 96, 4}, false}}) {
    for (const FusedCase& c : Cases()) {
      if (c.k > 1000 && heads.head_dim > 64) continue;  // as for fewer dims
      SCOPED_TRACE(c.Name(GetParam()) + ", head_dim " + std::to_string(heads.head_dim));
      const QkvResults expected = Compute(c, heads, bias, false), got = Compute(c, heads, bias, true);
      ExpectSame(got.q, expected.q, "q");
      ASSERT_EQ(got.blocks, expected.blocks);
      ASSERT_NE(got.q[0], got.q[1]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaFusedQkv, testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

class CudaFusedGate : public CudaFused {
 protected:
  std::vector<float> Compute(const FusedCase& c, int width, Activation activation, bool bias, bool fused) {
    const DType type = GetParam();
    Product product(device_.get(), type, c.rows, 2 * width, c.k, bias);
    const TypedArray out(device_.get(), type, Elements(c.rows, width) + 3);  // what lies behind stays
    const cuda::ActivationParams activate{product.y(), out.data(), activation, c.rows, width};
    Around(c, &product, fused, [&](const cuda::FewNorm& norm) {
      if (fused) return product.Give(LaunchOf(cuda::FewGateParams{product.params(), norm, activate}, type));
      product.MakeY();
      product.Give(LaunchOf(activate, type));
    });
    return out.Get();
  }
};

TEST_P(CudaFusedGate, HasTheBitsOfTheLaunchesThatItReplaces) {
  for (const auto& [width, activation, bias] : {std::tuple{1, Activation::kSilu, true},
                                                {20, Activation::kGeluTanh, false},
                                                {40, Activation::kSilu, false},
                                                {35, Activation::kRelu, true}}) {
    for (const FusedCase& c : Cases()) {
      SCOPED_TRACE(c.Name(GetParam()) + ", width " + std::to_string(width));
      const std::vector<float> expected = Compute(c, width, activation, bias, false);
      ExpectSame(Compute(c, width, activation, bias, true), expected, "activated");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaFusedGate, testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

// --- Whole steps ---

struct StepCase {
  int rows;
  DType type = DType::kBF16;
  DType kv = DType::kBF16;
  std::string_view family = "llama";
  int head_dim = 32;
  bool library = false;
};

// Launches of a step of a model with so many layers.
uint64_t LaunchesOf(const StepCase& c, int layers) {
  cuda_emulation::KernelProducts library;
  EmulatedRuntime device({.exact_products = false, .products = c.library ? &library : nullptr});
  library.set_runtime(&device);
  const std::unique_ptr<Backend> backend = cuda::CreateCudaBackend(&device);
  bench::Preset preset = *bench::FindPreset("tiny");
  preset.layers = layers;
  preset.model_type = c.family;
  preset.head_dim = c.head_dim;
  Result<ModelPlan> plan = bench::RandomPlan(preset, c.type, 32, *backend);
  PREFIXD_CHECK(plan.ok()) << plan.status().ToString();
  const KvLayout layout = plan->shape.Kv(16, c.kv);
  auto runner = backend->CreateRunner(std::move(*plan), {32, 32, 1});
  auto pool = backend->AllocateKv(layout, 2);
  PREFIXD_CHECK(runner.ok() && pool.ok());
  const std::vector<BlockId> table = {1, 0};
  const std::vector<SequenceSpan> spans = {{0, c.rows, 0, table}};
  const std::vector<TokenId> tokens(static_cast<size_t>(c.rows), 5);
  std::vector<LogitRow> rows(1);
  rows[0].row = c.rows - 1;
  const uint64_t before = device.launches();
  (*runner)->Launch({{tokens, spans}, rows, pool->get()}, {});
  const Status status = (*runner)->Collect();
  PREFIXD_CHECK(status.ok()) << status.ToString();
  return device.launches() - before;
}

uint64_t LaunchesOfALayer(const StepCase& c) { return LaunchesOf(c, 3) - LaunchesOf(c, 2); }

TEST(CudaLayer, TakesSixLaunchesForFewRows) {
  EXPECT_EQ(LaunchesOfALayer({1}), 6u) << "qkv, attention, fold, out, gate and up, down";
  EXPECT_EQ(LaunchesOfALayer({4}), 6u);
  EXPECT_EQ(LaunchesOfALayer({.rows = 1, .type = DType::kF16, .kv = DType::kF16}), 6u);
  EXPECT_EQ(LaunchesOfALayer({.rows = 4, .library = true}), 6u) << "the library has the head alone";
  EXPECT_EQ(LaunchesOf({.rows = 1}, 2), 18u) << "with embedding, gathers, last norm, head and draw";
}

TEST(CudaLayer, TakesMoreWhereLaunchesDoNotFuse) {
  EXPECT_EQ(LaunchesOfALayer({5}), 8u) << "two norms";
  EXPECT_EQ(LaunchesOfALayer({16}), 8u);
  EXPECT_EQ(LaunchesOfALayer({17}), 10u) << "rope and append, and the activation";
  EXPECT_EQ(LaunchesOfALayer({.rows = 5, .library = true}), 10u);
  EXPECT_EQ(LaunchesOfALayer({.rows = 1, .kv = DType::kF16}), 8u) << "KV of another type";
  EXPECT_EQ(LaunchesOfALayer({.rows = 1, .family = "qwen3"}), 8u) << "heads with a norm";
  EXPECT_EQ(LaunchesOfALayer({.rows = 1, .head_dim = 24}), 8u) << "8 dims have no other half in a tile";
  EXPECT_EQ(LaunchesOfALayer({.rows = 1, .type = DType::kF32, .kv = DType::kF32}), 10u);
}

}  // namespace
}  // namespace prefixd
