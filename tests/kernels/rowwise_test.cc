// Compares norms, biases, rotation, gated activations, KV stores and copies of the fast backends with ref,
// bit for bit. Also compares Exp with its definition.
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

class RowwiseTest : public CompareWithRef {};

TEST_P(RowwiseTest, RmsNormAtEveryWidth) {
  std::vector<int> dims(70);
  std::iota(dims.begin(), dims.end(), 1);
  dims.insert(dims.end(), {576, 1000});
  for (const int dim : dims) {
    for (const int rows : {1, 3, 50}) {
      Prng prng(dim * 100 + rows);
      const auto x = RandomFloats(prng, rows * dim);
      const auto weight = RandomFloats(prng, dim);
      std::vector<float> want(x.size()), got = x;
      ref->RmsNorm(x.data(), weight.data(), 1e-5f, rows, dim, want.data());
      fast->RmsNorm(got.data(), weight.data(), 1e-5f, rows, dim, got.data());  // in place
      ASSERT_TRUE(SameBits(got, want)) << "dim " << dim << " rows " << rows;
    }
  }
}

TEST_P(RowwiseTest, RmsNormOfZerosInfinitiesAndNaNs) {
  std::vector<float> x(3 * 40, 0.0f);
  x[40 + 17] = INFINITY;
  x[80 + 39] = NAN;
  const std::vector<float> weight(40, 2.0f);
  std::vector<float> want(x.size()), got(x.size());
  ref->RmsNorm(x.data(), weight.data(), 0.0f, 3, 40, want.data());
  fast->RmsNorm(x.data(), weight.data(), 0.0f, 3, 40, got.data());
  EXPECT_TRUE(SameBits(got, want));
  EXPECT_TRUE(std::isnan(got[80]));
}

// Subnormals, infinities, NaNs, and sums that cancel or overflow.
TEST_P(RowwiseTest, AwkwardNumbersInEveryOperation) {
  constexpr int kHeads = 3;
  for (const int head_dim : {2, 6, 16, 40}) {
    for (const int rows : {1, 3, 17}) {
      Prng prng(static_cast<uint64_t>(head_dim * 100 + rows));
      const int width = kHeads * head_dim;
      const auto size = static_cast<size_t>(rows) * width;
      const auto x = AwkwardFloats(prng, size), weight = AwkwardFloats(prng, width);
      const auto table = AwkwardFloats(prng, static_cast<size_t>(rows) * head_dim);
      const auto gated = AwkwardFloats(prng, 2 * size);
      TestBatch batch(64, prng);
      batch.Add(0, rows, 16);
      const BatchView view = batch.view();
      const auto run = [&](Operations& operations, int operation) {
        std::vector<float> y = x;
        operations.BeginStep(view);
        if (operation == 0) operations.RmsNorm(x.data(), weight.data(), 1e-5f, rows, width, y.data());
        if (operation == 1) operations.HeadRmsNorm(y.data(), width, kHeads, head_dim, weight.data(), 1e-6f);
        if (operation == 2) operations.Rope(y.data(), width, kHeads, head_dim, table.data());
        if (operation == 3) operations.AddBias(weight.data(), rows, width, y.data());
        if (operation >= 4)
          operations.GatedActivation(kAllActivations[operation - 4], gated.data(), rows, width, y.data());
        return y;
      };
      for (int operation = 0; operation < 4 + static_cast<int>(std::size(kAllActivations)); ++operation) {
        const std::vector<float> got = run(*fast, operation);
        ASSERT_TRUE(SameBits(got, run(*ref, operation)))
            << "operation " << operation << " head_dim " << head_dim << " rows " << rows;
        ASSERT_FALSE(SameBits(got, x)) << operation;
      }
    }
  }
}

TEST_P(RowwiseTest, RopeChangesItsHeadsOnly) {
  for (const int head_dim : kHeadDims) {
    constexpr int kHeads = 3, kPositions = 90;
    const int stride = kHeads * head_dim + 5;
    Prng prng(head_dim);
    const auto table = RandomFloats(prng, kPositions * head_dim);
    TestBatch batch(64, prng);
    batch.Add(7, 1, 16);
    batch.Add(0, 33, 16);
    batch.Add(40, 50, 16);
    const BatchView view = batch.view();
    std::vector<float> want = RandomFloats(prng, static_cast<size_t>(batch.rows()) * stride);
    std::vector<float> got = want;
    ref->BeginStep(view);
    ref->Rope(want.data(), stride, kHeads, head_dim, table.data());
    fast->BeginStep(view);
    fast->Rope(got.data(), stride, kHeads, head_dim, table.data());
    ASSERT_TRUE(SameBits(got, want)) << "head_dim " << head_dim;
  }
}

TEST_P(RowwiseTest, HeadRmsNormChangesItsHeadsOnly) {
  for (const int head_dim : kHeadDims) {
    for (const int rows : {1, 3, 17, 60}) {
      constexpr int kHeads = 5;
      const int stride = kHeads * head_dim + 7;
      Prng prng(head_dim * 100 + rows);
      const auto weight = RandomFloats(prng, head_dim);
      TestBatch batch(64, prng);
      batch.Add(7, rows, 16);
      const BatchView view = batch.view();
      std::vector<float> want = RandomFloats(prng, static_cast<size_t>(rows) * stride);
      std::vector<float> got = want;
      ref->BeginStep(view);
      ref->HeadRmsNorm(want.data(), stride, kHeads, head_dim, weight.data(), 1e-6f);
      fast->BeginStep(view);
      fast->HeadRmsNorm(got.data(), stride, kHeads, head_dim, weight.data(), 1e-6f);
      ASSERT_TRUE(SameBits(got, want)) << "head_dim " << head_dim << " rows " << rows;
    }
  }
}

std::vector<int> Widths() {
  std::vector<int> widths(40);
  std::iota(widths.begin(), widths.end(), 1);
  widths.insert(widths.end(), {1151, 1152, 1153});
  return widths;
}

TEST_P(RowwiseTest, AddBiasAtEveryWidth) {
  for (const int width : Widths()) {
    for (const int rows : {1, 3, 17}) {
      Prng prng(width * 100 + rows);
      const auto bias = RandomFloats(prng, width);
      std::vector<float> want = RandomFloats(prng, static_cast<size_t>(rows) * width);
      std::vector<float> got = want;
      ref->AddBias(bias.data(), rows, width, want.data());
      fast->AddBias(bias.data(), rows, width, got.data());
      ASSERT_TRUE(SameBits(got, want)) << "width " << width << " rows " << rows;
    }
  }
}

TEST_P(RowwiseTest, GatedActivationAtEveryWidth) {
  for (const Activation activation : kAllActivations) {
    for (const int width : Widths()) {
      for (const int rows : {1, 3, 17}) {
        Prng prng(width);
        const auto x = RandomFloats(prng, 2 * rows * width);
        std::vector<float> want(rows * width), got(rows * width);
        ref->GatedActivation(activation, x.data(), rows, width, want.data());
        fast->GatedActivation(activation, x.data(), rows, width, got.data());
        ASSERT_TRUE(SameBits(got, want))
            << "activation " << static_cast<int>(activation) << " width " << width << " rows " << rows;
      }
    }
  }
}

// For g below -17, 1 + Exp(-g) equals Exp(-g), so silu shows every bit of Exp. For other g it shows most
// bits.
TEST_P(RowwiseTest, ActivationsEqualTheirDefinitions) {
  constexpr int kWidth = 1 << 20;
  std::vector<float> x(2 * kWidth, 1.0f);
  std::vector<float> got(kWidth);
  for (int i = 0; i < kWidth; ++i) x[i] = -92.0f + 184.0f * static_cast<float>(i) / kWidth;
  const float special[] = {0.0f,
                           -0.0f,
                           INFINITY,
                           -INFINITY,
                           NAN,
                           1e-40f,
                           -numerics::kExpMin,
                           -numerics::kExpMax,
                           std::nextafter(-numerics::kExpMin, INFINITY),
                           std::nextafter(-numerics::kExpMax, -INFINITY)};
  std::copy(std::begin(special), std::end(special), x.begin() + 5);
  std::vector<float> want(kWidth);
  for (const auto& [activation, definition] : {std::pair(Activation::kSilu, &numerics::Silu),
                                               {Activation::kGeluTanh, &numerics::GeluTanh},
                                               {Activation::kRelu, &numerics::Relu}}) {
    fast->GatedActivation(activation, x.data(), 1, kWidth, got.data());
    for (int i = 0; i < kWidth; ++i) want[i] = definition(x[i]) * 1.0f;
    EXPECT_TRUE(SameBits(got, want)) << static_cast<int>(activation);
  }
}

TEST_P(RowwiseTest, StoreKvRoundsAndStoresAtThePosition) {
  for (const DType dtype : kAllDTypes) {
    for (const int block_tokens : {1, 4, 16, 128}) {
      for (const int head_dim : {2, 6, 16, 40, 64, 80, 112}) {
        const KvLayout layout = {2, 3, head_dim, block_tokens, dtype};
        const uint32_t blocks = 200;
        Prng prng(block_tokens * 1000 + head_dim);
        TestBatch batch(blocks, prng);
        batch.Add(3, 30, block_tokens);
        batch.Add(0, 1, block_tokens);
        batch.Add(17, 40, block_tokens);
        const BatchView view = batch.view();
        const int stride = 3 * head_dim + 7;
        auto k = RandomFloats(prng, static_cast<size_t>(batch.rows()) * stride);
        auto v = RandomFloats(prng, k.size());
        for (size_t i = 0; i < k.size(); i += 3)
          k[i] = v[i] = std::bit_cast<float>(static_cast<uint32_t>(prng.Next()));
        auto want = AllocateKvOrDie(layout, blocks);
        auto got = AllocateKvOrDie(layout, blocks);
        ref->BeginStep(view);
        ref->StoreKv(k.data(), v.data(), stride, 1, *want);
        fast->BeginStep(view);
        fast->StoreKv(k.data(), v.data(), stride, 1, *got);
        ASSERT_EQ(std::memcmp(got->layer(0, 0), want->layer(0, 0), blocks * layout.BlockBytes()), 0)
            << DTypeName(dtype) << " block_tokens " << block_tokens << " head_dim " << head_dim;
      }
    }
  }
}

// Blocks that are quantised from ordinary numbers, or whose scale is 0, subnormal, infinite or a NaN; and
// products that lie between two integers.
TEST_P(RowwiseTest, StoreKvQuantises) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float sizes[] = {1.0f,    127.0f,   0x1p-90f,       0x1.fffffep-91f,  0x1p-140f,      1e-5f,
                         127e-7f, 65504.0f, 127 * 65504.0f, 127 * 65520.0f,   3e38f,          0.0f,
                         254.0f,  1e-3f,    127 * 0x1p-25f, 127 * 0x1.8p-25f, 127 * 0x1p-14f, 7.7f};
  constexpr int kRows = 90, kHeads = 2;
  for (const int block_tokens : {1, 8, 16, 64}) {
    for (const int head_dim : {32, 64, 96, 160}) {
      const KvLayout layout = {2, kHeads, head_dim, block_tokens, KvType::kQ8_0};
      Prng prng(block_tokens * 1000 + head_dim);
      TestBatch batch(200, prng);
      batch.Add(5, kRows, block_tokens);
      const BatchView view = batch.view();
      const int stride = kHeads * head_dim + 7;
      auto k = RandomFloats(prng, static_cast<size_t>(kRows) * stride), v = k;
      for (size_t i = 0; i < k.size(); ++i) {
        const float size = sizes[i / kQuantBlock % std::size(sizes)];
        k[i] *= size / 100;
        v[i] = i % 5 == 0 ? -size : size * (static_cast<float>(prng.Below(255)) + 0.5f - 127.5f) / 254;
        if (prng.Below(500) == 0) k[i] = prng.Chance(0.5) ? kInf : -kInf;
        if (prng.Below(500) == 0) v[i] = std::numeric_limits<float>::quiet_NaN();
      }
      auto want = AllocateKvOrDie(layout, 200);
      auto got = AllocateKvOrDie(layout, 200);
      ref->BeginStep(view);
      ref->StoreKv(k.data(), v.data(), stride, 1, *want);
      fast->BeginStep(view);
      fast->StoreKv(k.data(), v.data(), stride, 1, *got);
      ASSERT_EQ(std::memcmp(got->layer(0, 0), want->layer(0, 0), 200 * layout.BlockBytes()), 0)
          << "block_tokens " << block_tokens << " head_dim " << head_dim;
    }
  }
}

TEST_P(RowwiseTest, GatherRows) {
  Prng prng(5);
  const auto x = RandomFloats(prng, 20 * 33);
  const int indices[] = {19, 0, 7, 7};
  std::vector<float> got(4 * 33);
  fast->GatherRows(x.data(), indices, 33, got.data());
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(std::memcmp(&got[i * 33], &x[indices[i] * 33], 33 * sizeof(float)), 0) << i;
}

PREFIXD_FOR_FAST_BACKENDS(RowwiseTest);

}  // namespace
}  // namespace prefixd
