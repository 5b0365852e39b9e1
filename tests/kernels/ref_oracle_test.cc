// Compares `ref` with formulas in double precision. Tolerances are relative to the sum of the magnitudes that
// go into a result. They are given in units of f32 rounding (2^-24) and grow with the length of the longest
// chain.
#include "kernels/kv_plane.h"
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

constexpr double kRounding = 0x1p-24;

std::vector<float> UnitFloats(Prng& prng, size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(2 * prng.Unit() - 1);
  return values;
}

TEST(RefOracle, Gemm) {
  constexpr int kRows = 3, kOutputs = 20, kTerms = 400;
  auto ref = MakeOperations("ref", 1);
  Prng prng(1);
  const auto w = UnitFloats(prng, kOutputs * kTerms);
  const auto x = UnitFloats(prng, kRows * kTerms);
  const MatrixSource source = {w.data(), DType::kF32, kOutputs, kTerms};
  auto matrix = ref->Pack({&source, 1});
  ASSERT_TRUE(matrix.ok());
  std::vector<float> y(kRows * kOutputs, 10.0f);
  ref->Gemm(**matrix, x.data(), kRows, y.data(), GemmOutput::kAccumulate);
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < kOutputs; ++n) {
      double sum = 10, magnitude = 10;
      for (int k = 0; k < kTerms; ++k) {
        const double product = static_cast<double>(x[r * kTerms + k]) * w[n * kTerms + k];
        sum += product;
        magnitude += std::abs(product);
      }
      EXPECT_NEAR(y[r * kOutputs + n], sum, magnitude * kTerms * kRounding);
    }
  }
}

TEST(RefOracle, RmsNorm) {
  constexpr int kDim = 577;
  auto ref = MakeOperations("ref", 1);
  Prng prng(2);
  const auto x = UnitFloats(prng, kDim);
  const auto weight = UnitFloats(prng, kDim);
  std::vector<float> out(kDim);
  ref->RmsNorm(x.data(), weight.data(), 1e-5f, 1, kDim, out.data());
  double squares = 0;
  for (const float value : x) squares += static_cast<double>(value) * value;
  const double scale = 1 / std::sqrt(squares / kDim + 1e-5);
  for (int i = 0; i < kDim; ++i) {
    EXPECT_NEAR(out[i], x[i] * scale * weight[i], std::abs(x[i] * scale * weight[i]) * 64 * kRounding) << i;
  }
}

TEST(RefOracle, HeadRmsNormIsRmsNormOfEachHead) {
  constexpr int kRows = 2, kHeads = 3, kDim = 20, kStride = kHeads * kDim + 5;
  auto ref = MakeOperations("ref", 1);
  Prng prng(6);
  const auto x = UnitFloats(prng, kRows * kStride);
  const auto weight = UnitFloats(prng, kDim);
  std::vector<float> y = x;
  TestBatch batch(1, prng);
  batch.Add(0, kRows, 16);
  const BatchView view = batch.view();
  ref->BeginStep(view);
  ref->HeadRmsNorm(y.data(), kStride, kHeads, kDim, weight.data(), 1e-6f);
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kStride; ++i) {
      const int at = r * kStride + i;
      if (i >= kHeads * kDim) {
        EXPECT_EQ(y[at], x[at]) << "past the heads";
        continue;
      }
      double squares = 0;
      for (int d = 0; d < kDim; ++d) squares += std::pow(x[at - i % kDim + d], 2);
      const double truth = x[at] / std::sqrt(squares / kDim + 1e-6) * weight[i % kDim];
      EXPECT_NEAR(y[at], truth, std::abs(truth) * 16 * kRounding) << r << " " << i;
    }
  }
}

TEST(RefOracle, AddBias) {
  auto ref = MakeOperations("ref", 1);
  std::vector<float> x = {1, 2, 3, 4, 5, 6};
  const float bias[] = {10, 20, 30};
  ref->AddBias(bias, 2, 3, x.data());
  EXPECT_EQ(x, (std::vector<float>{11, 22, 33, 14, 25, 36}));
}

TEST(RefOracle, GatedActivation) {
  constexpr int kWidth = 200, kRows = 2;
  const auto silu = [](double g) { return g / (1 + std::exp(-g)); };
  const auto gelu = [](double g) {
    return 0.5 * g * (1 + std::tanh(0.7978845608028654 * (g + 0.044715 * g * g * g)));
  };
  auto ref = MakeOperations("ref", 1);
  Prng prng(3);
  auto x = UnitFloats(prng, kRows * 2 * kWidth);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= i % (2 * kWidth) < kWidth ? 20 : 1;
  for (const Activation activation : kAllActivations) {
    std::vector<float> out(kRows * kWidth);
    ref->GatedActivation(activation, x.data(), kRows, kWidth, out.data());
    for (int i = 0; i < kRows * kWidth; ++i) {
      const double g = x[i / kWidth * 2 * kWidth + i % kWidth];
      const double up = x[i / kWidth * 2 * kWidth + i % kWidth + kWidth];
      const double truth = up * (activation == Activation::kSilu       ? silu(g)
                                 : activation == Activation::kGeluTanh ? gelu(g)
                                                                       : std::max(g, 0.0));
      EXPECT_NEAR(out[i], truth, std::abs(g * up) * 8 * kRounding)
          << static_cast<int>(activation) << " of " << g;
    }
  }
}

TEST(RefOracle, RopeRotatesPairsByTheirAngle) {
  constexpr int kDim = 8, kPosition = 3;
  auto ref = MakeOperations("ref", 1);
  std::vector<float> table((kPosition + 1) * kDim, NAN);
  double angles[kDim / 2];
  for (int i = 0; i < kDim / 2; ++i) {
    angles[i] = kPosition * std::pow(10000.0, -2.0 * i / kDim);
    table[kPosition * kDim + i] = static_cast<float>(std::cos(angles[i]));
    table[kPosition * kDim + kDim / 2 + i] = static_cast<float>(std::sin(angles[i]));
  }
  Prng prng(4);
  const auto x = UnitFloats(prng, kDim);
  std::vector<float> y = x;
  TestBatch batch(1, prng);
  batch.Add(kPosition, 1, std::vector<BlockId>{0});
  const BatchView view = batch.view();
  ref->BeginStep(view);
  ref->Rope(y.data(), kDim, 1, kDim, table.data());
  for (int i = 0; i < kDim / 2; ++i) {
    const double a = x[i], b = x[i + kDim / 2];
    EXPECT_NEAR(y[i], a * std::cos(angles[i]) - b * std::sin(angles[i]), 8 * kRounding);
    EXPECT_NEAR(y[i + kDim / 2], b * std::cos(angles[i]) + a * std::sin(angles[i]), 8 * kRounding);
  }
}

// The formulas of docs/FORMAT.md. The order is part of the format of a record: another order needs another
// name.
TEST(RefOracle, StoreKvHasTheOrderThatTheFormatStates) {
  constexpr int kLayers = 2, kHeads = 3, kDim = 6, kTokens = 4, kRows = 7;  // a whole block and three tokens
  auto ref = MakeOperations("ref", 1);
  EXPECT_EQ(kCpuKvLayoutName, "layer,K|V,head,K:dim,token,V:token,dim");
  auto pool = AllocateKvOrDie({kLayers, kHeads, kDim, kTokens, DType::kF32}, 2, KvOrder::kBlocks);
  std::vector<float> k(kRows * kHeads * kDim), v(k.size());
  std::iota(k.begin(), k.end(), 1.0f);
  std::iota(v.begin(), v.end(), 1001.0f);
  Prng prng(9);
  TestBatch batch(0, prng);
  batch.Add(0, kRows, std::vector<BlockId>{1, 0});
  const BatchView view = batch.view();
  ref->BeginStep(view);
  ref->StoreKv(k.data(), v.data(), kHeads * kDim, 1, *pool);
  std::vector<float> want(2 * kLayers * 2 * kHeads * kDim * kTokens);
  const size_t per_block = want.size() / 2;
  for (int i = 0; i < kRows; ++i) {
    float* block = want.data() + (i < kTokens ? per_block : 0);
    const int l = 1, t = i % kTokens;
    for (int h = 0; h < kHeads; ++h) {
      for (int d = 0; d < kDim; ++d) {
        block[((2 * l * kHeads + h) * kDim + d) * kTokens + t] = k[(i * kHeads + h) * kDim + d];
        block[(((2 * l + 1) * kHeads + h) * kTokens + t) * kDim + d] = v[(i * kHeads + h) * kDim + d];
      }
    }
  }
  EXPECT_EQ(std::memcmp(pool->block(0), want.data(), want.size() * sizeof(float)), 0);
}

// Replaces K and V [tokens][head][dim] of layer 0 by the numbers that are stored for them.
void ReadBack(const KvPool& pool, const std::vector<BlockId>& table, int tokens, std::vector<float>* k,
              std::vector<float>* v) {
  const KvLayout& layout = pool.layout();
  for (size_t i = 0; i < k->size(); ++i) {
    const int dim = static_cast<int>(i) % layout.head_dim, row = static_cast<int>(i) / layout.head_dim;
    const int head = row % layout.kv_heads, token = row / layout.kv_heads;
    ASSERT_LT(token, tokens);
    const std::byte* const planes = pool.layer(table[static_cast<size_t>(token / layout.block_tokens)], 0);
    const int in_block = token % layout.block_tokens;
    (*k)[i] = LoadNumber(layout, KvPart::kK, planes + layout.KOffset(head), in_block, dim);
    (*v)[i] = LoadNumber(layout, KvPart::kV, planes + layout.VOffset(head), in_block, dim);
  }
}

// Attention over many tiles and two spans, with K and V stored by StoreKv.
class RefAttentionOracle : public testing::TestWithParam<int> {};

TEST_P(RefAttentionOracle, AttentionIsASoftmaxOverWhatIsStoredInTheWindow) {
  constexpr int kTokens = 600, kHeads = 4, kDim = 32;
  const int window = GetParam();
  for (const KvType type : kAllKvTypes) {
    auto ref = MakeOperations("ref", 1);
    const KvLayout layout = {1, 2, kDim, 16, type};
    auto pool = AllocateKvOrDie(layout, 40);
    Prng prng(5);
    auto k = UnitFloats(prng, kTokens * 2 * kDim);
    auto v = UnitFloats(prng, kTokens * 2 * kDim);
    const auto q = UnitFloats(prng, kTokens * kHeads * kDim);
    TestBatch batch(40, prng);
    batch.Add(0, kTokens, 16);
    const BatchView view = batch.view();
    std::vector<float> out(q.size());
    ref->BeginStep(view);
    ref->StoreKv(k.data(), v.data(), 2 * kDim, 0, *pool);
    ref->Attention(q.data(), kHeads * kDim, {kHeads, 2.0f, window}, 0, *pool, out.data());
    ReadBack(*pool, batch.table(0), kTokens, &k, &v);
    for (const int row : {0, 1, 63, 64, 511, 512, 599}) {
      const int first = window == 0 ? 0 : std::max(0, row - window + 1);
      for (int h = 0; h < kHeads; ++h) {
        std::vector<double> weights(row + 1);
        double total = 0;
        for (int t = first; t <= row; ++t) {
          double score = 0;
          for (int d = 0; d < kDim; ++d) {
            score += 2.0 * q[(row * kHeads + h) * kDim + d] * k[(t * 2 + h / 2) * kDim + d];
          }
          total += weights[t] = std::exp(score);
        }
        for (int d = 0; d < kDim; ++d) {
          double truth = 0;
          for (int t = first; t <= row; ++t) truth += weights[t] / total * v[(t * 2 + h / 2) * kDim + d];
          EXPECT_NEAR(out[(row * kHeads + h) * kDim + d], truth, 2e-6) << type.name() << " row " << row;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Windows, RefAttentionOracle, testing::Values(0, 1, 70, 512));

}  // namespace
}  // namespace prefixd
