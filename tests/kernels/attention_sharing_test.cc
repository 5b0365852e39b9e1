// Attention of sequences that share KV blocks: the same bits as with blocks of their own, and each shared
// block read once.
#include <map>
#include <utility>

#include "base/mutex.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/kv_plane.h"
#include "tests/kernels/kernel_testing.h"
#include "tests/support/allocations.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

constexpr int kSpan = numerics::kAttentionSpan;

struct Shape {
  int heads, kv_heads, head_dim, block_tokens;
  KvType type;
  int window = 0;
};

// Stores mostly values around 1 in all of a block of one layer.
void FillBlock(const KvLayout& layout, std::byte* block, Prng& prng) {
  std::vector<float> head(static_cast<size_t>(layout.head_dim));
  for (int plane = 0; plane < 2 * layout.kv_heads; ++plane, block += layout.PlaneBytes()) {
    for (int token = 0; token < layout.block_tokens; ++token) {
      for (float& number : head) {
        const auto bits = static_cast<uint32_t>(prng.Next());
        const float value = static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f;
        number = bits % 64 == 0 ? RandomFloat(prng) : value;
      }
      StoreHead(layout, plane < layout.kv_heads ? KvPart::kK : KvPart::kV, token, head.data(), block);
    }
  }
}

// Sequences that go along each other's blocks for a while, in one pool, and the same sequences with copies of
// these blocks for each.
class SharedStep {
 public:
  // `tables` are the block tables of sequences with `positions`, of one row or more each.
  SharedStep(const Shape& shape, std::vector<std::vector<BlockId>> tables, std::vector<int> positions,
             std::vector<int> rows, Prng& prng)
      : shape_(shape), shared_(0, prng), alone_(0, prng) {
    BlockId used = 0, copies = 0;
    for (const auto& table : tables) {
      for (const BlockId block : table) used = std::max(used, block + 1);
      copies += static_cast<BlockId>(table.size());
    }
    const KvLayout layout = {1, shape.kv_heads, shape.head_dim, shape.block_tokens, shape.type};
    shared_kv_ = AllocateKvOrDie(layout, used);
    alone_kv_ = AllocateKvOrDie(layout, copies);
    for (BlockId b = 0; b < used; ++b) FillBlock(layout, shared_kv_->layer(b, 0), prng);
    BlockId next = 0;
    for (size_t s = 0; s < tables.size(); ++s) {
      std::vector<BlockId> own;
      for (const BlockId block : tables[s]) {
        std::memcpy(alone_kv_->layer(next, 0), shared_kv_->layer(block, 0), layout.LayerBytes());
        own.push_back(next++);
      }
      shared_.Add(positions[s], rows[s], tables[s]);
      alone_.Add(positions[s], rows[s], std::move(own));
    }
    q_ = RandomFloats(prng, static_cast<size_t>(shared_.rows() * (Width() + 5)));
  }

  std::vector<float> RunShared(Operations& operations) {
    return Run(operations, shared_.view(), *shared_kv_);
  }
  std::vector<float> RunAlone(Operations& operations) { return Run(operations, alone_.view(), *alone_kv_); }
  AttentionArgs Args(std::vector<float>* out) {
    out->assign(static_cast<size_t>(shared_.rows() * Width()), -1.0f);
    return {Params(), q_.data(), Width() + 5, 0, shared_kv_.get(), out->data()};
  }
  BatchView view() { return shared_.view(); }
  // Exactly what the step needs.
  AttentionLimits Limits(int wave_units) {
    AttentionLimits limits = {.heads = shape_.heads,
                              .kv_heads = shape_.kv_heads,
                              .head_dim = shape_.head_dim,
                              .max_rows = shared_.rows(),
                              .wave_units = wave_units};
    for (const SequenceSpan& sequence : view().sequences)
      limits.context = std::max(limits.context, sequence.position + sequence.rows);
    return limits;
  }
  const KvLayout& layout() const { return shared_kv_->layout(); }

 private:
  int Width() const { return shape_.heads * shape_.head_dim; }
  AttentionParams Params() const {
    return {shape_.heads, 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)), shape_.window};
  }
  std::vector<float> Run(Operations& operations, const BatchView& batch, const KvPool& pool) {
    std::vector<float> out(static_cast<size_t>(batch.rows() * Width()), -1.0f);
    operations.BeginStep(batch);
    operations.Attention(q_.data(), Width() + 5, Params(), 0, pool, out.data());
    return out;
  }

  const Shape shape_;
  TestBatch shared_, alone_;
  std::unique_ptr<KvPool> shared_kv_, alone_kv_;
  std::vector<float> q_;
};

// A random tree: each sequence goes along an earlier one and leaves it anywhere.
SharedStep RandomStep(const Shape& shape, int most_spans, Prng& prng) {
  std::vector<std::vector<BlockId>> tables;
  std::vector<int> positions, rows;
  BlockId next = 0;
  for (int64_t i = prng.Between(2, 7); i > 0; --i) {
    rows.push_back(static_cast<int>(prng.Chance(0.7) ? 1 : prng.Between(1, 1 + prng.Below(50))));
    positions.push_back(static_cast<int>(prng.Between(kSpan - 40, most_spans * kSpan)));
    std::vector<BlockId> table;
    if (!tables.empty() && prng.Chance(0.85)) {
      table = tables[prng.Below(tables.size())];
      const auto before = static_cast<size_t>(positions.back() / shape.block_tokens);
      if (prng.Chance(0.5)) table.resize(prng.Below(table.size() + 1));
      table.resize(std::min(table.size(), before));
    }
    while (static_cast<int>(table.size()) * shape.block_tokens < positions.back() + rows.back())
      table.push_back(next++);
    tables.push_back(std::move(table));
  }
  return {shape, std::move(tables), std::move(positions), std::move(rows), prng};
}

// 16 sequences that share `prefix` tokens, of which some tokens follow: in number i, `tail` + i tokens.
SharedStep SixteenDecodes(const Shape& shape, int prefix, int tail, Prng& prng) {
  std::vector<std::vector<BlockId>> tables(16);
  std::vector<int> positions, rows(16, 1);
  BlockId next = 0;
  std::vector<BlockId> common;
  for (int t = 0; t < prefix; t += shape.block_tokens) common.push_back(next++);
  for (int i = 0; i < 16; ++i) {
    auto& table = tables[static_cast<size_t>(i)] = common;
    positions.push_back(prefix + tail + i - 1);
    while (static_cast<int>(table.size()) * shape.block_tokens <= positions.back()) table.push_back(next++);
  }
  return {shape, std::move(tables), std::move(positions), std::move(rows), prng};
}

class AttentionSharingTest : public CompareWithRef {
 protected:
  // Expects the same bits, and that both ways count the same reads but for those that are saved. Returns what
  // the way with shared blocks counts.
  AttentionReads Compare(SharedStep& step, Operations* reference = nullptr) {
    const std::vector<float> got = step.RunShared(*fast);
    const AttentionReads shared = fast->attention_reads();
    EXPECT_TRUE(SameBits(got, step.RunAlone(reference == nullptr ? *fast : *reference)));
    EXPECT_FALSE(std::isnan(got[0])) << "the result is NaN, so the comparison proves nothing";
    if (reference == nullptr) {
      EXPECT_EQ(fast->attention_reads(), (AttentionReads{shared.read_bytes + shared.saved_bytes, 0}));
    }
    return shared;
  }
  const cpu::Ops& ops() const { return fast->name() == "avx2" ? cpu::Avx2Ops() : cpu::Avx512Ops(); }
};

Shape RandomShape(uint64_t seed, Prng& prng) {
  const int kv_heads = static_cast<int>(prng.Between(1, 3));
  return {kv_heads * static_cast<int>(prng.Between(1, 8)),
          kv_heads,
          std::vector{64, 96, 128, 256, 16, 40}[seed % 6],
          1 << prng.Between(3, 10),
          kAllDTypes[prng.Below(3)],
          static_cast<int>(prng.Chance(0.6) ? 0 : prng.Between(1, 3 * kSpan))};
}

std::string Describe(const Shape& s) {
  return std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads of " +
         std::to_string(s.head_dim) + ", blocks of " + std::to_string(s.block_tokens) + " " +
         std::string(s.type.name()) + ", window " + std::to_string(s.window);
}

TEST_P(AttentionSharingTest, RandomTreesGiveTheBitsOfBlocksOfTheirOwn) {
  constexpr uint64_t kSeeds = 30;
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(kSeeds));
  uint64_t saved = 0, saved_in_windows = 0;
  // Where few rounds are asked for, more are taken until both kinds of sharing were seen.
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    if (seed > seeds && saved > 0 && saved_in_windows > 0) break;
    Prng prng(seed);
    const Shape shape = RandomShape(seed, prng);
    SharedStep step = RandomStep(shape, shape.head_dim > 100 ? 3 : 5, prng);
    const AttentionReads reads = Compare(step);
    ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed << ": " << Describe(shape);
    (shape.window == 0 ? saved : saved_in_windows) += reads.saved_bytes;
  }
  EXPECT_GT(saved, 0u);
  EXPECT_GT(saved_in_windows, 0u);
}

// Rounds that continue each other, in waves that continue each other: with one unit per thread most jobs take
// several waves, and several end in one.
TEST_P(AttentionSharingTest, WavesOfAnySizeGiveTheSameBits) {
  const auto seeds = static_cast<uint64_t>(testing_support::Rounds(20));
  uint64_t saved = 0;
  for (uint64_t seed = 101; seed <= 100 + seeds; ++seed) {
    Prng prng(seed);
    const Shape shape = RandomShape(seed, prng);
    SharedStep step = RandomStep(shape, shape.head_dim > 100 ? 4 : 6, prng);
    const int units = static_cast<int>(prng.Between(1, 3));
    ThreadPool threads(fast->threads());
    CpuAttention attention(ops(), threads);
    ASSERT_TRUE(attention.Reserve(step.Limits(units)).ok());
    std::vector<float> out;
    const AttentionArgs args = step.Args(&out);
    const BatchView batch = step.view();
    const int64_t before = testing_support::Allocations();
    attention.BeginStep(batch);
    attention.Run(args);
    attention.Run(args);  // finds the memory as the first run left it
    ASSERT_EQ(testing_support::Allocations(), before);
    ASSERT_TRUE(SameBits(out, step.RunAlone(*fast)))
        << "seed " << seed << ": " << Describe(shape) << ", waves of " << units;
    saved += attention.reads().saved_bytes;
  }
  EXPECT_GT(saved, 0u);
}

TEST_P(AttentionSharingTest, TheReferenceHasTheSameBits) {
  for (const int head_dim : {32, 64, 96, 128, 256}) {
    Prng prng(static_cast<uint64_t>(head_dim));
    const KvType type = kAllKvTypes[head_dim / 32 % 4];
    const int window = head_dim == 96 ? kSpan + 100 : 0;
    SharedStep step = SixteenDecodes({4, 2, head_dim, 16, type, window}, 2 * kSpan, 20, prng);
    const AttentionReads reads = Compare(step, ref.get());
    ASSERT_FALSE(testing::Test::HasFailure()) << type.name() << ", heads of " << head_dim;
    EXPECT_GT(reads.saved_bytes, 0u);
  }
}

// The 256 blocks of the prefix and, of each sequence, the 97 .. 112 tokens after it.
TEST_P(AttentionSharingTest, SixteenSequencesReadASharedPrefixOnce) {
  Prng prng(1);
  SharedStep step = SixteenDecodes({6, 2, 64, 16, DType::kBF16}, 4096, 97, prng);
  const AttentionReads reads = Compare(step);
  const uint64_t tails = 16 * 97 + 15 * 16 / 2;
  EXPECT_EQ(reads.read_bytes, 256 * step.layout().BlockBytes() + tails * step.layout().TokenBytes());
  EXPECT_EQ(reads.saved_bytes, 15 * 256 * step.layout().BlockBytes());
}

// How often each block was read, by block id and offset of its K: what the jobs of CpuAttention ask for.
Mutex counted_mutex;
std::map<std::pair<BlockId, size_t>, int> counted GUARDED_BY(counted_mutex);
int jobs_of_heads GUARDED_BY(counted_mutex) = 0;
const cpu::Ops* counted_ops = nullptr;

void CountAndAttend(const cpu::AttendJob& job, float* scratch) {
  const int last = std::min(job.end_span * kSpan, job.first_position + job.positions) - 1;
  {
    const MutexLock lock(counted_mutex);
    for (int block = job.first_span * kSpan / job.block_tokens; block <= last / job.block_tokens; ++block) {
      for (size_t head = 0; head < static_cast<size_t>(job.kv_heads); ++head)
        ++counted[{job.blocks[block], job.k_offset + head * job.plane_bytes}];
    }
    jobs_of_heads += job.kv_heads > 1;
  }
  counted_ops->attend(job, scratch);
}

TEST_P(AttentionSharingTest, TheJobsReadEachBlockOnce) {
  Prng prng(2);
  SharedStep step = SixteenDecodes({6, 2, 64, 16, DType::kF16}, 4096, 97, prng);
  counted_ops = &ops();
  cpu::Ops counting = ops();
  counting.attend = CountAndAttend;
  ThreadPool threads(fast->threads());
  CpuAttention attention(counting, threads);
  ASSERT_TRUE(attention.Reserve(step.Limits(16)).ok());
  std::vector<float> out;
  const AttentionArgs args = step.Args(&out);
  const BatchView batch = step.view();
  attention.BeginStep(batch);
  attention.Run(args);
  EXPECT_TRUE(SameBits(out, step.RunAlone(*fast)));
  const MutexLock lock(counted_mutex);
  EXPECT_EQ(counted.size(), 2 * (256 + 16 * 7u)) << "blocks of two KV heads";
  for (const auto& [place, times] : counted) EXPECT_EQ(times, 1) << "block " << place.first;
  EXPECT_EQ(jobs_of_heads > 0, fast->threads() <= 2)
      << "of the tails, where there are enough for the threads";
  counted.clear();
  jobs_of_heads = 0;
}

// The layers of a step with two windows, and a second step with the same arguments and other tables.
TEST_P(AttentionSharingTest, EveryWindowAndEveryStepIsCutAnew) {
  Prng prng(3);
  SharedStep full = SixteenDecodes({2, 1, 64, 16, DType::kBF16}, 1024, 5, prng);
  SharedStep window = SixteenDecodes({2, 1, 64, 16, DType::kBF16, 700}, 1024, 5, prng);
  SharedStep narrow = SixteenDecodes({2, 1, 64, 16, DType::kBF16, 9}, 1024, 5, prng);
  SharedStep longer = SixteenDecodes({2, 1, 64, 16, DType::kBF16}, 1536, 5, prng);
  const uint64_t span_bytes = kSpan * full.layout().TokenBytes();
  EXPECT_EQ(Compare(full).saved_bytes, 15 * 2 * span_bytes);
  EXPECT_EQ(Compare(window).saved_bytes, 15 * span_bytes);
  EXPECT_EQ(Compare(narrow).saved_bytes, 0u);
  EXPECT_EQ(Compare(longer).saved_bytes, 15 * 3 * span_bytes);
  EXPECT_EQ(Compare(full).saved_bytes, 15 * 2 * span_bytes);
}

PREFIXD_FOR_FAST_BACKENDS(AttentionSharingTest);

}  // namespace
}  // namespace prefixd
