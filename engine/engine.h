// Engine: generates tokens for requests. It owns the scheduler, the prefix cache and the KV pool. It serves
// the queue of requests in steps: admit, plan, run the model, sample, commit, report.
//
// Threads: any thread may call Submit, Cancel, Drain, idle, options and Stats. One thread, the engine thread,
// calls Step and WaitForWork; it also calls the listeners. The engine starts no thread. No other thread may
// use the engine during its destruction.
//
// Invariants
//   1. Every submitted request gets exactly one event with a finish, also when it is cancelled or the engine
//      fails.
//   2. PromptUsage sums to the prompt's length for every request that generated a token, and so do the
//      counters of EngineStats.
//   3. When no request is queued or running, no block is leased.
//   4. The tokens and log probabilities of a request are a function of (prompt, sampling). They do not depend
//      on other requests, chunking, the cache or preemption.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cache/prefix_cache.h"
#include "engine/request.h"
#include "kernels/backend.h"
#include "model/transformer.h"

namespace prefixd {

struct EngineOptions {
  int context = 0;         // most tokens of prompt and answer together
  int max_sequences = 64;  // most sequences that run at once
  int step_tokens = 512;   // most tokens that one step computes
  int max_queue = 256;     // most requests that wait to run
  // Most logit rows of a step for prompts that request log probabilities. The model has them in addition to
  // one row for each sequence.
  int prompt_logit_rows = 64;
  int block_tokens = 16;
  uint32_t blocks = 0;  // KV pool; at least one more than a sequence of `context` tokens fills
  DType kv_dtype = DType::kF32;
  bool prefix_cache = true;
  std::vector<TokenId> eos;  // the model's end tokens
  BlockKey fingerprint;      // the model's, see hashing/fingerprint.h
};

// Upper bounds of the buckets of EngineHistogram, in seconds. The last bucket has no upper bound.
inline constexpr std::array<double, 19> kLatencyBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50, 100};

struct EngineHistogram {
  std::array<uint64_t, kLatencyBuckets.size() + 1> counts{};
  double sum = 0;
  void Add(double seconds);
};

// A snapshot of the engine's statistics at the end of a step. Counters are monotone.
struct EngineStats {
  int running = 0, waiting = 0;
  uint32_t blocks_free = 0, blocks_cached = 0, blocks_leased = 0;
  uint64_t block_bytes = 0;
  std::array<uint64_t, kTokenSources> prompt_tokens{};  // by TokenSource; counted when the prompt is computed
  std::array<uint64_t, kMissReasons> miss_tokens{};     // by MissReason; sums to prompt_tokens[kComputed]
  uint64_t recomputed_tokens = 0;                       // computed again after a preemption
  uint64_t generation_tokens = 0;
  uint64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens looked up, found
  uint64_t preemptions = 0;
  std::array<uint64_t, kFinishReasons> finished{};
  double prefill_tokens_per_second = 0;  // a moving average
  EngineHistogram time_to_first_token, inter_token, end_to_end, queue_time, step_time;
  PrefixCacheStats cache;
};

class Engine {
 public:
  // `model`, `backend` and `clock` must outlive the engine. kInvalidArgument: the options contradict each
  // other or the model. kResourceExhausted: the KV pool cannot be allocated.
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options, Transformer* model,
                                                Backend* backend, const Clock* clock);
  // Finishes every request that is left with kCancelled.
  ~Engine();

  const EngineOptions& options() const;

  // Queues a request, which must have a listener. kInvalidArgument: the prompt is empty or does not fit
  // options().context, or a token id of the prompt or of logit_bias is outside the vocabulary.
  // kResourceExhausted: the queue is full. kUnavailable: the engine is draining.
  Result<RequestId> Submit(Request request);
  // Finishes a request at the next step with kCancelled. No effect when it has finished.
  void Cancel(RequestId id);
  // Makes every later Submit fail with kUnavailable. Accepted requests continue.
  void Drain();
  // Returns whether no request is queued or running.
  bool idle() const;

  // Takes submissions and cancellations, then runs at most one model step. Returns false when no request is
  // queued or running. A listener must not call it.
  bool Step();
  // Sleeps until a request is submitted or cancelled, or `timeout` has passed. May return earlier.
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
