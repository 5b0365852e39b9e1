// Scheduler: decides which tokens the next step computes. It owns the queued and running sequences and
// acquires and releases their leases. It does not depend on a model, a clock or a thread. Engine thread only.
//
// A step first has one token of every sequence that generates, oldest first. Chunks of prompts follow, in
// turns, so that a long prompt does not delay short ones: as much as the StepBudget of the step allows, and
// as the limit of rows leaves. A sequence waits while another sequence computes its next block, and for loads
// that pay; while its later blocks are loaded, it may compute the earlier ones. When no block is free, the
// scheduler preempts the youngest sequence that is not in the plan: its lease is released, its tokens are
// kept, and it returns to the queue by age.
//
// Tenants take turns by their FairShares: the one with the lowest counter is admitted first, and its prompts
// have the room of a step first. The prompts of others then get at most as much beside them, so a step is at
// most twice as long for their sake. A tenant for whose sequence there is no place gets that of the tenant
// that has most of them, while this one keeps at least as many in proportion to the weights.
//
// A tenant floods that has several times as many sequences as another one, or all of them. Then the answers
// take turns that do not fit into the StepBudget: half of its room is for those that have waited longest, the
// other half for those of the tenants with the lowest counters. And while the tenant with the lowest counter
// has a prompt to compute, two of three steps are for it alone, so that a short prompt does not wait for the
// answers of the flood. Such a step preempts no answer of others.
//
// Invariants
//   1. A plan has at most step_tokens rows and at most one chunk per sequence. The blocks of every chunk are
//      reserved. The plan has logits for at most prompt_logit_rows prompt positions, and for one row of each
//      chunk that completes.
//   2. When a sequence runs and no transfer runs, a plan is never empty: the oldest sequence that can
//      compute gets blocks, if necessary by preempting all others. So no sequence waits forever, provided
//      that the pool holds one sequence of the longest context.
//   3. A sequence is in exactly one of the two lists. Queued sequences hold no block. Both lists are ordered
//      by age.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "cache/prefix_cache.h"
#include "engine/fair_shares.h"
#include "engine/sequence.h"
#include "engine/step_budget.h"
#include "engine/tenant_ghost.h"

namespace prefixd {

struct SchedulerLimits {
  int max_sequences;
  int step_tokens;             // rows of a step; >= max_sequences
  int prompt_logit_rows = 64;  // > 0
};

// A part of a step: compute `tokens` tokens of the sequence from position `begin` on, which is its ready()
// when the steps before have been committed. `completes`: they are all its pending tokens, so the last row
// gets logits if a token is to be drawn.
struct PlannedChunk {
  Sequence* sequence;
  int begin;
  int tokens;
  bool completes;

  // Whether it is the last token of an answer. Valid until the step is launched.
  bool decodes() const { return completes && tokens == 1 && sequence->coming_generated() > 0; }
  // Returns how many rows of the chunk, from position sequence->high_water on, get logits for prompt log
  // probabilities. Valid until Commit.
  int prompt_logits() const { return sequence->Unscored(begin + tokens); }
};

class Scheduler {
 public:
  using SequenceList = std::list<std::unique_ptr<Sequence>>;

  // `cache` must outlive the scheduler, and so must `ghost`, which may be null.
  Scheduler(SchedulerLimits limits, PrefixCache* cache, TenantGhost* ghost = nullptr);

  // Adds a sequence to the queue. Requires a new id and that it holds no lease.
  void Enqueue(std::unique_ptr<Sequence> sequence);
  // Removes a sequence. Releases its lease, unless steps in flight compute it: then the caller keeps it until
  // they were collected. Returns null when there is no sequence with this id.
  std::unique_ptr<Sequence> Remove(RequestId id);

  // Admits, acquires and preempts, then returns what to compute. `budget` bounds the tokens of prompts. Calls
  // `on_admit` for each sequence that leaves the queue. Requires that no step is in flight.
  std::vector<PlannedChunk> Plan(const StepBudget& budget, const std::function<void(Sequence&)>& on_admit);
  // Plans the step after those in flight: what Plan would return after their ends, if all that it can know
  // then is known now, except for the tokens that they draw and for sequences that end with one of these.
  // `ends` says which sequences certainly end with the steps in flight. Returns an empty plan when it cannot
  // say, and Plan has to: it neither admits, acquires nor preempts; and which tokens a constraint allows is
  // known only when the token before was drawn. Nor can it say which of the sequences decode where the budget
  // does not allow all.
  std::vector<PlannedChunk> PlanAhead(const StepBudget& budget,
                                      const std::function<bool(const Sequence&)>& ends);

  // Records that a planned chunk was computed: its full blocks enter the cache, and the sequence's counts are
  // updated. PrefixCache::EndStep comes first. Steps launched later may still be in flight.
  void Commit(const PlannedChunk& chunk);
  // The same for all of a chunk but its last token, which is computed again.
  void CommitAllButLast(PlannedChunk chunk);

  // Whether another tenant may come at any time, see FairShares: then steps should be short.
  bool shared(double now) { return shares_.shared(now); }
  // Null: no sequence has this id.
  Sequence* Find(RequestId id) const;
  const SequenceList& queued() const { return queued_; }
  const SequenceList& running() const { return running_; }
  uint64_t preemptions() const { return preemptions_; }
  uint64_t recomputed_tokens() const { return recomputed_tokens_; }  // tokens whose KV a preemption dropped
  // Tokens that became reusable, by WriteKind; sums to PrefixCacheStats::written_tokens.
  const std::array<uint64_t, kWriteKinds>& written_tokens() const { return written_tokens_; }
  void CheckInvariants() const;

 private:
  // What a plan may still take for prompts.
  struct Room {
    int rows;
    double units;
    int logit_rows;
    int part_rows;  // of sequences whose later blocks are loaded

    int RowsFor(const Sequence& sequence) const {
      return sequence.computes_part() ? std::min(rows, part_rows) : rows;
    }
    void Take(const Sequence& sequence, int taken_rows, double taken_units, int taken_logit_rows);
    void LimitTo(const Room& all);
  };

  struct Turn {
    RequestId id;  // since planning one may preempt another
    const FairShares::Tenant* tenant;
  };

  // What computing takes for one sequence, beside the others.
  class Computing;

  SequenceList::iterator NextQueued();
  Sequence* VictimFor(const Sequence& next) const;
  bool CanAdmit(Sequence& next) const;
  void MoveToRunning(SequenceList::iterator queued);
  void Admit(const StepBudget& budget, const std::function<void(Sequence&)>& on_admit);
  void Acquire(Sequence& sequence, const StepBudget& budget);
  void ExplainMisses(Sequence& sequence);
  void CountWait(Sequence& sequence, const PrefixCache::Acquired& got);
  int64_t NeededBlocks(const Sequence& sequence) const;
  int64_t OutstandingBlocks() const;
  bool ReserveFor(Sequence& sequence, int tokens, const FairShares::Tenant* only,
                  const std::vector<PlannedChunk>& plan);
  double LargestLoad() const;
  double DecodeUnits(const StepBudget& budget) const;
  const FairShares::Tenant* TenantOfOwnStep() const;
  void PlanFor(const FairShares::Tenant* only, const StepBudget& budget, std::vector<PlannedChunk>* plan);
  void PlanDecodes(const FairShares::Tenant* only, const StepBudget& budget, std::vector<PlannedChunk>* plan);
  Room RoomBeside(const std::vector<PlannedChunk>& decodes, const StepBudget& budget, bool own) const;
  void PlanPrefills(const FairShares::Tenant* only, const StepBudget& budget,
                    std::vector<PlannedChunk>* plan);
  void ExtendChunks(const RowCost& cost, Room room, std::vector<PlannedChunk>* plan);
  std::vector<Turn> PrefillTurns(const FairShares::Tenant* only) const;
  int PlanPrefill(Sequence& sequence, int tokens, const FairShares::Tenant* only,
                  std::vector<PlannedChunk>* plan);
  void PlanOldestAlone(const StepBudget& budget, std::vector<PlannedChunk>* plan);
  void Preempt(Sequence& sequence);
  void CountWritten(Sequence& sequence, PrefixCache::Run run);
  int BlocksFor(int64_t tokens) const;

  const SchedulerLimits limits_;
  PrefixCache* const cache_;
  TenantGhost* const ghost_;
  FairShares shares_;
  SequenceList queued_;               // by id
  SequenceList running_;              // by id
  RequestId last_prefilled_ = 0;      // the last sequence that got a turn
  bool some_wait_for_loads_ = false;  // at the beginning of the plan
  int own_steps_ = 0;                 // the last plans, as far as they were for one tenant alone
  uint64_t plans_ = 0;
  // Since when the oldest sequence has got no block, because transfers hold all that others do not; below 0:
  // it has.
  double starved_since_ = -1;
  uint64_t preemptions_ = 0;
  uint64_t recomputed_tokens_ = 0;
  std::array<uint64_t, kWriteKinds> written_tokens_{};
};

}  // namespace prefixd
