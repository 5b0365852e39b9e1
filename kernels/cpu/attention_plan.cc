#include "kernels/cpu/attention_plan.h"

#include <algorithm>
#include <cstring>

#include "kernels/check_arguments.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

using cpu::AttendJob;

// The rows (one head of one position each) of one job. Enough rows to share the widening of a tile; few
// enough to balance the threads and to stay in L2.
constexpr int kRowsPerJob = 96;
constexpr size_t kAlignment = 64;

// A position sees tokens of the spans FirstSpan .. EndSpan - 1 only.
int FirstSpan(int position, int window) {
  return numerics::WindowStart(position, window) / numerics::kAttentionSpan;
}
int EndSpan(int position) { return position / numerics::kAttentionSpan + 1; }

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
  largest.head_dim = limits.head_dim;
  largest.positions = sizes.positions;
  sizes.worker_floats = AlignedFloats(ops.attend_scratch(largest));
  sizes.pieces = static_cast<size_t>(limits.max_rows);
  const size_t workers = static_cast<size_t>(threads);
  const size_t spans = static_cast<size_t>(EndSpan(limits.context - 1));
  if (threads > 1 && spans > 1) {
    // A batch of more jobs is not split.
    sizes.segments = std::min(2 * workers - 1, sizes.pieces * static_cast<size_t>(limits.kv_heads));
    sizes.slot_floats = ops.partial_floats(limits.head_dim) * group * sizes.positions;
    sizes.slots = std::min(static_cast<size_t>(limits.wave_units) * workers, sizes.segments * spans);
  }
  const size_t slots = sizes.slots == 0 ? 0 : sizes.slots + 1;
  sizes.bytes = (workers * sizes.worker_floats + AlignedFloats(slots * sizes.slot_floats)) * sizeof(float) +
                Aligned(sizes.pieces * sizeof(Piece)) + Aligned(sizes.segments * sizeof(Segment));
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
    std::byte* const at = next;
    next += Aligned(bytes);
    return at;
  };
  const size_t slots = sizes_.slots == 0 ? 0 : sizes_.slots + 1;
  workers_ = reinterpret_cast<float*>(
      take(static_cast<size_t>(threads_.threads()) * sizes_.worker_floats * sizeof(float)));
  slots_ = reinterpret_cast<float*>(take(slots * sizes_.slot_floats * sizeof(float)));
  pieces_ = {reinterpret_cast<Piece*>(take(sizes_.pieces * sizeof(Piece))), sizes_.pieces};
  segments_ = {reinterpret_cast<Segment*>(take(sizes_.segments * sizeof(Segment))), sizes_.segments};
}

void CpuAttention::CheckLimits(const BatchView& batch, const AttentionArgs& args) const {
  const KvLayout& layout = args.pool->layout();
  PREFIXD_CHECK(args.params.heads == limits_.heads && layout.kv_heads == limits_.kv_heads &&
                layout.head_dim == limits_.head_dim && batch.rows() <= limits_.max_rows)
      << args.params.heads << "/" << layout.kv_heads << " heads of " << layout.head_dim << ", "
      << batch.rows() << " rows; memory is reserved for " << limits_.heads << "/" << limits_.kv_heads
      << " heads of " << limits_.head_dim << ", " << limits_.max_rows << " rows";
}

void CpuAttention::Run(const BatchView& batch, const AttentionArgs& args) {
  const KvLayout& layout = args.pool->layout();
  CheckAttention(args.params, layout);
  CheckLayer(args.layer, layout);
  CheckHeads(args.q, batch.rows(), args.stride, args.params.heads, layout.head_dim);
  PREFIXD_CHECK(batch.rows() == 0 || args.out != nullptr) << batch.rows() << " rows";
  CheckLimits(batch, args);
  piece_count_ = 0;
  for (const SequenceSpan& sequence : batch.sequences) AddPieces(sequence, *args.pool);
  const int jobs = static_cast<int>(piece_count_) * layout.kv_heads;
  int most_positions = 0;  // of the jobs of more than one span
  if (threads_.threads() > 1 && jobs < 2 * threads_.threads()) {
    for (const Piece& piece : pieces_.first(piece_count_)) {
      const int position = piece.sequence->position + piece.first;
      if (EndSpan(position + piece.positions - 1) - FirstSpan(position, args.params.window) > 1)
        most_positions = std::max(most_positions, piece.positions);
    }
  }
  if (most_positions > 0) return RunInWaves(jobs, most_positions, args);
  threads_.Run(jobs, [&](int job, int worker) { ops_.attend(MakeJob(job, args), worker_scratch(worker)); });
}

void CpuAttention::AddPieces(const SequenceSpan& sequence, const KvPool& pool) {
  const int last = sequence.position + sequence.rows - 1;
  PREFIXD_CHECK(last < limits_.context) << "position " << last << " of " << limits_.context;
  BlockIdAt(sequence, last, pool);  // checks the block table
  for (int first = 0; first < sequence.rows; first += sizes_.positions) {
    PREFIXD_CHECK(piece_count_ < pieces_.size()) << piece_count_;
    pieces_[piece_count_++] = {&sequence, first, std::min(sizes_.positions, sequence.rows - first)};
  }
}

AttendJob CpuAttention::MakeJob(int job, const AttentionArgs& args) const {
  const KvPool& pool = *args.pool;
  const KvLayout& layout = pool.layout();
  const Piece& piece = pieces_[static_cast<size_t>(job / layout.kv_heads)];
  const int kv_head = job % layout.kv_heads;
  const int group = args.params.heads / layout.kv_heads;
  const int first_position = piece.sequence->position + piece.first;
  const size_t row = static_cast<size_t>(piece.sequence->first_row) + piece.first;
  const size_t first_head = static_cast<size_t>(kv_head) * group * layout.head_dim;
  return {
      .q = args.q + row * args.stride + first_head,
      .q_stride = args.stride,
      .group = group,
      .head_dim = layout.head_dim,
      .scale = args.params.scale,
      .window = args.params.window,
      .first_position = first_position,
      .positions = piece.positions,
      .pool = pool.block(0),
      .block_bytes = layout.BlockBytes(),
      .k_offset = layout.KOffset(args.layer, kv_head),
      .v_offset = layout.VOffset(args.layer, kv_head),
      .blocks = piece.sequence->blocks.data(),
      .block_tokens = layout.block_tokens,
      .dtype = layout.dtype,
      .first_span = FirstSpan(first_position, args.params.window),
      .end_span = EndSpan(first_position + piece.positions - 1),
      .out = args.out + row * args.params.heads * layout.head_dim + first_head,
      .out_stride = args.params.heads * layout.head_dim,
      .partial = nullptr,
      .partial_stride = 0,
  };
}

void CpuAttention::RunInWaves(int jobs, int most_positions, const AttentionArgs& args) {
  const int group = limits_.heads / limits_.kv_heads;
  Wave wave = {.jobs = jobs,
               .slot_floats = ops_.partial_floats(limits_.head_dim) * group * most_positions,
               .slots = 0};
  const int threads = threads_.threads();
  const size_t slots = std::min<size_t>(sizes_.slots * sizes_.slot_floats / wave.slot_floats, 1 << 20);
  wave.slots = static_cast<int>(slots);
  if (wave.slots >= threads) wave.slots -= wave.slots % threads;
  wave.span = MakeJob(0, args).first_span;
  while (wave.job < jobs) {
    FillWave(wave, args);
    threads_.Run(wave.units, [&](int unit, int worker) { Attend(wave, unit, worker, args); });
    threads_.Run(wave.folds, [&](int unit, int) { Fold(wave, unit, args); });
    const Segment& last = segments_[static_cast<size_t>(wave.segments - 1)];
    const bool unfinished = wave.job == last.job && wave.job < jobs;
    if (unfinished && last.partials != slots_)
      std::memcpy(slots_, last.partials, wave.slot_floats * sizeof(float));
  }
}

// Adds segments until all slots are taken.
void CpuAttention::FillWave(Wave& wave, const AttentionArgs& args) {
  wave.segments = wave.units = wave.folds = 0;
  float* slot = slots_ + wave.slot_floats;
  int left = wave.slots;
  while (wave.job < wave.jobs) {
    const AttendJob job = MakeJob(wave.job, args);
    const bool whole = job.end_span - job.first_span == 1;
    const int spans = whole ? 1 : std::min(left, job.end_span - wave.span);
    if (spans == 0) return;
    Segment& segment = segments_[static_cast<size_t>(wave.segments++)];
    segment = {.job = wave.job,
               .first_span = wave.span,
               .end_span = wave.span + spans,
               .continued = wave.span > job.first_span,
               .partials = nullptr,
               .first_unit = wave.units,
               .first_fold = wave.folds};
    wave.units += spans;
    if (!whole) {
      segment.partials = segment.continued ? slots_ : slot;  // a continued segment is the first of its wave
      slot += spans * wave.slot_floats;
      left -= spans;
      wave.folds += job.positions;
    }
    wave.span += spans;
    if (wave.span < job.end_span) return;
    if (++wave.job < wave.jobs) wave.span = MakeJob(wave.job, args).first_span;
  }
}

void CpuAttention::Attend(const Wave& wave, int unit, int worker, const AttentionArgs& args) {
  const Segment& segment = SegmentOf(segments_.data(), wave.segments, &Segment::first_unit, unit);
  AttendJob job = MakeJob(segment.job, args);
  if (segment.partials != nullptr) {
    const int i = unit - segment.first_unit;
    job.first_span = segment.first_span + i;
    job.end_span = job.first_span + 1;
    job.out = nullptr;
    job.partial = segment.partials + static_cast<size_t>(i + segment.continued) * wave.slot_floats;
    job.partial_stride = ops_.partial_floats(job.head_dim) * job.group;
  }
  ops_.attend(job, worker_scratch(worker));
}

// Folds the spans of one position of a segment, for all heads of one KV head.
void CpuAttention::Fold(const Wave& wave, int unit, const AttentionArgs& args) {
  const Segment& segment = SegmentOf(segments_.data(), wave.segments, &Segment::first_fold, unit);
  const AttendJob job = MakeJob(segment.job, args);
  const int i = unit - segment.first_fold;
  const int first = FirstSpan(job.first_position + i, job.window);
  const int end = EndSpan(job.first_position + i);
  if (end <= segment.first_span || first >= segment.end_span) return;
  const size_t partial = ops_.partial_floats(job.head_dim);
  // Slot 0 is that of the total, if continued. The position has a total if it sees an earlier span.
  const int slot_of_first_span = segment.continued ? 1 : 0;
  const int first_slot = first < segment.first_span ? 0 : first - segment.first_span + slot_of_first_span;
  const int end_slot = std::min(end, segment.end_span) - segment.first_span + slot_of_first_span;
  const bool finished = end <= segment.end_span;
  float* const totals = segment.partials + static_cast<size_t>(i) * job.group * partial;
  float* const from = totals + static_cast<size_t>(first_slot) * wave.slot_floats;
  for (int h = 0; h < job.group; ++h) {
    float* const out = job.out + static_cast<size_t>(i) * job.out_stride + h * job.head_dim;
    ops_.fold(from + h * partial, end_slot - first_slot, wave.slot_floats, job.head_dim,
              finished ? out : nullptr);
  }
  if (!finished && from != totals) std::memcpy(totals, from, job.group * partial * sizeof(float));
}

}  // namespace prefixd
