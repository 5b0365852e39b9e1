// Compares paged attention of the fast backends with ref, bit for bit. Also tests the invariants of backend.h
// directly.
#include "kernels/cpu/attention_plan.h"
#include "kernels/kv_plane.h"
#include "tests/kernels/kernel_testing.h"
#include "tests/support/allocations.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

struct Shape {
  int heads, kv_heads, head_dim, block_tokens;
  KvType type;
  int window = 0;
};

std::string Describe(const Shape& s) {
  return std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads of " +
         std::to_string(s.head_dim) + ", blocks of " + std::to_string(s.block_tokens) + " " +
         std::string(s.type.name()) + ", window " + std::to_string(s.window);
}

KvLayout LayoutOf(const Shape& s) { return {2, s.kv_heads, s.head_dim, s.block_tokens, s.type}; }

// Subnormals, numbers whose scores are equal or cancel, large ones, and rarely one that is not finite.
float UnusualNumber(Prng& prng) {
  const float sign = prng.Chance(0.5) ? -1.0f : 1.0f;
  const uint64_t kind = prng.Below(8192);
  if (kind == 0) return sign * std::numeric_limits<float>::infinity();
  if (kind == 1) return std::numeric_limits<float>::quiet_NaN();
  if (kind < 64) return sign * 0x1p40f;
  if (kind < 2048) return sign * static_cast<float>(prng.Below(9)) * 0x1p-130f;
  return sign * (1 + static_cast<float>(prng.Below(4)) / 4);
}

// Stores random K and V for the tokens that some row sees, and NaN everywhere else. A NaN in a result then
// shows that other memory took part.
void FillKv(KvPool& pool, const BatchView& batch, int window, Number number, Prng& prng) {
  const KvLayout& layout = pool.layout();
  std::memset(pool.layer(0, 0), 0xFF, pool.blocks() * layout.BlockBytes());  // elements and scales are NaN
  for (const SequenceSpan& sequence : batch.sequences) {
    const int first = numerics::WindowStart(sequence.position, window);
    for (int t = first; t < sequence.position + sequence.rows; ++t) {
      std::byte* const planes = pool.layer(sequence.blocks[t / layout.block_tokens], 1);
      const int token = t % layout.block_tokens;
      for (int h = 0; h < layout.kv_heads; ++h) {
        const auto k = Numbers(number, prng, layout.head_dim), v = Numbers(number, prng, layout.head_dim);
        StoreHead(layout, KvPart::kK, token, k.data(), planes + layout.KOffset(h));
        StoreHead(layout, KvPart::kV, token, v.data(), planes + layout.VOffset(h));
      }
    }
  }
}

class AttentionTest : public CompareWithRef {
 protected:
  // Runs one batch of sequences, each given as (position, rows), on both backends and compares the results.
  // With wave_units, runs CpuAttention itself in place of the fast backend.
  void Compare(const Shape& s, const std::vector<std::pair<int, int>>& sequences, uint64_t seed,
               int wave_units = 0) {
    Prng prng(seed);
    int tokens = 0;
    for (const auto& [position, rows] : sequences) tokens += position + rows + s.block_tokens;
    const uint32_t blocks = tokens / s.block_tokens + 3;
    TestBatch batch(blocks, prng);
    for (const auto& [position, rows] : sequences) {
      batch.Add(position, rows, s.block_tokens);
      // No backend may read below the tile in which the first window begins.
      const int first_tile = numerics::WindowStart(position, s.window) / numerics::kAttentionTile;
      batch.InvalidateBlocks(first_tile * numerics::kAttentionTile / s.block_tokens);
    }
    const BatchView view = batch.view();
    auto ref_kv = AllocateKvOrDie(LayoutOf(s), blocks);
    auto fast_kv = AllocateKvOrDie(LayoutOf(s), blocks);
    FillKv(*ref_kv, view, s.window, number_, prng);
    std::memcpy(fast_kv->layer(0, 0), ref_kv->layer(0, 0), blocks * LayoutOf(s).BlockBytes());

    const int width = s.heads * s.head_dim;
    const int stride = width + 3;
    const auto q = Numbers(number_, prng, static_cast<size_t>(batch.rows()) * stride);
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    std::vector<float> want(static_cast<size_t>(batch.rows()) * width), got(want.size(), -1.0f);
    ref->BeginStep(view);
    ref->Attention(q.data(), stride, {s.heads, scale, s.window}, 1, *ref_kv, want.data());
    if (wave_units > 0) {
      RunInWaves(view, {{s.heads, scale, s.window}, q.data(), stride, 1, fast_kv.get(), got.data()},
                 wave_units);
    } else {
      fast->BeginStep(view);
      fast->Attention(q.data(), stride, {s.heads, scale, s.window}, 1, *fast_kv, got.data());
    }
    std::string where =
        Describe(s) + ", seed " + std::to_string(seed) + ", waves of " + std::to_string(wave_units);
    for (const auto& [position, rows] : sequences) {
      where += ", " + std::to_string(rows) + " at " + std::to_string(position);
    }
    ASSERT_TRUE(SameBits(got, want)) << where;
    if (number_ == RandomFloat) {
      ASSERT_FALSE(std::isnan(got[0])) << where << ": the result is NaN, so the comparison proves nothing";
    }
    for (const float value : got) ++(std::isfinite(value) ? finite_ : not_finite_);
  }

  Number number_ = RandomFloat;          // of queries, keys and values
  int64_t finite_ = 0, not_finite_ = 0;  // results

  const cpu::Ops& ops() const { return fast->name() == "avx2" ? cpu::Avx2Ops() : cpu::Avx512Ops(); }

 private:
  // Reserves exactly what the batch needs, and checks that running it allocates nothing.
  void RunInWaves(const BatchView& batch, const AttentionArgs& args, int wave_units) {
    const KvLayout& layout = args.pool->layout();
    AttentionLimits limits = {.heads = args.params.heads,
                              .kv_heads = layout.kv_heads,
                              .head_dim = layout.head_dim,
                              .max_rows = batch.rows(),
                              .context = 1,
                              .wave_units = wave_units};
    for (const SequenceSpan& sequence : batch.sequences)
      limits.context = std::max(limits.context, sequence.position + sequence.rows);
    ThreadPool pool(fast->threads());
    CpuAttention attention(ops(), pool);
    ASSERT_TRUE(attention.Reserve(limits).ok());
    const int64_t before = testing_support::Allocations();
    attention.BeginStep(batch);
    attention.Run(args);
    attention.Run(args);  // finds the memory as the first run left it
    EXPECT_EQ(testing_support::Allocations(), before);
  }
};

TEST_P(AttentionTest, EveryHeadSizeAndBlockSize) {
  for (const int head_dim : kHeadDims) {
    for (const int block_tokens : {1, 2, 4, 8, 16, 32, 128}) {
      const DType dtype = kAllDTypes[(head_dim + block_tokens) % 3];
      Compare({2, 1, head_dim, block_tokens, dtype}, {{0, 5}, {62, 4}, {30, 1}},
              head_dim * 1000 + block_tokens);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AttentionTest, QuantisedKvOfEveryShape) {
  int shape = 0;
  for (const int head_dim : {32, 64, 96, 128, 256}) {
    for (const int block_tokens : {1, 2, 4, 8, 16, 32, 128}) {
      const int kv_heads = std::vector{1, 2}[++shape % 2];
      const int heads = kv_heads * std::vector{1, 3, 7}[shape % 3];
      const int window = std::vector{0, 1, 70, 0}[shape % 4];
      Compare({heads, kv_heads, head_dim, block_tokens, KvType::kQ8_0, window},
              {{0, 5}, {62, 4}, {30, 1}, {head_dim == 32 ? 511 : 127, shape % 5 + 1}}, shape);
      if (HasFatalFailure()) return;
    }
  }
  Compare({96, 1, 32, 16, KvType::kQ8_0}, {{530, 2}}, 1);  // many rows of one job
}

TEST_P(AttentionTest, SubnormalsInfinitiesNansAndScoresThatCancel) {
  number_ = UnusualNumber;
  uint64_t seed = 0;
  for (const KvType type : kAllKvTypes) {
    for (const int head_dim : {32, 64}) {
      for (const int window : {0, 70}) {
        Compare({6, 2, head_dim, 16, type, window}, {{0, 20}, {62, 4}, {30, 1}, {600, 3}}, ++seed);
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(finite_, 10000);
  EXPECT_GT(not_finite_, 1000);
}

TEST_P(AttentionTest, EveryGroupSize) {
  for (const auto& [heads, kv_heads] : std::vector<std::pair<int, int>>{
           {1, 1}, {2, 1}, {3, 1}, {5, 1}, {6, 1}, {7, 1}, {8, 1}, {9, 3}, {8, 8}, {4, 2}, {26, 2}}) {
    for (const DType dtype : kAllDTypes) {
      Compare({heads, kv_heads, 16, 16, dtype}, {{0, 40}, {100, 3}, {7, 1}, {0, 1}}, heads * 100 + kv_heads);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AttentionTest, PositionsAcrossTilesAndSpans) {
  for (const int position :
       {0, 1, 15, 16, 17, 62, 63, 64, 65, 127, 128, 447, 448, 510, 511, 512, 513, 575, 576, 1023, 1024}) {
    for (const int rows : {1, 2, 3, 13}) {
      Compare({3, 1, 16, 16, DType::kBF16}, {{position, rows}}, position * 100 + rows);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AttentionTest, WindowsThatBeginAnywhereInTilesAndSpans) {
  int shape = 0;
  for (const int window : {1, 15, 16, 17, 63, 64, 65, 511, 512, 513, 5000}) {
    for (const int position : {0, 1, 62, 64, 511, 513, 575, 1100}) {
      for (const int rows : {1, 3, 17}) {
        const int block_tokens = std::vector{1, 8, 16, 32, 128}[++shape % 5];
        const int heads = std::vector{1, 3, 4}[shape % 3];
        const int head_dim = std::vector{16, 32, 40}[shape / 3 % 3];
        Compare({heads, 1, head_dim, block_tokens, kAllDTypes[shape / 5 % 3], window}, {{position, rows}},
                shape);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(AttentionTest, WindowsOfOneChunkBeginInManyTilesAndSpans) {
  for (const int window : {1, 16, 100, 600}) {
    Compare({1, 1, 16, 16, DType::kBF16, window}, {{0, 640}}, window);
    Compare({5, 1, 32, 16, DType::kF16, window}, {{480, 70}, {0, 3}}, window);
    if (HasFatalFailure()) return;
  }
}

TEST_P(AttentionTest, OneLongSequenceIsSplitAmongThreads) {
  Compare({3, 1, 40, 16, DType::kF16}, {{1600, 1}}, 1);
  Compare({2, 2, 16, 8, DType::kF32}, {{1020, 9}}, 2);            // the first rows have one span less
  Compare({2, 1, 16, 16, DType::kBF16}, {{3, 1}, {1100, 1}}, 3);  // only one of the two is split
  Compare({3, 1, 40, 16, DType::kF16, 600}, {{1600, 1}}, 4);
  Compare({1, 1, 32, 16, DType::kF32, 512}, {{1530, 9}}, 5);  // the last rows do not see the first span
  Compare({1, 1, 16, 16, DType::kBF16, 5}, {{505, 20}}, 6);   // some see one span, some the next, few both
}

// With 2 or 3 threads and one unit per thread a wave has 2 or 3 spans, so that most of these jobs continue in
// several waves and several end in one.
TEST_P(AttentionTest, WavesOfAnySizeGiveTheSameBits) {
  for (const int units : testing_support::kSanitized ? std::vector{1, 3} : std::vector{1, 2, 3, 16}) {
    Compare({3, 1, 40, 16, DType::kF16}, {{1600, 1}}, 1, units);
    Compare({2, 2, 16, 8, DType::kF32}, {{1020, 9}}, 2, units);  // the first rows have one span less
    Compare({2, 1, 16, 16, DType::kBF16}, {{3, 1}, {1100, 1}, {511, 1}}, 3, units);  // one of three is split
    Compare({1, 1, 16, 32, DType::kBF16}, {{7000, 1}}, 4, units);
    Compare({3, 1, 16, 16, DType::kF16}, {{2560, 40}}, 5, units);             // two jobs of many rows
    Compare({2, 2, 16, 16, DType::kF16}, {{2040, 12}, {3000, 2}}, 6, units);  // jobs of different sizes
    Compare({1, 1, 16, 16, DType::kBF16}, {{0, 1}, {1030, 1}, {7, 1}, {2600, 1}}, 7, units);
    Compare({96, 1, 16, 16, DType::kF32}, {{1100, 2}}, 8, units);
    Compare({6, 2, 32, 16, KvType::kQ8_0}, {{3, 1}, {1600, 2}}, 9, units);
    if (HasFatalFailure()) return;
  }
}

TEST_P(AttentionTest, WindowsInWavesOfAnySizeGiveTheSameBits) {
  for (const int units : {1, 2, 16}) {
    Compare({3, 1, 40, 16, DType::kF16, 600}, {{3100, 1}}, 1, units);
    // The last rows do not see the first span; some rows see one span, some the next; no row sees two.
    Compare({1, 1, 32, 16, DType::kF32, 512}, {{1530, 9}}, 2, units);
    Compare({1, 1, 16, 16, DType::kBF16, 5}, {{505, 20}}, 3, units);
    Compare({1, 1, 16, 8, DType::kBF16, 1}, {{500, 96}}, 4, units);
    // The windows of the later rows begin in the second of five spans: for one head that is within a wave,
    // for the other at the start of a wave that continues the job.
    Compare({2, 2, 16, 16, DType::kF16, 1600}, {{3600, 90}}, 5, units);
    Compare({2, 1, 16, 16, DType::kF32, 1537}, {{2040, 40}, {511, 3}}, 6, units);
    Compare({3, 1, 32, 8, KvType::kQ8_0, 600}, {{3100, 1}}, 7, units);
    if (HasFatalFailure()) return;
  }
}

TEST_P(AttentionTest, RandomBatchesInWaves) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(40));
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    Prng prng(seed);
    const int kv_heads = static_cast<int>(prng.Between(1, 2));
    const Shape shape = {kv_heads * static_cast<int>(prng.Between(1, 4)),
                         kv_heads,
                         2 * static_cast<int>(prng.Between(1, 20)),
                         1 << prng.Below(6),
                         kAllDTypes[prng.Below(3)],
                         static_cast<int>(prng.Chance(0.5) ? 0 : prng.Between(1, 2000))};
    std::vector<std::pair<int, int>> sequences;
    for (int64_t i = prng.Between(1, 3); i > 0; --i) {
      sequences.push_back(
          {static_cast<int>(prng.Below(3000)), static_cast<int>(prng.Between(1, 1 + prng.Below(30)))});
    }
    Compare(shape, sequences, seed, static_cast<int>(prng.Between(1, 4)));
    if (HasFatalFailure()) return;
  }
}

constexpr AttentionLimits kLlama8b = {
    .heads = 32, .kv_heads = 8, .head_dim = 128, .max_rows = 512, .context = 131072};

TEST_P(AttentionTest, MemoryHasABoundThatDoesNotGrowWithTheContext) {
  constexpr size_t kMiB = size_t{1} << 20;
  for (const int threads : {1, 2, 16, 64}) {
    AttentionLimits limits = kLlama8b;
    const size_t bytes = CpuAttention::ScratchBytes(ops(), threads, limits);
    const size_t totals =
        limits.max_rows * limits.heads * ops().partial_floats(limits.head_dim) * sizeof(float);
    EXPECT_LE(totals, 9 * kMiB);
    EXPECT_LE(bytes, totals + kMiB + static_cast<size_t>(threads) * kMiB * 5 / 4) << threads << " threads";
    limits.context = 1 << 30;
    EXPECT_EQ(CpuAttention::ScratchBytes(ops(), threads, limits), bytes) << threads << " threads";
    limits.context = 512;  // one span: nothing is ever split or shared
    EXPECT_LE(CpuAttention::ScratchBytes(ops(), threads, limits),
              kMiB + static_cast<size_t>(threads) * kMiB / 4);
  }
}

TEST_P(AttentionTest, ReserveNamesTheSizeThatIsNotAvailable) {
  ThreadPool pool(fast->threads());
  CpuAttention attention(ops(), pool);
  const AttentionLimits huge = {
      .heads = 1 << 24, .kv_heads = 1, .head_dim = 1 << 24, .max_rows = 1, .context = 1};
  const Status status = attention.Reserve(huge);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  const size_t bytes = CpuAttention::ScratchBytes(ops(), fast->threads(), huge);
  EXPECT_NE(status.message().find(std::to_string(bytes)), std::string::npos) << status.ToString();
}

TEST_P(AttentionTest, RunChecksTheLimits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Shape shape = {2, 1, 16, 16, DType::kF32};
  Prng prng(1);
  auto kv = AllocateKvOrDie(LayoutOf(shape), 8);
  TestBatch batch(8, prng);
  batch.Add(40, 3, shape.block_tokens);
  const BatchView view = batch.view();
  std::vector<float> q(3 * 32), out(q.size());
  const AttentionArgs args = {{2, 1.0f, 0}, q.data(), 32, 1, kv.get(), out.data()};
  const AttentionLimits enough = {.heads = 2, .kv_heads = 1, .head_dim = 16, .max_rows = 3, .context = 43};
  const auto run = [&](const AttentionLimits* limits) {
    ThreadPool pool(fast->threads());
    CpuAttention attention(ops(), pool);
    if (limits != nullptr) PREFIXD_CHECK(attention.Reserve(*limits).ok());
    attention.BeginStep(view);
    attention.Run(args);
  };
  run(&enough);
  EXPECT_DEATH(run(nullptr), "memory is reserved for 0/0 heads");
  AttentionLimits limits = enough;
  limits.max_rows = 2;
  EXPECT_DEATH(run(&limits), "3 rows; memory is reserved for .*, 2 rows");
  limits = enough;
  limits.context = 42;
  EXPECT_DEATH(run(&limits), "position 42 of 42");
  limits = enough;
  limits.heads = 4;
  EXPECT_DEATH(run(&limits), "2/1 heads of 16.*reserved for 4/1");
}

// With two threads: one sequence, whose jobs have one KV head each, and two, whose first has jobs of several.
TEST_P(AttentionTest, FewSequencesOfManyKvHeads) {
  for (const int sequences : {1, 2}) {
    const std::vector<std::pair<int, int>> all(static_cast<size_t>(sequences), {500, 1});
    for (const int kv_heads : {32, 48})
      ASSERT_NO_FATAL_FAILURE(Compare({2 * kv_heads, kv_heads, 64, 16, DType::kBF16, 0}, all, 1));
  }
}

// Enough sequences that a job has some KV heads: all, as many as it may, and what is left.
TEST_P(AttentionTest, ManySequencesHaveJobsOfSomeKvHeads) {
  uint64_t seed = 0;
  for (const int kv_heads : {1, 3, 8, 11}) {
    for (const int head_dim : {48, 50, 64, 80}) {
      for (const int window : {0, 70}) {
        std::vector<std::pair<int, int>> sequences;
        Prng prng(++seed);
        for (int i = 0; i < 8 * fast->threads() + 3; ++i)
          sequences.emplace_back(static_cast<int>(prng.Next() % 600), 1 + static_cast<int>(prng.Next() % 3));
        const DType dtype = seed % 2 == 0 ? DType::kBF16 : DType::kF16;
        ASSERT_NO_FATAL_FAILURE(
            Compare({2 * kv_heads, kv_heads, head_dim, 16, dtype, window}, sequences, seed));
      }
    }
  }
}

TEST_P(AttentionTest, RandomBatches) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(40));
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    Prng prng(seed);
    const int kv_heads = static_cast<int>(prng.Between(1, 3));
    const Shape shape = {kv_heads * static_cast<int>(prng.Between(1, 8)),
                         kv_heads,
                         2 * static_cast<int>(prng.Between(1, 34)),
                         1 << prng.Below(8),
                         kAllDTypes[prng.Below(3)],
                         static_cast<int>(prng.Chance(0.3) ? 0 : prng.Between(1, 150))};
    std::vector<std::pair<int, int>> sequences;
    for (int64_t i = prng.Between(1, 6); i > 0; --i) {
      sequences.push_back(
          {static_cast<int>(prng.Below(140)), static_cast<int>(prng.Between(1, 1 + prng.Below(40)))});
    }
    Compare(shape, sequences, seed);
    if (HasFatalFailure()) return;
  }
}

// With scores 0 and x, and values 0 and 1, the result is Exp(x) / (1 + Exp(x)). For x below -17 it shows
// every bit of Exp(x).
TEST_P(AttentionTest, ExpInSoftmaxEqualsItsDefinition) {
  const KvLayout layout = {1, 1, 2, 16, DType::kF32};
  constexpr int kHeads = 1 << 16;
  auto pool = AllocateKvOrDie(layout, 1);
  StoreElement(pool->layer(0, 0) + layout.KOffset(0), DType::kF32, 1, 1.0f);  // K[d = 0][token 1]
  StoreElement(pool->layer(0, 0) + layout.VOffset(0), DType::kF32, 2, 1.0f);  // V[token 1][d = 0]
  Prng prng(1);
  TestBatch batch(1, prng);
  batch.Add(1, 1, std::vector<BlockId>{0});
  const BatchView view = batch.view();
  std::vector<float> q(2 * kHeads), out(2 * kHeads);
  for (int h = 0; h < kHeads; ++h) q[2 * h] = -90.0f * static_cast<float>(h) / kHeads;
  fast->BeginStep(view);
  fast->Attention(q.data(), 2 * kHeads, {kHeads, 1.0f}, 0, *pool, out.data());
  for (int h = 0; h < kHeads; ++h) {
    const float e = numerics::Exp(q[2 * h]);
    ASSERT_TRUE(SameBits(out[2 * h], e * (1.0f / (1.0f + e)))) << q[2 * h];
  }
}

// Invariant 1: a prompt gives the same bits in one piece, in any chunks, in any blocks and beside any other
// sequence.
class AttentionChunksTest : public AttentionTest {
 protected:
  void CompareChunks(KvType type, int head_dim, int window);
};

void AttentionChunksTest::CompareChunks(KvType type, int head_dim, int window) {
  constexpr int kTokens = 150, kHeads = 6;
  const KvLayout layout = {1, 2, head_dim, 8, type};
  const int width = (kHeads + 4) * head_dim;  // q, then k, then v
  Prng prng(9);
  const auto qkv = RandomFloats(prng, static_cast<size_t>(kTokens) * width);
  const auto noise = RandomFloats(prng, static_cast<size_t>(kTokens) * width);

  // Runs the prompt in chunks of at most `largest` rows, beside a neighbour that decodes from position 70 on.
  const auto run = [&](uint64_t seed, int largest, bool neighbour) {
    Prng choice(seed);
    auto pool = AllocateKvOrDie(layout, 64);
    TestBatch tables(64, choice);
    tables.Add(0, kTokens, layout.block_tokens);
    tables.Add(0, kTokens, layout.block_tokens);
    std::vector<float> result;
    int step = 0;
    for (int position = 0; position < kTokens; ++step) {
      const int rows = std::min<int>(kTokens - position, static_cast<int>(choice.Between(1, largest)));
      TestBatch batch(0, choice);
      if (neighbour && step > 0 && step < 70) batch.Add(step - 1, 1, tables.table(1));
      const int first = batch.rows();
      batch.Add(position, rows, tables.table(0));
      std::vector<float> x;
      if (first == 1) x.assign(&noise[step * width], &noise[(step + 1) * width]);
      x.insert(x.end(), &qkv[static_cast<size_t>(position) * width],
               &qkv[static_cast<size_t>(position + rows) * width]);
      std::vector<float> out(static_cast<size_t>(batch.rows()) * kHeads * head_dim);
      const BatchView view = batch.view();
      fast->BeginStep(view);
      fast->StoreKv(&x[kHeads * head_dim], &x[(kHeads + 2) * head_dim], width, 0, *pool);
      fast->Attention(x.data(), width, {kHeads, 0.144f, window}, 0, *pool, out.data());
      result.insert(result.end(), out.begin() + static_cast<size_t>(first) * kHeads * head_dim, out.end());
      position += rows;
    }
    return result;
  };
  const std::vector<float> whole = run(1, 1 << 20, false);
  EXPECT_TRUE(SameBits(run(2, 1, false), whole)) << "token by token, window " << window;
  EXPECT_TRUE(SameBits(run(3, 7, true), whole)) << "window " << window;
  EXPECT_TRUE(SameBits(run(4, 64, true), whole)) << "window " << window;
}

TEST_P(AttentionChunksTest, ChunksBlocksAndNeighboursDoNotChangeBits) {
  for (const int window : {0, 1, 50, 64}) {
    CompareChunks(DType::kBF16, 48, window);
    CompareChunks(KvType::kQ8_0, 32, window);
  }
}

PREFIXD_FOR_FAST_BACKENDS(AttentionTest);
PREFIXD_FOR_FAST_BACKENDS(AttentionChunksTest);

}  // namespace
}  // namespace prefixd
