// Scheduler: which tokens the next step computes. It owns the sequences, queued and running, and drives their
// leases; it knows no model, no clock and no thread. Engine thread only.
//
// A step: decode tokens first, one for every sequence that generates, oldest first; then chunks of prompts
// under what is left of the budget, in turns, so that a long prompt does not stand before short ones. A
// sequence whose next block another one computes right now waits for that block. When blocks run out, the
// youngest sequence that is not in the plan yet is preempted: its lease goes, its tokens stay, and it queues
// again by age.
//
// Invariants
//   1. A plan has at most step_tokens rows and at most one chunk per sequence; every chunk's blocks are
//      reserved. The logits it asks for are at most prompt_logit_rows of prompt positions, and one of each
//      chunk that completes.
//   2. When something runs and no copy is under way, a plan is never empty: the oldest sequence that can
//      compute gets room, if need be by preempting all others. So nobody waits for ever, given a pool that
//      holds one sequence of the longest context.
//   3. A sequence is in exactly one of the two lists; queued ones hold no block; both lists are ordered by
//      age.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "cache/prefix_cache.h"
#include "engine/sequence.h"

namespace prefixd {

struct SchedulerLimits {
  int max_sequences;
  int step_tokens;             // >= max_sequences
  int prompt_logit_rows = 64;  // > 0
};

// Compute `tokens` tokens of the sequence from its ready() on. `completes`: they are all it has, so its last
// row gets logits if a token is to be drawn.
struct PlannedChunk {
  Sequence* sequence;
  int tokens;
  bool completes;

  // Until Commit: how many of its rows, from the one of position sequence->high_water on, get logits for the
  // sake of the prompt's tokens.
  int prompt_logits() const { return sequence->Unscored(sequence->ready() + tokens); }
};

class Scheduler {
 public:
  using SequenceList = std::list<std::unique_ptr<Sequence>>;

  // `cache` outlives the scheduler. `fingerprint` is the model's, the root of every namespace.
  Scheduler(SchedulerLimits limits, PrefixCache* cache, const BlockKey& fingerprint);

  void Enqueue(std::unique_ptr<Sequence> sequence);
  // Takes a sequence out, its lease released; null when it is not here.
  std::unique_ptr<Sequence> Remove(RequestId id);

  // Admits, acquires, preempts, and says what to compute. `on_admit` is called for each sequence that leaves
  // the queue.
  std::vector<PlannedChunk> Plan(const std::function<void(Sequence&)>& on_admit);

  // A planned chunk was computed: its full blocks enter the cache, its tokens the sequence's books.
  void Commit(const PlannedChunk& chunk);

  const SequenceList& queued() const { return queued_; }
  const SequenceList& running() const { return running_; }
  uint64_t preemptions() const { return preemptions_; }
  uint64_t recomputed_tokens() const { return recomputed_tokens_; }  // whose KV was there before a preemption
  void CheckInvariants() const;

 private:
  void Admit(const std::function<void(Sequence&)>& on_admit);
  void Acquire(Sequence& sequence);
  int64_t NeededBlocks(const Sequence& sequence) const;
  int64_t OutstandingBlocks() const;
  bool ReserveFor(Sequence& sequence, int tokens, const std::vector<PlannedChunk>& plan);
  void PlanDecodes(std::vector<PlannedChunk>* plan);
  void PlanPrefills(std::vector<PlannedChunk>* plan);
  void ExtendChunks(int budget, int logit_rows, std::vector<PlannedChunk>* plan);
  int PlanPrefill(Sequence& sequence, int tokens, std::vector<PlannedChunk>* plan);
  void PlanOldestAlone(std::vector<PlannedChunk>* plan);
  void Preempt(Sequence& sequence);
  int BlocksFor(int64_t tokens) const;

  const SchedulerLimits limits_;
  PrefixCache* const cache_;
  const BlockKey fingerprint_;
  SequenceList queued_;   // by id
  SequenceList running_;  // by id
  RequestId last_prefilled_ = 0;  // whose turn it was
  uint64_t preemptions_ = 0;
  uint64_t recomputed_tokens_ = 0;
};

}  // namespace prefixd
