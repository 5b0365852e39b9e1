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

// Adds the units of sequences.
class UnitMaker {
 public:
  UnitMaker(const ModelShape& shape, int window, AttentionPlan* plan)
      : shape_(shape), window_(window), plan_(*plan) {}

  // For all heads, those of each group of heads one after the other.
  void Add(const SequenceSpan& sequence, bool by_spans) {
    const int group = shape_.heads / shape_.kv_heads;
    for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
      for (int head = 0; head < group; head += UnitHeads(shape_))
        AddRows(sequence, kv_head * group + head, std::min(UnitHeads(shape_), group - head), by_spans);
    }
  }
  // Behind the single units.
  void AddTeams() {
    plan_.singles = plan_.units.size();
    plan_.units.insert(plan_.units.end(), in_teams_.begin(), in_teams_.end());
  }

 private:
  void AddRows(const SequenceSpan& sequence, int head, int heads, bool by_spans) {
    const int unit_rows = kUnitRows / UnitHeads(shape_);
    std::vector<AttentionUnit>& units = !by_spans && sequence.rows > unit_rows ? in_teams_ : plan_.units;
    for (int row = 0; row < sequence.rows; row += unit_rows) {
      const int rows = std::min(unit_rows, sequence.rows - row), position = sequence.position + row;
      const int begin = numerics::WindowStart(position, window_) / kSpanTokens;
      AddPieces({.first_row = sequence.first_row + row,
                 .rows = rows,
                 .head = head,
                 .heads = heads,
                 .first_span = begin,
                 .spans = (position + rows - 1) / kSpanTokens + 1 - begin},
                by_spans, &units);
    }
    while (&units == &in_teams_ && units.size() % kTeamUnits != 0) units.push_back({});
  }

  void AddPieces(AttentionUnit unit, bool by_spans, std::vector<AttentionUnit>* units) {
    const int32_t query_rows = unit.rows * unit.heads;
    const int32_t pieces = by_spans ? unit.spans : 1;
    for (int32_t i = 0; i < query_rows; ++i) {
      const size_t row = Size(unit.first_row + i / unit.heads), head = Size(unit.head + i % unit.heads);
      plan_.places[row * Size(shape_.heads) + head] = {plan_.partials + i, pieces, query_rows};
    }
    if (by_spans) unit.spans = 1;
    for (int32_t piece = 0; piece < pieces; ++piece, ++unit.first_span) {
      unit.partial = plan_.partials;
      units->push_back(unit);
      plan_.partials += query_rows;
    }
  }

  const ModelShape& shape_;
  const int window_;
  AttentionPlan& plan_;
  std::vector<AttentionUnit> in_teams_;
};

}  // namespace

void PlanAttention(const BatchView& batch, const ModelShape& shape, int window, AttentionPlan* plan,
                   int by_spans) {
  plan->units.clear();
  plan->partials = 0;
  plan->places.assign(Size(batch.rows()) * Size(shape.heads), {});
  int64_t span_partials = 0;
  UnitMaker maker(shape, window, plan);
  for (const SequenceSpan& sequence : batch.sequences) {
    const int begin = numerics::WindowStart(sequence.position, window) / kSpanTokens;
    const int spans = (sequence.position + sequence.rows - 1) / kSpanTokens + 1 - begin;
    const int64_t wanted = int64_t{sequence.rows} * shape.heads * spans;
    const bool divides = sequence.rows <= by_spans && span_partials + wanted <= kMostSpanPartials;
    if (divides) span_partials += wanted;
    maker.Add(sequence, divides);
  }
  maker.AddTeams();
}

std::array<AttentionParams, 2> LaunchesOf(const AttentionPlan& plan, const AttentionParams& params) {
  AttentionParams singles = params, teams = params;
  singles.unit_count = static_cast<int32_t>(plan.singles);
  teams.units += plan.singles;
  teams.unit_count = static_cast<int32_t>(plan.units.size() - plan.singles);
  teams.team = kTeamUnits;
  return {singles, teams};
}

AttentionBound BoundAttention(const ModelShape& shape, const StepLimits& limits) {
  const size_t query_rows = Size(limits.max_rows) * Size(shape.heads);
  const size_t spans = Size((limits.context - 1) / kSpanTokens + 1);
  const size_t divided = std::min(static_cast<size_t>(kMostSpanPartials), query_rows * spans);
  return {.units = query_rows + divided, .partials = query_rows + divided};
}

}  // namespace prefixd::cuda
