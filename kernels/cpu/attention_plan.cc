#include "kernels/cpu/attention_plan.h"

#include <algorithm>

#include "kernels/check_arguments.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

using cpu::AttendJob;

// The rows (one head of one position each) of one job. Enough rows to share the widening of a tile; few
// enough to balance the threads and to stay in L2.
constexpr int kRowsPerJob = 96;

// A position sees tokens of the spans FirstSpan .. EndSpan - 1 only.
int FirstSpan(int position, int window) {
  return numerics::WindowStart(position, window) / numerics::kAttentionSpan;
}
int EndSpan(int position) { return position / numerics::kAttentionSpan + 1; }

}  // namespace

void CpuAttention::Run(const BatchView& batch, const AttentionArgs& args) {
  const KvLayout& layout = args.pool->layout();
  CheckAttention(args.params, layout);
  CheckLayer(args.layer, layout);
  CheckHeads(args.q, batch.rows(), args.stride, args.params.heads, layout.head_dim);
  PREFIXD_CHECK(batch.rows() == 0 || args.out != nullptr) << batch.rows() << " rows";
  jobs_.clear();
  fold_jobs_.clear();
  for (const SequenceSpan& sequence : batch.sequences) AddJobs(sequence, args);
  if (jobs_.empty()) return;
  if (threads_.threads() > 1 && jobs_.size() < 2 * static_cast<size_t>(threads_.threads()))
    SplitBySpans(args);
  threads_.Run(static_cast<int>(jobs_.size()), [&](int unit, int worker) {
    const AttendJob& job = jobs_[unit];
    ops_.attend(job, scratch_[worker].Floats(ops_.attend_scratch(job)));
  });
  FoldSpans(args);
}

void CpuAttention::AddJobs(const SequenceSpan& sequence, const AttentionArgs& args) {
  const KvPool& pool = *args.pool;
  const KvLayout& layout = pool.layout();
  const int last = sequence.position + sequence.rows - 1;
  BlockIdAt(sequence, last, pool);  // checks the block table
  const int group = args.params.heads / layout.kv_heads;
  const int at_once = std::max(1, kRowsPerJob / group);
  for (int first = 0; first < sequence.rows; first += at_once) {
    const int positions = std::min(at_once, sequence.rows - first);
    const int first_position = sequence.position + first;
    const size_t row = static_cast<size_t>(sequence.first_row) + first;
    for (int h = 0; h < layout.kv_heads; ++h) {
      const size_t first_head = static_cast<size_t>(h) * group * layout.head_dim;
      jobs_.push_back({
          .q = args.q + row * args.stride + first_head,
          .q_stride = args.stride,
          .group = group,
          .head_dim = layout.head_dim,
          .scale = args.params.scale,
          .window = args.params.window,
          .first_position = first_position,
          .positions = positions,
          .pool = pool.block(0),
          .block_bytes = layout.BlockBytes(),
          .k_offset = layout.KOffset(args.layer, h),
          .v_offset = layout.VOffset(args.layer, h),
          .blocks = sequence.blocks.data(),
          .block_tokens = layout.block_tokens,
          .dtype = layout.dtype,
          .first_span = FirstSpan(first_position, args.params.window),
          .end_span = EndSpan(first_position + positions - 1),
          .out = args.out + row * args.params.heads * layout.head_dim + first_head,
          .out_stride = args.params.heads * layout.head_dim,
          .partial = nullptr,
          .partial_stride = 0,
      });
    }
  }
}

void CpuAttention::SplitBySpans(const AttentionArgs& args) {
  unsplit_jobs_.swap(jobs_);
  jobs_.clear();
  const size_t partial = ops_.partial_floats(args.pool->layout().head_dim);
  size_t floats = 0;
  for (const AttendJob& job : unsplit_jobs_) {
    const int spans = job.end_span - job.first_span;
    if (spans > 1) floats += partial * job.group * job.positions * spans;
  }
  float* next = partials_.Floats(floats);
  for (const AttendJob& job : unsplit_jobs_) {
    const int spans = job.end_span - job.first_span;
    if (spans == 1) {
      jobs_.push_back(job);
      continue;
    }
    // [position][span of the job][head of the group]
    const size_t per_span = partial * job.group;
    for (int i = 0; i < spans; ++i) {
      AttendJob& cut = jobs_.emplace_back(job);
      cut.first_span = job.first_span + i;
      cut.end_span = cut.first_span + 1;
      cut.out = nullptr;
      cut.partial = next + i * per_span;
      cut.partial_stride = per_span * spans;
    }
    for (int i = 0; i < job.positions; ++i, next += per_span * spans) {
      const int position = job.first_position + i;
      const int first = FirstSpan(position, job.window);
      fold_jobs_.push_back({next + (first - job.first_span) * per_span, EndSpan(position) - first,
                            job.out + static_cast<size_t>(i) * job.out_stride});
    }
  }
  span_stride_ = partial * (args.params.heads / args.pool->layout().kv_heads);
}

void CpuAttention::FoldSpans(const AttentionArgs& args) {
  const KvLayout& layout = args.pool->layout();
  const size_t partial = ops_.partial_floats(layout.head_dim);
  threads_.Run(static_cast<int>(fold_jobs_.size()), [&](int unit, int) {
    const FoldJob& fold = fold_jobs_[unit];
    for (int h = 0; h < args.params.heads / layout.kv_heads; ++h) {
      ops_.fold(fold.partials + h * partial, fold.spans, span_stride_, layout.head_dim,
                fold.out + h * layout.head_dim);
    }
  });
}

}  // namespace prefixd
