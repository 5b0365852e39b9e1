// Engine: generates tokens for requests. It owns the scheduler, the prefix cache and the KV pool. It serves
// the queue of requests in steps of the model: admit, plan, launch; collect, commit, report.
//
//   no step --plan and launch--> in flight --the backend ends--> collected --plan and launch--> in flight
//
// While a step is in flight, the engine takes new requests and cancellations, but changes nothing that the
// step reads: neither the blocks of its sequences nor anything that the backend has not copied. It reports
// the results of a step after it has launched the next one, so that the listeners work while the backend
// computes.
//
// Where the backend takes two steps at once, Advance launches the next step while one is in flight, if all
// of it is known by then but the tokens that this one draws (Scheduler::PlanAhead). A sequence that ends with
// such a token is in both; the token that the second one draws for it is dropped.
//
// Threads: any thread may call Submit, Cancel, Drain, SetTenants, idle, options, Stats and progress. One
// thread, the engine thread, calls Advance, Step, WaitForWork and CheckInvariants. Advance and Step call the
// listeners, and so does the destructor. The engine starts no thread. No other thread may use the engine
// during its destruction.
//
// Invariants
//   1. Every request that Submit accepts gets exactly one event with a finish, also when the request is
//      cancelled or a step fails.
//   2. For every request that generated a token, the counts of its PromptUsage add up to the length of its
//      prompt. EngineStats::prompt_tokens adds up to the lengths of all computed prompts.
//   3. When no request is queued or running, no step is in flight and no transfer runs, no block is leased.
//   4. The tokens and log probabilities of a request are a function of (prompt, sampling). They do not depend
//      on other requests, chunking, the cache or preemption.
//   5. When a step fails, exactly the requests with tokens in that step end with an error, and the cache
//      keeps nothing that the step computed, or a step that was launched while it was in flight.
//   6. A block that a step in flight reads or writes is leased until that step was collected.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/status.h"
#include "cache/prefix_cache.h"
#include "engine/engine_stats.h"
#include "engine/engine_view.h"
#include "engine/request.h"
#include "kernels/backend.h"

namespace prefixd {

class OtherModels;

struct EngineOptions {
  int context = 0;          // maximum number of tokens of prompt and answer together
  int max_sequences = 64;   // maximum number of sequences that run at once
  int step_tokens = 512;    // maximum number of tokens that one step computes
  double step_seconds = 0;  // longest step that is planned (engine/step_budget.h); 0: no limit
  // Maximum number of requests that wait to run, beside those that engine/inbox.h reserves.
  int max_queue = 256;
  // Maximum number of prompt tokens of all unfinished requests, beside the reserve; at least `context`.
  int64_t max_tokens_in_flight = int64_t{1} << 40;
  // Maximum number of logit rows in one step for prompts that request log probabilities. The model must have
  // these rows in addition to one row for each sequence.
  int prompt_logit_rows = 64;
  int block_tokens = 16;
  uint32_t blocks = 0;  // size of the KV pool; at least the blocks of `context` tokens, plus one
  KvType kv_dtype;
  bool prefix_cache = true;
  std::string eviction;        // a name from EvictionPolicyNames(); empty: the default
  int retained_percent = 25;   // see PrefixCache::Options
  uint32_t host_blocks = 0;    // size of the host tier; 0: there is none
  bool disk = false;           // whether there is a disk tier
  bool remote = false;         // whether there is a remote tier
  uint64_t disk_blocks = 0;    // about as many records fit there
  bool write_through = false;  // see PrefixCache::Options
  bool spills_slow_steps = false;
  LoadPolicy load_policy = LoadPolicy::kAuto;
  size_t losses = 0;  // see PrefixCache::Options
  // Estimates before anything is measured, by probes; 0: none. Seconds to load a block, by tier, and to
  // compute a token of a prompt.
  std::array<double, kTiers> load_block_seconds{};
  double prompt_token_seconds = 0;
  // Finds what the formats of answers allow where that takes the engine thread more than `mask_work` in a
  // step (engine/mask_maker.h). It outlives the engine. Null: the engine thread makes all.
  Executor* mask_executor = nullptr;
  uint64_t mask_work = grammar::TokenMasks::kMostWorkNow;
  ResidencyListener* residency = nullptr;     // outlives the engine; see PrefixCache::Options
  HotBlocks* hot = nullptr;                   // outlives the engine; what requests took from the cache
  const OtherModels* other_models = nullptr;  // outlives the engine; null: none are known
  std::vector<TokenId> eos;                   // the model's end tokens
  BlockKey fingerprint;                       // of the model; see hashing/fingerprint.h
};

// Makes the port to the lower tiers of an engine. `pool` is the KV pool of the device tier; it outlives the
// port. The port calls `wake`, from any thread, whenever a transfer has ended, and never after its
// destruction; while a step is in flight the call does nothing. The engine thread calls all members of the
// port.
using LowerTiers = std::function<std::unique_ptr<TransferPort>(KvPool& pool, std::function<void()> wake)>;

class Engine {
 public:
  // `model`, which belongs to `backend`, `backend` and `clock` must outlive the engine. `lower_tiers` may be
  // empty when the options have no lower tier. Returns kInvalidArgument when the options contradict each
  // other or the limits of the model, and kResourceExhausted when the KV pool cannot be allocated.
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options, ModelRunner* model,
                                                Backend* backend, const Clock* clock,
                                                const LowerTiers& lower_tiers = {});
  // Finishes all remaining requests, with kCancelled.
  ~Engine();

  const EngineOptions& options() const;

  // Queues a request, which must have a listener. Returns kInvalidArgument when the prompt is empty, when it
  // leaves no room for an answer in options().context, when a token id of the prompt or of logit_bias is
  // outside the vocabulary, or when the constraint is of another vocabulary or allows no token. A prompt with
  // max_tokens 0 needs no room for an answer. Returns kResourceExhausted when the queue is full or
  // max_tokens_in_flight is exceeded, and kUnavailable when the engine is draining.
  Result<RequestId> Submit(Request request);
  // The next step finishes the request, with kCancelled. No effect when the request has finished already.
  void Cancel(RequestId id);
  // Makes every later Submit fail with kUnavailable. Accepted requests continue.
  void Drain();
  // Makes the cache spill to the disk what is in memory alone, at most `most_blocks` blocks; see
  // PrefixCache::SpillAll, also for 0. It has ended when Stats() says spills_all and no pending_disk_blocks.
  void SpillAll(uint64_t most_blocks);
  // What tenants may have of the cache from the next turn of the engine thread on, in place of what was said
  // before. Requires CheckTenantCaches().
  void SetTenants(std::vector<TenantCache> tenants);
  // Returns whether no request is queued or running.
  bool idle() const;

  // Never waits for the backend. Takes submissions and cancellations. If the oldest step in flight has ended,
  // collects it. If no step is in flight then, takes ended transfers and launches the next step; if it has
  // collected or launched one, also the step after that, where it can. Then reports to the listeners. Returns
  // whether it collected or launched a step. When it returns false, there is nothing to do until WaitForWork
  // returns: a step or, without one, a transfer is under way, or there is no request. A listener must not
  // call it.
  bool Advance();
  // Advance for a program that has nothing else to do: launches a step, unless one is in flight, waits for
  // its end, and reports its results. Launches no step after it. Returns whether there was a step. There is
  // none when no request is queued or running, or when every running request waits for its KV from a lower
  // tier. A listener must not call it.
  bool Step();
  // Sleeps until a request is submitted or cancelled, a step ends, a transfer ends without a step in flight,
  // or `timeout` has passed. Returns at once where the next Advance may find work, and may return earlier.
  void WaitForWork(std::chrono::nanoseconds timeout);

  // Changes while the engine works: with every turn of the engine thread that is not waiting for the backend,
  // and with the progress of the backend in a step.
  uint64_t progress() const;

  EngineStats Stats() const;
  // For operators; any thread may call its first part.
  EngineView& view();

  // Aborts when an invariant of the engine or its cache does not hold. Engine thread only.
  void CheckInvariants() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prefixd
