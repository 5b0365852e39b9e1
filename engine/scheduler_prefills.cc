// The part of the scheduler that plans chunks of prompts.
#include <algorithm>
#include <map>
#include <utility>

#include "engine/scheduler.h"

namespace prefixd {
namespace {

// What sequences compute while their later blocks are loaded is done in short steps when others wait for
// loads: these would wait for the end of the step as well.
constexpr int kPartTokens = 128;
// Seconds that all sequences wait for the blocks of transfers, before these are withdrawn. A disk that works
// ends some sooner; what is withdrawn is not written later.
constexpr double kLongestStarving = 0.25;

int Rows(const std::vector<PlannedChunk>& plan) {
  int rows = 0;
  for (const PlannedChunk& chunk : plan) rows += chunk.tokens;
  return rows;
}

// Returns how many of the next `tokens` tokens of a sequence can be computed with at most `rows` logit rows
// for its prompt.
int FitLogits(const Sequence& sequence, int tokens, int rows) {
  if (sequence.Unscored(sequence.ready() + tokens) <= rows) return tokens;
  return sequence.high_water + rows - sequence.ready();
}

// Returns how many tokens from `position` on cost at most `units`; at most `limit`, and at least 1, so that
// prompts advance.
int Fitting(const RowCost& cost, double units, int position, int limit) {
  return std::max(1, cost.Fitting(units, position, limit));
}

}  // namespace

// What can compute a part of its prompt: the tenants in the order of their counters, and the sequences of
// each in turns: the one after the last that got a turn begins.
std::vector<Scheduler::Turn> Scheduler::PrefillTurns(const FairShares::Tenant* only) const {
  std::vector<Turn> turns;
  for (const auto& sequence : running_) {
    if (only != nullptr && sequence->tenant != only) continue;
    if (sequence->can_compute() && !sequence->decoding()) turns.push_back({sequence->id, sequence->tenant});
  }
  std::ranges::rotate(turns, std::ranges::upper_bound(turns, last_prefilled_, {}, &Turn::id));
  if (!shares_.alone()) {
    std::map<const FairShares::Tenant*, size_t> first;  // of equal counters, the one whose turn it is
    for (size_t i = 0; i < turns.size(); ++i) first.emplace(turns[i].tenant, i);
    std::ranges::stable_sort(
        turns, {}, [&](const Turn& turn) { return std::pair(turn.tenant->counter, first.at(turn.tenant)); });
  }
  return turns;
}

Scheduler::Room Scheduler::RoomBeside(const std::vector<PlannedChunk>& decodes, const StepBudget& budget,
                                      bool own) const {
  double units = 0;
  for (const PlannedChunk& chunk : decodes) units += budget.cost().Of(chunk.sequence->ready(), chunk.tokens);
  return {.rows = limits_.step_tokens - Rows(decodes),
          .units = budget.PromptUnits(units, own),
          .logit_rows = limits_.prompt_logit_rows,
          .part_rows = some_wait_for_loads_ ? kPartTokens : limits_.step_tokens};
}

void Scheduler::Room::Take(const Sequence& sequence, int taken_rows, double taken_units,
                           int taken_logit_rows) {
  rows -= taken_rows;
  units -= taken_units;
  logit_rows -= taken_logit_rows;
  if (sequence.computes_part()) part_rows -= taken_rows;
}

// What has been taken of `all` is of tenants with lower counters: leaves at most as much to the next one.
void Scheduler::Room::LimitTo(const Room& all) {
  const int taken = all.rows - rows;
  if (taken == 0) return;
  rows = std::min(rows, taken);
  units = std::min(units, all.units - units);
}

void Scheduler::PlanPrefills(const FairShares::Tenant* only, const StepBudget& budget,
                             std::vector<PlannedChunk>* plan) {
  const RowCost& cost = budget.cost();
  Room room = RoomBeside(*plan, budget, only != nullptr);
  const std::vector<Turn> turns = PrefillTurns(only);
  int left = 0;            // turns of the tenant
  bool one_waits = false;  // for logit rows: it begins in the next step
  const Room all = room;
  for (size_t i = 0; i < turns.size(); ++i) {
    const auto [id, tenant] = turns[i];
    if (i == 0 || turns[i - 1].tenant != tenant) {
      left = static_cast<int>(std::ranges::count(turns, tenant, &Turn::tenant));
      room.LimitTo(all);
    }
    if (room.rows <= 0 || room.units <= 0) break;
    const auto it = std::ranges::find(running_, id, [](auto& s) { return s->id; });
    // An equal share, but at least a quarter of the room, because small chunks read all KV for few rows.
    const int rows = std::max({room.rows / left, room.rows / 4, 1});
    const double units = std::max(room.units / left, room.units / 4);
    --left;
    if (it == running_.end() || (*it)->phase != SequencePhase::kComputing) continue;
    Sequence& sequence = **it;
    const int most = std::min({rows, room.RowsFor(sequence), sequence.computable()});
    if (most <= 0) continue;
    const int fitting = Fitting(cost, units, sequence.ready(), most);
    const int tokens = FitLogits(sequence, fitting, room.logit_rows);
    one_waits |= tokens == 0;
    if (tokens == 0) continue;
    const int planned = PlanPrefill(sequence, tokens, only, plan);
    if (planned == 0) continue;
    room.Take(sequence, planned, cost.Of(sequence.ready(), planned), plan->back().prompt_logits());
    if (!one_waits) last_prefilled_ = id;
  }
  ExtendChunks(cost, room, plan);
}

// Gives the room that short prompts left to chunks that can use it.
void Scheduler::ExtendChunks(const RowCost& cost, Room room, std::vector<PlannedChunk>* plan) {
  for (PlannedChunk& chunk : *plan) {
    if (room.rows <= 0 || room.units <= 0) break;
    Sequence& sequence = *chunk.sequence;
    const int logits = chunk.prompt_logits();
    const double units = cost.Of(sequence.ready(), chunk.tokens);
    const int fitting = cost.Fitting(units + room.units, sequence.ready(),
                                     std::min(chunk.tokens + room.RowsFor(sequence), sequence.computable()));
    const int tokens = FitLogits(sequence, fitting, logits + room.logit_rows);
    if (tokens <= chunk.tokens || !cache_->Reserve(sequence.lease, sequence.ready() + tokens)) continue;
    const int more = tokens - chunk.tokens;
    chunk.tokens = tokens;
    chunk.completes = tokens == sequence.pending();
    room.Take(sequence, more, cost.Of(sequence.ready(), tokens) - units, chunk.prompt_logits() - logits);
  }
}

// Plans up to `tokens` tokens of a prompt, fewer where blocks are short; how many it planned.
int Scheduler::PlanPrefill(Sequence& sequence, int tokens, const FairShares::Tenant* only,
                           std::vector<PlannedChunk>* plan) {
  const int64_t available =
      static_cast<int64_t>(sequence.lease.blocks().size()) + cache_->RoomFor(sequence.keys.root());
  const int64_t room = available * cache_->block_tokens() - sequence.ready();
  tokens = static_cast<int>(std::clamp<int64_t>(room, 1, tokens));
  if (!ReserveFor(sequence, sequence.ready() + tokens, only, *plan)) return 0;
  plan->push_back({&sequence, sequence.ready(), tokens, tokens == sequence.pending()});
  return tokens;
}

// Called when the plan is empty. Gives blocks to the oldest sequence that can compute, preempting all others
// if necessary, first those that only wait.
void Scheduler::PlanOldestAlone(const StepBudget& budget, std::vector<PlannedChunk>* plan) {
  Sequence* oldest = nullptr;
  for (auto& sequence : running_) {
    if (sequence->can_compute()) {
      oldest = sequence.get();
      break;
    }
  }
  if (oldest == nullptr) return;
  while (!cache_->Reserve(oldest->lease, oldest->ready() + 1)) {
    Sequence* victim = nullptr;
    for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
      if (it->get() == oldest) continue;
      const bool only_waits = (*it)->phase == SequencePhase::kAcquiring;
      if (victim == nullptr || (only_waits && victim->phase != SequencePhase::kAcquiring)) victim = it->get();
    }
    if (victim == nullptr) {  // running transfers hold the blocks; a later Poll frees them
      const double now = cache_->load_planner().now();
      if (starved_since_ < 0) starved_since_ = now;
      if (now - starved_since_ >= kLongestStarving) cache_->WithdrawTransfers();
      return;
    }
    Preempt(*victim);
  }
  const int tokens = Fitting(budget.cost(), budget.PromptUnits(0), oldest->ready(),
                             std::min(oldest->computable(), limits_.step_tokens));
  PlanPrefill(*oldest, FitLogits(*oldest, tokens, limits_.prompt_logit_rows), /*only=*/nullptr, plan);
}

}  // namespace prefixd
