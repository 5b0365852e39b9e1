// Engine: generates tokens for requests. It owns the scheduler, the prefix cache and the KV pool. It serves
// the queue of requests in steps: admit, plan, run the model, commit, sample, report.
//
// Threads: any thread may call Submit, Cancel, Drain, idle, options and Stats. One thread, the engine thread,
// calls Step, WaitForWork and CheckInvariants. Step calls the listeners, and so does the destructor. The
// engine starts no thread. No other thread may use the engine during its destruction.
//
// Invariants
//   1. Every request that Submit accepts gets exactly one event with a finish, also when the request is
//      cancelled or a step fails.
//   2. For every request that generated a token, the counts of its PromptUsage add up to the length of its
//      prompt. EngineStats::prompt_tokens adds up to the lengths of all computed prompts.
//   3. When no request is queued or running and no transfer runs, no block is leased.
//   4. The tokens and log probabilities of a request are a function of (prompt, sampling). They do not depend
//      on other requests, chunking, the cache or preemption.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cache/prefix_cache.h"
#include "engine/request.h"
#include "kernels/backend.h"
#include "model/transformer.h"

namespace prefixd {

struct EngineOptions {
  int context = 0;         // maximum number of tokens of prompt and answer together
  int max_sequences = 64;  // maximum number of sequences that run at once
  int step_tokens = 512;   // maximum number of tokens that one step computes
  int max_queue = 256;     // maximum number of requests that wait to run
  // Maximum number of logit rows in one step for prompts that request log probabilities. The model must have
  // these rows in addition to one row for each sequence.
  int prompt_logit_rows = 64;
  int block_tokens = 16;
  uint32_t blocks = 0;  // size of the KV pool; at least the blocks of `context` tokens, plus one
  DType kv_dtype = DType::kF32;
  bool prefix_cache = true;
  std::string eviction;      // a name from EvictionPolicyNames(); empty: the default
  uint32_t host_blocks = 0;  // size of the host tier; 0: there is none
  bool disk = false;         // whether there is a disk tier
  std::vector<TokenId> eos;  // the model's end tokens
  BlockKey fingerprint;      // of the model; see hashing/fingerprint.h
};

// Upper bounds of the buckets of EngineHistogram, in seconds. The last bucket has no upper bound.
inline constexpr std::array<double, 19> kLatencyBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50, 100};

struct EngineHistogram {
  std::array<uint64_t, kLatencyBuckets.size() + 1> counts{};
  double sum = 0;
  void Add(double seconds);
};

// A snapshot of the engine's statistics at the end of a step, before its events reach the listeners. So a
// listener that has an event finds it counted. Counters only grow.
struct EngineStats {
  int running = 0, waiting = 0;
  uint32_t blocks_free = 0, blocks_cached = 0, blocks_leased = 0;
  uint64_t block_bytes = 0;
  std::array<uint64_t, kTokenSources> prompt_tokens{};  // by TokenSource; counted when the prompt is computed
  std::array<uint64_t, kMissReasons> miss_tokens{};     // by MissReason; sums to prompt_tokens[kComputed]
  uint64_t recomputed_tokens = 0;                       // computed again after a preemption
  uint64_t generation_tokens = 0;
  uint64_t prefix_query_tokens = 0,
           prefix_hit_tokens = 0;  // prompt tokens: all, and those taken from the cache
  uint64_t preemptions = 0;
  std::array<uint64_t, kFinishReasons> finished{};
  double prefill_tokens_per_second = 0;  // a moving average
  EngineHistogram time_to_first_token, inter_token, end_to_end, queue_time, step_time;
  PrefixCacheStats cache;
};

// Makes the port to the lower tiers of an engine. `pool` is the KV pool of the device tier; it outlives the
// port. The port calls `wake`, from any thread, whenever a transfer has ended, and never after its
// destruction. The engine thread calls all members of the port.
using LowerTiers = std::function<std::unique_ptr<TransferPort>(KvPool& pool, std::function<void()> wake)>;

class Engine {
 public:
  // `model`, `backend` and `clock` must outlive the engine. `lower_tiers` may be empty when the options have
  // no lower tier. Returns kInvalidArgument when the options contradict each other or the limits of the
  // model, and kResourceExhausted when the KV pool cannot be allocated.
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options, Transformer* model,
                                                Backend* backend, const Clock* clock,
                                                const LowerTiers& lower_tiers = {});
  // Finishes all remaining requests, with kCancelled.
  ~Engine();

  const EngineOptions& options() const;

  // Queues a request, which must have a listener. Returns kInvalidArgument when the prompt is empty, when it
  // leaves no room for an answer in options().context, or when a token id of the prompt or of logit_bias is
  // outside the vocabulary. A prompt with max_tokens 0 needs no room for an answer. Returns
  // kResourceExhausted when the queue is full, and kUnavailable when the engine is draining.
  Result<RequestId> Submit(Request request);
  // The next step finishes the request, with kCancelled. No effect when the request has finished already.
  void Cancel(RequestId id);
  // Makes every later Submit fail with kUnavailable. Accepted requests continue.
  void Drain();
  // Returns whether no request is queued or running.
  bool idle() const;

  // Takes submissions, cancellations and ended transfers, then runs at most one model step. Returns whether
  // it ran one. It runs none when no request is queued or running, or when every running request waits for
  // its KV from a lower tier. A listener must not call it.
  bool Step();
  // Sleeps until a request is submitted or cancelled, a transfer ends, or `timeout` has passed. May return
  // earlier.
  void WaitForWork(std::chrono::nanoseconds timeout);

  EngineStats Stats() const;

  // Aborts when an invariant of the engine or its cache does not hold. Engine thread only.
  void CheckInvariants() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prefixd
