// The kernels of attention against the operations of `ref`, which have other tiles and f32 weights. Equal
// within what the rounding of P to the type of the KV allows: |difference| <= unit * largest |V|, where half
// of `unit` is the relative error of that type, and the rest is for the sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "kernels/kv_plane.h"
#include "kernels/registry.h"
#include "tests/kernels/cuda/attention_step.h"

namespace prefixd {
namespace {

using cuda_test::AttentionCase;
using cuda_test::AttentionStep;

// The results of `ref` for a step, over a pool of its own.
std::vector<float> RefResults(AttentionStep& step) {
  const AttentionCase& c = step.params();
  const KvLayout layout{.layers = 1,
                        .kv_heads = c.kv_heads,
                        .head_dim = c.head_dim,
                        .block_tokens = c.block_tokens,
                        .type = step.kv()};
  const BatchView batch = step.Batch();
  std::vector<std::vector<BlockId>> tables;
  BlockId blocks = 0;
  for (const SequenceSpan& sequence : batch.sequences) {
    tables.emplace_back();
    for (int t = 0; t < sequence.position + sequence.rows; t += c.block_tokens)
      tables.back().push_back(blocks++);
  }
  auto pool = AllocateHostKv(layout, blocks, KvOrder::kBlocks);
  PREFIXD_CHECK(pool.ok());
  std::vector<SequenceSpan> sequences(batch.sequences.begin(), batch.sequences.end());
  std::vector<float> q;
  for (size_t s = 0; s < sequences.size(); ++s) {
    sequences[s].blocks = tables[s];
    const int id = c.pieces[s].sequence, end = sequences[s].position + sequences[s].rows;
    for (int t = 0; t < end; ++t) {
      std::byte* const block = (*pool)->block(tables[s][static_cast<size_t>(t / c.block_tokens)]);
      const int token = t % c.block_tokens;
      for (int h = 0; h < c.kv_heads; ++h) {
        const auto k = step.RowOf(AttentionStep::kKey, id, h, t),
                   v = step.RowOf(AttentionStep::kValue, id, h, t);
        StoreHead(layout, KvPart::kK, token, k.data(), block + layout.KOffset(0, h));
        StoreHead(layout, KvPart::kV, token, v.data(), block + layout.VOffset(0, h));
      }
    }
    for (int t = sequences[s].position; t < end; ++t) {
      for (int h = 0; h < c.heads; ++h) {
        const auto row = step.RowOf(AttentionStep::kQuery, id, h, t);
        q.insert(q.end(), row.begin(), row.end());
      }
    }
  }
  auto ref = CreateOperations("ref", 1);
  PREFIXD_CHECK(ref.ok());
  std::vector<float> out(q.size());
  (*ref)->BeginStep({batch.tokens, sequences});
  (*ref)->Attention(q.data(), c.heads * c.head_dim, {c.heads, 1.0f, c.window}, 0, **pool, out.data());
  return out;
}

class CudaAttentionAgainstRef : public testing::TestWithParam<KvType> {
 protected:
  void Check(const AttentionCase& c) {
    constexpr float kLargestValue = 2.0f;  // of V, see AttentionStep::RowOf
    if (!GetParam().Fits(c.head_dim)) return;
    // Numbers of q8_0 are rounded to f16, in scores as well.
    const KvType kv = GetParam();
    const float unit = kv == DType::kBF16    ? 0x1p-8f
                       : kv == DType::kF16   ? 0x1p-11f
                       : kv == KvType::kQ8_0 ? 0x1p-9f
                                             : 0x1p-18f;
    const auto device = cuda_test::NewDevice({.exact_products = false});
    AttentionStep step(c, GetParam());
    const std::vector<float> got = step.Compute(device.get()), expected = RefResults(step);
    ASSERT_EQ(got.size(), expected.size());
    float largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const float difference = std::abs(got[i] - expected[i]);
      ASSERT_LE(difference, unit * kLargestValue)
          << "element " << i << " is " << got[i] << ", not " << expected[i] << "; head_dim " << c.head_dim
          << ", window " << c.window;
      largest = std::max(largest, std::abs(expected[i]));
    }
    ASSERT_GT(largest, 0.05f) << "results so small prove nothing";
  }
};

TEST_P(CudaAttentionAgainstRef, Decode) {
  for (const int head_dim : {40, 64, 96, 128})
    Check({.head_dim = head_dim, .pieces = {{0, 1}, {63, 1}, {700, 1}, {256, 1}}});
}

TEST_P(CudaAttentionAgainstRef, ChunksAndWindows) {
  for (const int window : {0, 33, 256}) {
    Check({.heads = 7, .kv_heads = 1, .head_dim = 64, .window = window, .pieces = {{500, 20}, {0, 33}}});
    Check({.heads = 6,
           .kv_heads = 2,
           .head_dim = 16,
           .block_tokens = 32,
           .window = window,
           .pieces = {{60, 40}, {3, 1}}});
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaAttentionAgainstRef,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, KvType::kQ8_0),
                         [](const auto& info) { return std::string(info.param.name()); });

}  // namespace
}  // namespace prefixd
