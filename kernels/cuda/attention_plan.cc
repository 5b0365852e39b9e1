#include "kernels/cuda/attention_plan.h"

#include <algorithm>

#include "kernels/cuda/launches.h"
#include "kernels/cuda/numerics.h"
#include "kernels/numerics.h"

namespace prefixd::cuda {
namespace {

size_t Size(int n) { return static_cast<size_t>(n); }

// The heads of a unit: those that share a KV head, or 16 of them.
int UnitHeads(const ModelShape& shape) { return std::min(shape.heads / shape.kv_heads, kUnitRows); }

// Adds the units of step rows that see some tokens together, for all heads.
class UnitMaker {
 public:
  UnitMaker(const ModelShape& shape, int window, AttentionPlan* plan)
      : shape_(shape), window_(window), plan_(*plan) {}

  // The rows [first, first + rows) of the step, the first of which is at `position`.
  void Add(int first, int rows, int position, bool by_spans) {
    const int begin = numerics::WindowStart(position, window_) / kSpanTokens;
    const int end = (position + rows - 1) / kSpanTokens + 1;
    const int group = shape_.heads / shape_.kv_heads;
    for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
      for (int head = 0; head < group; head += UnitHeads(shape_)) {
        const int heads = std::min(UnitHeads(shape_), group - head);
        AddHeads({.first_row = first,
                  .rows = rows,
                  .head = kv_head * group + head,
                  .heads = heads,
                  .first_span = begin,
                  .spans = end - begin},
                 by_spans);
      }
    }
  }

 private:
  void AddHeads(AttentionUnit unit, bool by_spans) {
    const int32_t query_rows = unit.rows * unit.heads;
    const int32_t pieces = by_spans ? unit.spans : 1;
    for (int32_t i = 0; i < query_rows; ++i) {
      const size_t row = Size(unit.first_row + i / unit.heads), head = Size(unit.head + i % unit.heads);
      plan_.places[row * Size(shape_.heads) + head] = {plan_.partials + i, pieces, query_rows};
    }
    if (by_spans) unit.spans = 1;
    for (int32_t piece = 0; piece < pieces; ++piece, ++unit.first_span) {
      unit.partial = plan_.partials;
      plan_.units.push_back(unit);
      plan_.partials += query_rows;
    }
  }

  const ModelShape& shape_;
  const int window_;
  AttentionPlan& plan_;
};

}  // namespace

void PlanAttention(const BatchView& batch, const ModelShape& shape, int window, AttentionPlan* plan,
                   int by_spans) {
  plan->units.clear();
  plan->partials = 0;
  plan->places.assign(Size(batch.rows()) * Size(shape.heads), {});
  const int unit_rows = kUnitRows / UnitHeads(shape);
  int64_t span_partials = 0;
  UnitMaker maker(shape, window, plan);
  for (const SequenceSpan& sequence : batch.sequences) {
    const int begin = numerics::WindowStart(sequence.position, window) / kSpanTokens;
    const int spans = (sequence.position + sequence.rows - 1) / kSpanTokens + 1 - begin;
    const int64_t wanted = int64_t{sequence.rows} * shape.heads * spans;
    const bool divides = sequence.rows <= by_spans && span_partials + wanted <= kMostSpanPartials;
    if (divides) span_partials += wanted;
    for (int row = 0; row < sequence.rows; row += unit_rows) {
      maker.Add(sequence.first_row + row, std::min(unit_rows, sequence.rows - row), sequence.position + row,
                divides);
    }
  }
}

AttentionBound BoundAttention(const ModelShape& shape, const StepLimits& limits) {
  const size_t query_rows = Size(limits.max_rows) * Size(shape.heads);
  const size_t spans = Size((limits.context - 1) / kSpanTokens + 1);
  const size_t divided = std::min(static_cast<size_t>(kMostSpanPartials), query_rows * spans);
  return {.units = query_rows + divided, .partials = query_rows + divided};
}

}  // namespace prefixd::cuda
