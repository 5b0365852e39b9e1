// How a step is cut into the units of attention (kernels/cuda/attention_plan.h).
#include "kernels/cuda/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/numerics.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

using cuda::AttentionPlan;
using cuda::AttentionUnit;
using cuda::BoundAttention;
using cuda::FoldPlace;
using cuda::kSpanTokens;

ModelShape ShapeOf(int heads, int kv_heads) {
  return {.layers = 1, .heads = heads, .kv_heads = kv_heads, .head_dim = 64, .windows = {0}};
}

// The rows of a step. Sequences without a table share nothing.
class Rows {
 public:
  static constexpr int kBlockTokens = 16;

  void Add(int position, int rows) { Add(position, rows, {}); }
  void Add(int position, int rows, std::vector<BlockId> table) {
    const auto first = static_cast<int>(tokens_.size());
    sequences_.push_back({first, rows, position, tables_.emplace_back(std::move(table))});
    tokens_.resize(tokens_.size() + static_cast<size_t>(rows));
  }
  // A row alone whose first blocks are those of number `branch`, and the others its own.
  void AddSharing(int position, int blocks, BlockId branch) {
    std::vector<BlockId> table;
    for (int b = 0; b <= position / kBlockTokens; ++b)
      table.push_back(b < blocks ? branch * 1000 + static_cast<BlockId>(b) : next_++);
    Add(position, 1, std::move(table));
  }
  BatchView view() const { return {tokens_, sequences_}; }

 private:
  BlockId next_ = 1000000;
  std::vector<TokenId> tokens_;
  std::vector<SequenceSpan> sequences_;
  std::deque<std::vector<BlockId>> tables_;
};

struct Cell {
  int row, head, span;
  friend auto operator<=>(const Cell&, const Cell&) = default;
};

// Checks a plan against the invariants of attention_plan.h and what kernel_table.h says of units and folds.
class PlanChecker {
 public:
  PlanChecker(const BatchView& batch, const ModelShape& shape, int window, const AttentionPlan& plan)
      : batch_(batch), shape_(shape), window_(window), plan_(plan) {}

  void Check() {
    for (size_t i = 0; i < plan_.units.size(); ++i) {
      if (i >= plan_.singles && plan_.units[i].rows == 0) continue;
      CheckUnit(plan_.units[i]);
    }
    ASSERT_LE(plan_.singles, plan_.units.size());
    ASSERT_EQ((plan_.units.size() - plan_.singles) % cuda::kTeamUnits, 0u);
    for (size_t i = plan_.singles; i < plan_.units.size(); i += cuda::kTeamUnits)
      CheckTeam(std::span(plan_.units).subspan(i, cuda::kTeamUnits));
    // The numbers of partials are exactly 0 .. partials - 1.
    ASSERT_EQ(partials_.size(), static_cast<size_t>(plan_.partials));
    ASSERT_EQ(*partials_.rbegin(), plan_.partials - 1);
    ASSERT_EQ(plan_.places.size(), static_cast<size_t>(batch_.rows() * shape_.heads));
    for (const SequenceSpan& sequence : batch_.sequences) {
      for (int i = 0; i < sequence.rows; ++i) CheckRow(sequence.first_row + i, sequence.position + i);
    }
  }

 private:
  void CheckUnit(const AttentionUnit& unit) {
    const int group = shape_.heads / shape_.kv_heads;
    ASSERT_TRUE(unit.rows > 0 && unit.heads > 0 && unit.spans > 0);
    ASSERT_LE(unit.rows * unit.heads, cuda::kUnitRows);
    ASSERT_EQ(unit.head / group, (unit.head + unit.heads - 1) / group) << "heads of several KV heads";
    if (unit.members >= 0) {
      CheckMembers(unit);
    } else {
      ASSERT_EQ(Of(unit.first_row), Of(unit.first_row + unit.rows - 1)) << "rows of several sequences";
    }
    for (int i = 0; i < unit.rows * unit.heads; ++i) {
      int row = unit.first_row + i / unit.heads, partial = unit.partial + i;
      const int head = unit.head + i % unit.heads;
      if (unit.members >= 0) {
        const cuda::AttentionMember& member =
            plan_.members[static_cast<size_t>(unit.members + i / unit.heads)];
        row = member.row;
        partial = member.partial + head;
      }
      ASSERT_TRUE(partials_.insert(partial).second) << "partial " << partial;
      for (int span = unit.first_span; span < unit.first_span + unit.spans; ++span)
        ASSERT_TRUE(cells_.insert({row, head, span}).second) << row << ", " << head << ", " << span;
      spans_of_partial_[partial] = {row, head, unit.first_span, unit.spans};
    }
  }
  const SequenceSpan* Of(int row) const {
    return &*std::ranges::find_if(batch_.sequences, [&](const SequenceSpan& s) {
      return row >= s.first_row && row < s.first_row + s.rows;
    });
  }

  // All of them see all tokens of the span, in the same blocks.
  void CheckMembers(const AttentionUnit& unit) {
    ASSERT_EQ(window_, 0);
    ASSERT_EQ(unit.spans, 1);
    ASSERT_LE(static_cast<size_t>(unit.members + unit.rows), plan_.members.size());
    constexpr int kBlocks = kSpanTokens / Rows::kBlockTokens;
    std::vector<BlockId> blocks;
    for (int r = 0; r < unit.rows; ++r) {
      const SequenceSpan& of = *Of(plan_.members[static_cast<size_t>(unit.members + r)].row);
      ASSERT_EQ(of.rows, 1);
      ASSERT_GE(of.position + 1, (unit.first_span + 1) * kSpanTokens);
      const auto first = of.blocks.begin() + unit.first_span * kBlocks;
      if (r == 0) blocks.assign(first, first + kBlocks);
      ASSERT_TRUE(std::equal(blocks.begin(), blocks.end(), first));
    }
  }

  // Neighbouring rows of the same heads of one sequence; what is missing is missing at the end.
  void CheckTeam(std::span<const AttentionUnit> team) {
    ASSERT_GT(team[0].rows, 0);
    for (size_t i = 1; i < team.size(); ++i) {
      const AttentionUnit &before = team[i - 1], &unit = team[i];
      if (unit.rows == 0) continue;
      if (unit.members >= 0) {
        ASSERT_EQ(unit.members, before.members + before.rows);
        ASSERT_EQ(unit.first_span, before.first_span);
        continue;
      }
      ASSERT_EQ(unit.first_row, before.first_row + before.rows);
      ASSERT_TRUE(unit.head == before.head && unit.heads == before.heads);
      const auto starts = [&](const SequenceSpan& s) { return s.first_row == unit.first_row; };
      ASSERT_TRUE(std::ranges::none_of(batch_.sequences, starts)) << "a team of two sequences";
    }
  }

  // The partials of each head, in the order of the fold, have all spans that the row sees, ascending.
  void CheckRow(int row, int position) {
    const int first = numerics::WindowStart(position, window_) / kSpanTokens, last = position / kSpanTokens;
    for (int head = 0; head < shape_.heads; ++head) {
      const FoldPlace& place = plan_.places[static_cast<size_t>(row * shape_.heads + head)];
      int next = -1;
      for (int i = 0; i < place.count; ++i) {
        const auto found = spans_of_partial_.find(place.first + i * place.stride);
        ASSERT_TRUE(found != spans_of_partial_.end());
        const auto& [of_row, of_head, first_span, spans] = found->second;
        ASSERT_TRUE(of_row == row && of_head == head) << of_row << ", " << of_head;
        ASSERT_TRUE(next < 0 || first_span == next) << "span " << first_span << " after " << next - 1;
        if (next < 0) {
          ASSERT_LE(first_span, first);
        }
        next = first_span + spans;
      }
      ASSERT_GT(next, last);
    }
  }

  const BatchView& batch_;
  const ModelShape& shape_;
  const int window_;
  const AttentionPlan& plan_;
  std::set<Cell> cells_;
  std::set<int> partials_;
  std::map<int, std::tuple<int, int, int, int>> spans_of_partial_;  // row, head, first span, spans
};

TEST(AttentionPlan, EveryRowHeadAndSpanIsInOneUnit) {
  Prng prng(3);
  AttentionPlan plan;  // reused, as a runner does
  for (int round = 0; round < 300; ++round) {
    const auto kv_heads = static_cast<int>(prng.Between(1, 3));
    const ModelShape shape = ShapeOf(kv_heads * static_cast<int>(prng.Between(1, 26)), kv_heads);
    const int window = prng.Chance(0.5) ? 0 : static_cast<int>(prng.Between(1, 600));
    Rows rows;
    for (uint64_t i = prng.Between(1, 5); i > 0; --i)
      rows.Add(static_cast<int>(prng.Below(1000)), static_cast<int>(prng.Between(1, 40)));
    const BatchView batch = rows.view();
    for (const int by_spans : {0, cuda::kMostRowsBySpans, 1000}) {
      PlanAttention(batch, shape, window, 16, &plan, by_spans);
      PlanChecker(batch, shape, window, plan).Check();
      if (HasFatalFailure()) return;
    }
    PlanAttention(batch, shape, window, 16, &plan);
    const cuda::AttentionBound bound = BoundAttention(shape, {1040, batch.rows(), batch.rows()});
    ASSERT_LE(plan.units.size(), bound.units);
    ASSERT_LE(static_cast<size_t>(plan.partials), bound.partials);
  }
}

// Random trees of prefixes: what is shared, and what is read.
TEST(AttentionPlan, RowsAreMembersOfUnitsOfSpansThatTheyShare) {
  Prng prng(4);
  AttentionPlan plan;
  uint64_t shares = 0;
  for (int round = 0; round < 200; ++round) {
    const auto kv_heads = static_cast<int>(prng.Between(1, 3));
    const ModelShape shape = ShapeOf(kv_heads * static_cast<int>(prng.Between(1, 20)), kv_heads);
    Rows rows;
    std::vector<std::vector<BlockId>> tables;
    const auto count = static_cast<int>(prng.Between(2, 40));
    for (int i = 0; i < count; ++i) {
      const auto position = static_cast<int>(prng.Below(1400));
      std::vector<BlockId> table;
      // The first blocks of an earlier one, at any border.
      if (!tables.empty() && prng.Chance(0.8)) {
        table = tables[prng.Below(tables.size())];
        table.resize(prng.Below(table.size() + 1));
      }
      const auto blocks = static_cast<size_t>(position / Rows::kBlockTokens + 1);
      if (table.size() >= blocks) table.resize(blocks - 1);  // its last block is its own
      while (table.size() < blocks) table.push_back(static_cast<BlockId>(prng.Next() >> 33));
      rows.Add(position, 1, tables.emplace_back(table));
    }
    const BatchView batch = rows.view();
    PlanAttention(batch, shape, 0, Rows::kBlockTokens, &plan);
    PlanChecker(batch, shape, 0, plan).Check();
    if (HasFatalFailure()) return;
    const cuda::AttentionBound bound = BoundAttention(shape, {1400, count, count});
    ASSERT_LE(plan.units.size(), bound.units);
    ASSERT_LE(plan.members.size(), bound.members);
    shares += plan.members.empty() ? 0 : 1;
    uint64_t alone = 0;
    AttentionPlan of_one;
    for (const SequenceSpan& sequence : batch.sequences) {
      Rows one;
      one.Add(sequence.position, 1, {sequence.blocks.begin(), sequence.blocks.end()});
      PlanAttention(one.view(), shape, 0, Rows::kBlockTokens, &of_one);
      ASSERT_EQ(of_one.saved, 0u);
      alone += of_one.reads;
    }
    ASSERT_EQ(plan.reads + plan.saved, alone);
  }
  EXPECT_GT(shares, 100u);
}

TEST(AttentionPlan, ASharedSpanIsReadOnce) {
  constexpr int kBlocks = kSpanTokens / Rows::kBlockTokens;
  AttentionPlan plan;
  const auto plan_for = [&](int heads, int kv_heads, int sequences, int blocks) {
    Rows rows;
    for (int i = 0; i < sequences; ++i) rows.AddSharing(2 * kSpanTokens + i, blocks, 1);
    PlanAttention(rows.view(), ShapeOf(heads, kv_heads), 0, Rows::kBlockTokens, &plan);
  };
  plan_for(8, 2, 4, 2 * kBlocks);  // 4 rows of 4 heads are a unit
  EXPECT_EQ(plan.units.size(), 2u * (2 + 4));
  EXPECT_EQ(plan.singles, plan.units.size());
  EXPECT_EQ(plan.members.size(), 2u * 4) << "of two spans, for all heads";
  EXPECT_EQ(plan.reads, 2u * (2 * kBlocks + 4));
  EXPECT_EQ(plan.saved, 2u * 3 * 2 * kBlocks);
  plan_for(8, 2, 5, kBlocks + kBlocks / 2);
  EXPECT_EQ(plan.units.size() - plan.singles, 2u * 4) << "a team of two units for the first span";
  EXPECT_EQ(plan.saved, 2u * 4 * kBlocks);
  plan_for(4, 1, 17, kBlocks);
  EXPECT_EQ(plan.units.size() - plan.singles, 8u) << "16 rows are a team, and one is left";
  EXPECT_EQ(plan.saved, 15u * kBlocks);
  plan_for(8, 2, 4, kBlocks - 1);
  EXPECT_TRUE(plan.members.empty()) << "not a whole span";
  EXPECT_EQ(plan.saved, 0u);
}

TEST(AttentionPlan, WhatHasAWindowOrMoreRowsSharesNothing) {
  constexpr int kBlocks = kSpanTokens / Rows::kBlockTokens;
  AttentionPlan plan;
  Rows rows;
  for (int i = 0; i < 3; ++i) rows.AddSharing(300, kBlocks, 1);
  PlanAttention(rows.view(), ShapeOf(4, 2), 280, Rows::kBlockTokens, &plan);
  EXPECT_TRUE(plan.members.empty());
  EXPECT_EQ(plan.reads, 3u * 2 * 18) << "from block 1 on, which has the first token that they see";
  Rows chunks;
  const std::vector<BlockId> table(20, 5);
  for (int i = 0; i < 2; ++i) chunks.Add(256, 40, table);
  PlanAttention(chunks.view(), ShapeOf(4, 2), 0, Rows::kBlockTokens, &plan);
  EXPECT_TRUE(plan.members.empty());
  // Two teams for each KV head: of 32 rows and of 8.
  EXPECT_EQ(plan.reads, 2u * 2 * (18 + 19));
}

TEST(AttentionPlan, FewRowsGetAUnitForEachSpanAndManyOneForAll) {
  AttentionPlan plan;
  Rows decode;
  decode.Add(1023, 1);
  PlanAttention(decode.view(), ShapeOf(8, 2), 0, 16, &plan);
  ASSERT_EQ(plan.units.size(), 2u * 4);  // KV heads, spans
  for (const AttentionUnit& unit : plan.units) EXPECT_EQ(unit.spans, 1);
  Rows chunk;
  chunk.Add(1000, 24);
  PlanAttention(chunk.view(), ShapeOf(8, 2), 0, 16, &plan);
  ASSERT_EQ(plan.units.size(), 2u * 8);  // 4 rows of 4 heads in a unit, 2 teams for a KV head
  for (const AttentionUnit& unit : plan.units) EXPECT_EQ(unit.spans, unit.rows == 0 ? 0 : 4);
  EXPECT_EQ(plan.singles, 0u);
}

TEST(AttentionPlan, ALaunchForSingleUnitsAndOneForTeams) {
  AttentionPlan plan;
  Rows rows;
  rows.Add(300, 20);  // 5 units of 4 rows of 4 heads: 2 teams for each KV head
  rows.Add(255, 1);
  PlanAttention(rows.view(), ShapeOf(8, 2), 0, 16, &plan);
  const auto [singles, teams] = LaunchesOf(plan, {.units = plan.units.data(), .heads = 8});
  EXPECT_EQ(singles.unit_count, 2);
  EXPECT_EQ(singles.team, 1);
  EXPECT_EQ(singles.units[0].first_row, 20);
  EXPECT_EQ(teams.unit_count, 2 * 8);
  EXPECT_EQ(teams.team, 4);
  EXPECT_EQ(teams.heads, 8);
  EXPECT_EQ(teams.units, plan.units.data() + 2);
  EXPECT_EQ(teams.units[4].first_row, 16);
  for (const int absent : {5, 6, 7, 13, 14, 15}) EXPECT_EQ(teams.units[absent].rows, 0) << absent;
}

TEST(AttentionPlan, WindowsLeaveOutSpans) {
  AttentionPlan plan;
  Rows rows;
  rows.Add(2000, 1);
  // The window begins at 2000 - w + 1: exactly at span 6 (1536), or one token before.
  for (const auto& [window, spans] :
       std::vector<std::pair<int, size_t>>{{465, 2}, {466, 3}, {1, 1}, {0, 8}}) {
    PlanAttention(rows.view(), ShapeOf(4, 1), window, 16, &plan);
    EXPECT_EQ(plan.units.size(), spans) << window;
    EXPECT_EQ(plan.units.front().first_span, 8 - static_cast<int>(spans)) << window;
  }
}

// Steps within the limits that need the most units: rows at the end of the context, alone or in chunks.
TEST(AttentionPlan, NeverNeedsMoreThanItsBound) {
  AttentionPlan plan;
  for (const auto& [heads, kv_heads] : std::vector<std::pair<int, int>>{{32, 8}, {24, 1}, {4, 4}}) {
    const ModelShape shape = ShapeOf(heads, kv_heads);
    for (const int context : {100, 257, 4096, 131072}) {
      for (const int max_rows : {1, 17, 64, 512}) {
        const cuda::AttentionBound bound = BoundAttention(shape, {context, max_rows, max_rows});
        for (const int rows_of_each : {1, 16, 17}) {
          if (rows_of_each > context) continue;
          Rows rows;
          for (int left = max_rows; left > 0; left -= std::min(left, rows_of_each)) {
            const int count = std::min(left, rows_of_each);
            rows.Add(context - count, count);
          }
          PlanAttention(rows.view(), shape, 0, 16, &plan);
          ASSERT_LE(plan.units.size(), bound.units) << context << ", " << max_rows << ", " << rows_of_each;
          ASSERT_LE(static_cast<size_t>(plan.partials), bound.partials)
              << context << ", " << max_rows << ", " << rows_of_each;
        }
      }
    }
  }
  // A short context does not reserve what a long one needs.
  EXPECT_LE(BoundAttention(ShapeOf(4, 4), {256, 8, 8}).partials, 8u * 4 * 2);
}

}  // namespace
}  // namespace prefixd
