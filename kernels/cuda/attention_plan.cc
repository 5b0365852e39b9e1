#include "kernels/cuda/attention_plan.h"

#include <algorithm>
#include <span>

#include "kernels/cuda/launches.h"
#include "kernels/cuda/numerics.h"
#include "kernels/numerics.h"

namespace prefixd::cuda {
namespace {

size_t Size(int n) { return static_cast<size_t>(n); }

// The heads of a unit: those that share a KV head, or 16 of them.
int UnitHeads(const ModelShape& shape) { return std::min(shape.heads / shape.kv_heads, kUnitRows); }

// A row alone by spans. The partial of head h of span s is number `partial` + (s - begin) * heads + h.
struct DecodingRow {
  const SequenceSpan* sequence;
  int begin, end;  // spans
  int32_t partial;
};

// Adds the units of sequences.
class UnitMaker {
 public:
  UnitMaker(const ModelShape& shape, int window, int block_tokens, AttentionPlan* plan)
      : shape_(shape), window_(window), block_tokens_(block_tokens), plan_(*plan) {}

  void Add(const SequenceSpan& sequence, bool by_spans) {
    if (by_spans && sequence.rows == 1) return AddDecoding(sequence);
    ForHeads([&](int head, int heads) { AddRows(sequence, head, heads, by_spans); });
  }
  // The units of the rows alone, after all sequences.
  void AddDecodingUnits() {
    if (decoding_.empty()) return;
    if (window_ == 0) return AddShared(decoding_, 0);
    for (const DecodingRow& row : decoding_) AddAlone(row, row.begin);
  }
  // Behind the single units.
  void AddTeams() {
    plan_.singles = plan_.units.size();
    plan_.units.insert(plan_.units.end(), in_teams_.begin(), in_teams_.end());
  }

 private:
  // Calls add(first, heads) for the heads of each unit; those of a KV head follow each other.
  template <typename Add>
  void ForHeads(const Add& add) const {
    const int group = shape_.heads / shape_.kv_heads;
    for (int kv_head = 0; kv_head < shape_.kv_heads; ++kv_head) {
      for (int head = 0; head < group; head += UnitHeads(shape_))
        add(kv_head * group + head, std::min(UnitHeads(shape_), group - head));
    }
  }
  // Blocks with tokens from `begin` to before `end`.
  uint64_t Blocks(int begin, int end) const {
    return static_cast<uint64_t>((end - 1) / block_tokens_ - begin / block_tokens_ + 1);
  }

  void AddDecoding(const SequenceSpan& sequence) {
    const int begin = numerics::WindowStart(sequence.position, window_) / kSpanTokens;
    const int end = sequence.position / kSpanTokens + 1;
    for (int h = 0; h < shape_.heads; ++h)
      plan_.places[Size(sequence.first_row) * Size(shape_.heads) + Size(h)] = {plan_.partials + h,
                                                                               end - begin, shape_.heads};
    decoding_.push_back({&sequence, begin, end, plan_.partials});
    plan_.partials += shape_.heads * (end - begin);
  }

  // The units of one row from a span on.
  void AddAlone(const DecodingRow& row, int span) {
    const int position = row.sequence->position, first = numerics::WindowStart(position, window_);
    for (; span < row.end; ++span) {
      const int32_t partial = row.partial + (span - row.begin) * shape_.heads;
      const uint64_t blocks =
          Blocks(std::max(first, span * kSpanTokens), std::min(position + 1, (span + 1) * kSpanTokens));
      ForHeads([&](int head, int heads) {
        plan_.units.push_back({.first_row = row.sequence->first_row,
                               .rows = 1,
                               .head = head,
                               .heads = heads,
                               .first_span = span,
                               .spans = 1,
                               .partial = partial + head});
        plan_.reads += blocks;
      });
    }
  }

  // The blocks of a span that a row sees whole; empty for another one.
  std::span<const BlockId> BlocksOf(const DecodingRow& row, int span) const {
    const int begin = span * kSpanTokens, end = begin + kSpanTokens;
    const std::span<const BlockId> blocks = row.sequence->blocks;
    const size_t last = Size((end - 1) / block_tokens_);
    if (row.sequence->position + 1 < end || last >= blocks.size()) return {};
    return blocks.subspan(Size(begin / block_tokens_), last - Size(begin / block_tokens_) + 1);
  }

  // The units of rows that have all spans before `span` in common, from it on.
  void AddShared(std::span<DecodingRow> rows, int span) {
    for (;; ++span) {
      if (rows.size() == 1) return AddAlone(rows.front(), span);
      const auto same = [&](const DecodingRow& a, const DecodingRow& b) {
        const std::span<const BlockId> blocks = BlocksOf(a, span);
        return !blocks.empty() && std::ranges::equal(blocks, BlocksOf(b, span));
      };
      const auto as_first = [&](const DecodingRow& row) { return same(rows.front(), row); };
      if (std::ranges::all_of(rows, as_first)) {
        AddMembers(rows, span);
        continue;
      }
      std::ranges::sort(rows, [&](const DecodingRow& a, const DecodingRow& b) {
        return std::ranges::lexicographical_compare(BlocksOf(a, span), BlocksOf(b, span));
      });
      for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
        for (end = begin + 1; end < rows.size() && same(rows[begin], rows[end]);) ++end;
        if (end == begin + 1) {
          AddAlone(rows[begin], span);
        } else {
          AddMembers(rows.subspan(begin, end - begin), span);
          AddShared(rows.subspan(begin, end - begin), span + 1);
        }
      }
      return;
    }
  }

  // The units of one span of several rows.
  void AddMembers(std::span<const DecodingRow> rows, int span) {
    const auto first = static_cast<int32_t>(plan_.members.size());
    for (const DecodingRow& row : rows)
      plan_.members.push_back({row.sequence->first_row, row.partial + (span - row.begin) * shape_.heads});
    const int unit_rows = kUnitRows / UnitHeads(shape_), count = static_cast<int>(rows.size());
    const bool in_teams = count > unit_rows;
    std::vector<AttentionUnit>& units = in_teams ? in_teams_ : plan_.units;
    const uint64_t blocks = Blocks(span * kSpanTokens, (span + 1) * kSpanTokens);
    ForHeads([&](int head, int heads) {
      for (int i = 0; i < count; i += unit_rows) {
        units.push_back({.first_row = rows.front().sequence->first_row,
                         .rows = std::min(unit_rows, count - i),
                         .head = head,
                         .heads = heads,
                         .first_span = span,
                         .spans = 1,
                         .partial = 0,
                         .members = first + i});
      }
      while (in_teams && units.size() % kTeamUnits != 0) units.push_back({});
      const auto of_team = static_cast<uint64_t>(unit_rows * kTeamUnits);
      const uint64_t reads = in_teams ? (rows.size() + of_team - 1) / of_team : 1;
      plan_.reads += blocks * reads;
      plan_.saved += blocks * (rows.size() - reads);
    });
  }

  void AddRows(const SequenceSpan& sequence, int head, int heads, bool by_spans) {
    const int unit_rows = kUnitRows / UnitHeads(shape_);
    const bool in_teams = !by_spans && sequence.rows > unit_rows;
    std::vector<AttentionUnit>& units = in_teams ? in_teams_ : plan_.units;
    for (int row = 0; row < sequence.rows; row += unit_rows) {
      const int rows = std::min(unit_rows, sequence.rows - row), position = sequence.position + row;
      const int begin = numerics::WindowStart(position, window_) / kSpanTokens;
      AddPieces({.first_row = sequence.first_row + row,
                 .rows = rows,
                 .head = head,
                 .heads = heads,
                 .first_span = begin,
                 .spans = (position + rows - 1) / kSpanTokens + 1 - begin,
                 .partial = 0},
                by_spans, &units);
      // A team of units reads what its last row sees, from what its first row sees on.
      const int unit = row / unit_rows, team = in_teams ? kTeamUnits : 1;
      if (unit % team == team - 1 || row + rows == sequence.rows) {
        const int first = row - unit % team * unit_rows;
        plan_.reads += Blocks(numerics::WindowStart(sequence.position + first, window_), position + rows);
      }
    }
    while (in_teams && units.size() % kTeamUnits != 0) units.push_back({});
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
  const int window_, block_tokens_;
  AttentionPlan& plan_;
  std::vector<DecodingRow> decoding_;
  std::vector<AttentionUnit> in_teams_;
};

}  // namespace

void PlanAttention(const BatchView& batch, const ModelShape& shape, int window, int block_tokens,
                   AttentionPlan* plan, int by_spans) {
  plan->units.clear();
  plan->members.clear();
  plan->partials = 0;
  plan->reads = plan->saved = 0;
  plan->places.assign(Size(batch.rows()) * Size(shape.heads), {});
  int64_t span_partials = 0;
  UnitMaker maker(shape, window, block_tokens, plan);
  for (const SequenceSpan& sequence : batch.sequences) {
    const int begin = numerics::WindowStart(sequence.position, window) / kSpanTokens;
    const int spans = (sequence.position + sequence.rows - 1) / kSpanTokens + 1 - begin;
    const int64_t wanted = int64_t{sequence.rows} * shape.heads * spans;
    const bool divides = sequence.rows <= by_spans && span_partials + wanted <= kMostSpanPartials;
    if (divides) span_partials += wanted;
    maker.Add(sequence, divides);
  }
  maker.AddDecodingUnits();
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
  return {.units = query_rows + divided,
          .members = divided / Size(shape.heads),
          .partials = query_rows + divided};
}

}  // namespace prefixd::cuda
