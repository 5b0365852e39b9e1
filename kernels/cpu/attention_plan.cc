#include "kernels/cpu/attention_plan.h"

#include <algorithm>
#include <cstring>

#include "kernels/check_arguments.h"
#include "kernels/cpu/panel_split.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

using cpu::AttendJob;

// The rows (one head of one position each) of one job. Enough rows to share the widening of a tile; few
// enough to balance the threads and to stay in L2.
constexpr int kRowsPerJob = 96;
constexpr size_t kAlignment = 64;
// Jobs of several KV heads are at most 1 of so many of each thread: a thread may wait for the last one.
constexpr int kJobsPerThread = 8;
static_assert(kJobsPerThread >= 2, "so many jobs are not split into waves");
// What such a job reads ahead stays in L2 until it is used.
constexpr size_t kTileBytes = 128 << 10;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
size_t AlignedFloats(size_t floats) { return Aligned(floats * sizeof(float)) / sizeof(float); }

// Returns the last of the segments whose number `first` is not above `unit`.
template <typename Segment>
const Segment& SegmentOf(const Segment* segments, int count, int Segment::*first, int unit) {
  const auto above = [first](int value, const Segment& segment) { return value < segment.*first; };
  return *(std::upper_bound(segments, segments + count, unit, above) - 1);
}

}  // namespace

CpuAttention::Sizes CpuAttention::SizesFor(const cpu::Ops& ops, int threads, const AttentionLimits& limits) {
  PREFIXD_CHECK(threads > 0 && limits.kv_heads > 0 && limits.heads > 0 &&
                limits.heads % limits.kv_heads == 0 && limits.head_dim > 0 && limits.max_rows > 0 &&
                limits.context > 0 && limits.wave_units > 0)
      << threads << " threads, " << limits.heads << "/" << limits.kv_heads << " heads of " << limits.head_dim
      << ", " << limits.max_rows << " rows, context " << limits.context << ", wave of " << limits.wave_units;
  Sizes sizes = {};
  const int group = limits.heads / limits.kv_heads;
  sizes.positions = std::min(std::max(1, kRowsPerJob / group), limits.max_rows);
  AttendJob largest = {};
  largest.group = group;
  largest.kv_heads = 1;
  largest.head_dim = limits.head_dim;
  largest.positions = sizes.positions;
  sizes.worker_floats = AlignedFloats(ops.attend_scratch(largest));
  sizes.piece_bytes = AttentionPieces::Bytes(limits.max_rows, sizes.positions);
  const size_t rows = static_cast<size_t>(limits.max_rows);
  const size_t workers = static_cast<size_t>(threads);
  const size_t spans = static_cast<size_t>(EndSpan(limits.context - 1));
  const size_t partial_floats = ops.partial_floats(limits.head_dim);
  if (spans > 1 && (threads > 1 || rows > 1))
    sizes.total_floats = AlignedFloats(rows * limits.heads * partial_floats);
  if (threads > 1 && spans > 1) {
    // A round of more jobs is not split.
    const size_t pieces = AttentionPieces::Most(limits.max_rows, sizes.positions);
    sizes.segments = std::min(2 * workers - 1, pieces * static_cast<size_t>(limits.kv_heads));
    sizes.slot_floats = partial_floats * group * sizes.positions;
    sizes.slots = std::min(static_cast<size_t>(limits.wave_units) * workers, sizes.segments * spans);
  }
  sizes.bytes =
      (workers * sizes.worker_floats + sizes.total_floats + AlignedFloats(sizes.slots * sizes.slot_floats)) *
          sizeof(float) +
      2 * sizes.piece_bytes + Aligned(sizes.segments * sizeof(Segment));
  return sizes;
}

size_t CpuAttention::ScratchBytes(const cpu::Ops& ops, int threads, const AttentionLimits& limits) {
  return SizesFor(ops, threads, limits).bytes;
}

Status CpuAttention::Reserve(const AttentionLimits& limits) {
  limits_ = {};
  sizes_ = SizesFor(ops_, threads_.threads(), limits);
  memory_ = HostMemory();
  auto memory = HostMemory::Allocate(sizes_.bytes);
  if (!memory.ok()) return memory.status().WithContext("working memory of attention");
  memory_ = std::move(*memory);
  limits_ = limits;
  Divide();
  return Status::Ok();
}

void CpuAttention::Divide() {
  std::byte* next = memory_.data();
  const auto take = [&next](size_t bytes) {
    std::byte* taken = next;
    next += Aligned(bytes);
    return taken;
  };
  workers_ = reinterpret_cast<float*>(
      take(static_cast<size_t>(threads_.threads()) * sizes_.worker_floats * sizeof(float)));
  totals_ = reinterpret_cast<float*>(take(sizes_.total_floats * sizeof(float)));
  slots_ = reinterpret_cast<float*>(take(sizes_.slots * sizes_.slot_floats * sizeof(float)));
  segments_ = {reinterpret_cast<Segment*>(take(sizes_.segments * sizeof(Segment))), sizes_.segments};
  for (Plan& plan : plans_) {
    plan.pool = nullptr;
    plan.pieces.SetMemory(take(sizes_.piece_bytes), limits_.max_rows, sizes_.positions);
  }
}

void CpuAttention::CheckLimits(const AttentionArgs& args) const {
  const KvLayout& layout = args.pool->layout();
  PREFIXD_CHECK(args.params.heads == limits_.heads && layout.kv_heads == limits_.kv_heads &&
                layout.head_dim == limits_.head_dim && batch_.rows() <= limits_.max_rows)
      << args.params.heads << "/" << layout.kv_heads << " heads of " << layout.head_dim << ", "
      << batch_.rows() << " rows; memory is reserved for " << limits_.heads << "/" << limits_.kv_heads
      << " heads of " << limits_.head_dim << ", " << limits_.max_rows << " rows";
}

void CpuAttention::BeginStep(const BatchView& batch) {
  batch_ = batch;
  reads_ = {};
  for (Plan& plan : plans_) plan.pool = nullptr;
}

void CpuAttention::Run(const AttentionArgs& args) {
  const KvLayout& layout = args.pool->layout();
  CheckAttention(args.params, layout);
  CheckLayer(args.layer, layout);
  CheckHeads(args.q, batch_.rows(), args.stride, args.params.heads, layout.head_dim);
  PREFIXD_CHECK(batch_.rows() == 0 || args.out != nullptr) << batch_.rows() << " rows";
  CheckLimits(args);
  const AttentionPieces& pieces = PiecesFor(args);
  for (int i = 0; i < pieces.rounds(); ++i) {
    RunRound(MakeRound(pieces.round(i), args));
  }
  const uint64_t token_bytes = layout.TokenBytes() / static_cast<size_t>(layout.layers);
  reads_.read_bytes += pieces.read_tokens() * token_bytes;
  reads_.saved_bytes += pieces.saved_tokens() * token_bytes;
}

const AttentionPieces& CpuAttention::PiecesFor(const AttentionArgs& args) {
  for (const Plan& plan : plans_)
    if (plan.pool == args.pool && plan.window == args.params.window) return plan.pieces;
  for (const SequenceSpan& sequence : batch_.sequences) {
    const int last = sequence.position + sequence.rows - 1;
    PREFIXD_CHECK(last < limits_.context) << "position " << last << " of " << limits_.context;
    BlockIdAt(sequence, last, *args.pool);  // checks the block table
  }
  Plan& plan = plans_[next_plan_];
  next_plan_ = (next_plan_ + 1) % plans_.size();
  plan.pool = args.pool;
  plan.window = args.params.window;
  plan.pieces.Plan(batch_, plan.window, args.pool->layout().block_tokens);
  return plan.pieces;
}

CpuAttention::Round CpuAttention::MakeRound(std::span<const AttentionPiece> pieces,
                                            const AttentionArgs& args) const {
  const KvLayout& layout = args.pool->layout();
  const int count = static_cast<int>(pieces.size());
  const int together = pieces.empty() ? 1 : HeadsTogether(pieces, layout);
  const int jobs_of_piece = cpu::DivideUp(layout.kv_heads, together);
  const int single = cpu::DivideUp(threads_.threads() - 1, layout.kv_heads);  // a job for each other thread
  const int merged = together == 1 ? 0 : std::max(count - single, 0);
  return {.pieces = pieces,
          .args = args,
          .merged = merged,
          .kv_heads = merged == 0 ? 1 : cpu::DivideUp(layout.kv_heads, jobs_of_piece),
          .jobs_of_piece = jobs_of_piece,
          .jobs = merged * jobs_of_piece + (count - merged) * layout.kv_heads};
}

CpuAttention::KvHeads CpuAttention::KvHeadsOf(const Round& round, int job) {
  const int all = round.args.pool->layout().kv_heads;
  const int single = job - round.merged * round.jobs_of_piece;  // its number among those of one KV head
  if (single >= 0) return {.piece = round.merged + single / all, .first = single % all, .count = 1};
  const int first = job % round.jobs_of_piece * round.kv_heads;
  return {.piece = job / round.jobs_of_piece, .first = first, .count = std::min(round.kv_heads, all - first)};
}

int CpuAttention::HeadsTogether(std::span<const AttentionPiece> pieces, const KvLayout& layout) const {
  // The order in which kernels ask for memory ahead is made for these; q8_0 is bound by arithmetic.
  if (layout.type.element_bytes() != 2 || layout.block_tokens != numerics::kPartialSums) return 1;
  int most_positions = 0;
  int64_t largest = 0, all = 0;  // positions times spans
  for (const AttentionPiece& piece : pieces) {
    const int positions = static_cast<int>(piece.rows.size());
    const int64_t work = int64_t{positions} * (piece.end_span - piece.first_span);
    most_positions = std::max(most_positions, positions);
    largest = std::max(largest, work);
    all += work;
  }
  const size_t tile_bytes = 2 * layout.PlaneBytes() * (numerics::kAttentionTile / numerics::kPartialSums);
  int together =
      std::min({layout.kv_heads, cpu::kMostKvHeads,
                sizes_.positions / most_positions,  // the rows of all heads of a job share its scratch
                static_cast<int>(kTileBytes / tile_bytes)});
  // No job is so large that other threads wait long for its end.
  const int64_t units = int64_t{threads_.threads()} * kJobsPerThread;
  while (together > 1 && threads_.threads() > 1 && largest * together * units > all * layout.kv_heads)
    --together;
  return std::max(together, 1);
}

void CpuAttention::RunRound(const Round& round) {
  int most_positions = 0;  // of the jobs of more than one span
  if (threads_.threads() > 1 && round.jobs < 2 * threads_.threads()) {
    for (const AttentionPiece& piece : round.pieces) {
      if (piece.end_span - piece.first_span > 1)
        most_positions = std::max(most_positions, static_cast<int>(piece.rows.size()));
    }
  }
  if (most_positions > 0) return RunInWaves(round, most_positions);
  threads_.Run(round.jobs,
               [&](int job, int worker) { ops_.attend(MakeJob(round, job), worker_scratch(worker)); });
}

AttendJob CpuAttention::MakeJob(const Round& round, int job) const {
  const AttentionArgs& args = round.args;
  const KvPool& pool = *args.pool;
  const KvLayout& layout = pool.layout();
  const KvHeads kv_heads = KvHeadsOf(round, job);
  const AttentionPiece& piece = round.pieces[static_cast<size_t>(kv_heads.piece)];
  const int group = args.params.heads / layout.kv_heads;
  const size_t first_head = static_cast<size_t>(kv_heads.first) * group;
  const size_t partial_floats = ops_.partial_floats(layout.head_dim);
  return {
      .q = args.q + first_head * layout.head_dim,
      .q_stride = args.stride,
      .group = group,
      .kv_heads = kv_heads.count,
      .head_dim = layout.head_dim,
      .scale = args.params.scale,
      .window = piece.window,
      .first_position = piece.first_position,
      .positions = static_cast<int>(piece.rows.size()),
      .rows = piece.rows.data(),
      .kv = pool.place(args.layer),
      .k_offset = layout.KOffset(kv_heads.first),
      .v_offset = layout.VOffset(kv_heads.first),
      .plane_bytes = layout.PlaneBytes(),
      .blocks = piece.blocks,
      .block_tokens = layout.block_tokens,
      .type = layout.type.kind(),
      .first_span = piece.first_span,
      .end_span = piece.end_span,
      .out = piece.finishes ? args.out + first_head * layout.head_dim : nullptr,
      .out_stride = args.params.heads * layout.head_dim,
      .partial = nullptr,
      .partial_stride = 0,
      .total = totals_ + first_head * partial_floats,
      .total_stride = args.params.heads * partial_floats,
      .continues = piece.continues(),
  };
}

void CpuAttention::RunInWaves(const Round& round, int most_positions) {
  PREFIXD_CHECK(round.kv_heads == 1) << "a wave has partial results of one KV head for each job";
  const int group = limits_.heads / limits_.kv_heads;
  const int threads = threads_.threads();
  Wave wave = {.slot_floats = ops_.partial_floats(limits_.head_dim) * group * most_positions, .slots = 0};
  const size_t slots = std::min<size_t>(sizes_.slots * sizes_.slot_floats / wave.slot_floats, 1 << 20);
  wave.slots = static_cast<int>(slots);
  if (wave.slots >= threads) wave.slots -= wave.slots % threads;
  wave.span = MakeJob(round, 0).first_span;
  while (wave.job < round.jobs) {
    FillWave(round, wave);
    threads_.Run(wave.units, [&](int unit, int worker) { Attend(round, wave, unit, worker); });
    threads_.Run(wave.folds, [&](int unit, int) { Fold(round, wave, unit); });
  }
}

// Adds segments until all slots are taken.
void CpuAttention::FillWave(const Round& round, Wave& wave) {
  wave.segments = wave.units = wave.folds = 0;
  float* slot = slots_;
  int left = wave.slots;
  while (wave.job < round.jobs) {
    const AttendJob job = MakeJob(round, wave.job);
    const bool whole = job.end_span - job.first_span == 1;
    const int spans = whole ? 1 : std::min(left, job.end_span - wave.span);
    if (spans == 0) return;
    Segment& segment = segments_[static_cast<size_t>(wave.segments++)];
    segment = {.job = wave.job,
               .first_span = wave.span,
               .end_span = wave.span + spans,
               .partials = nullptr,
               .first_unit = wave.units,
               .first_fold = wave.folds};
    wave.units += spans;
    if (!whole) {
      segment.partials = slot;
      slot += spans * wave.slot_floats;
      left -= spans;
      wave.folds += job.positions;
    }
    wave.span += spans;
    if (wave.span < job.end_span) return;
    if (++wave.job < round.jobs) wave.span = MakeJob(round, wave.job).first_span;
  }
}

void CpuAttention::Attend(const Round& round, const Wave& wave, int unit, int worker) {
  const Segment& segment = SegmentOf(segments_.data(), wave.segments, &Segment::first_unit, unit);
  AttendJob job = MakeJob(round, segment.job);
  if (segment.partials != nullptr) {
    const int i = unit - segment.first_unit;
    job.first_span = segment.first_span + i;
    job.end_span = job.first_span + 1;
    job.continues = false;
    job.out = nullptr;
    job.partial = segment.partials + static_cast<size_t>(i) * wave.slot_floats;
    job.partial_stride = ops_.partial_floats(job.head_dim) * job.group;
  }
  ops_.attend(job, worker_scratch(worker));
}

// Folds the spans of one position of a segment, for all heads of one KV head.
void CpuAttention::Fold(const Round& round, const Wave& wave, int unit) {
  const Segment& segment = SegmentOf(segments_.data(), wave.segments, &Segment::first_fold, unit);
  const AttendJob job = MakeJob(round, segment.job);
  const int i = unit - segment.first_fold;
  const int first = std::max(job.first_span, FirstSpan(job.first_position + i, job.window));
  const int end = std::min(job.end_span, EndSpan(job.first_position + i));
  const int first_here = std::max(first, segment.first_span);
  const int end_here = std::min(end, segment.end_span);
  if (first_here >= end_here) return;
  const bool has_total = job.continues || first < segment.first_span;
  const bool finished = job.out != nullptr && end == end_here;
  const size_t partial_floats = ops_.partial_floats(job.head_dim);
  const size_t row = static_cast<size_t>(job.rows[i]);
  for (int h = 0; h < job.group; ++h) {
    const float* from = segment.partials + (first_here - segment.first_span) * wave.slot_floats +
                        (static_cast<size_t>(i) * job.group + h) * partial_floats;
    float* const total = job.total + row * job.total_stride + h * partial_floats;
    int spans = end_here - first_here;
    if (!has_total) {
      std::memcpy(total, from, partial_floats * sizeof(float));
      from += wave.slot_floats;
      --spans;
    }
    ops_.fold(total, from, spans, wave.slot_floats, job.head_dim,
              finished ? job.out + row * job.out_stride + h * job.head_dim : nullptr);
  }
}

}  // namespace prefixd
