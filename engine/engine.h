// Engine: sequences in, tokens out. It owns the scheduler, the prefix cache and the KV pool, and turns the queue of requests into
// steps: admit, plan, run the model, sample, commit, report.
//
// Threads: Submit, Cancel, Drain and Stats from any thread. Step and WaitForWork from one thread, the engine thread, which
// also calls the listeners. Nothing here starts a thread.
//
// Invariants
//   1. Every submitted request gets exactly one event with a finish, also when it is cancelled or the engine fails.
//   2. PromptUsage sums to the prompt for every request that generated a token, and to the metrics in EngineStats.
//   3. At rest (nothing queued or running) no block is leased.
//   4. The tokens and log probabilities of a request are a function of (prompt, sampling): not of other requests, chunking, cache or
//      preemption.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cache/prefix_cache.h"
#include "model/transformer.h"
#include "engine/request.h"
#include "kernels/backend.h"

namespace prefixd {

// Logit rows of a step for the prompts that ask for log probabilities: a model is loaded with so many beside max_sequences.
inline constexpr int kPromptLogitRows = 64;

struct EngineOptions {
  int context = 0;           // tokens of prompt and answer together
  int max_sequences = 64;    // running at once
  int step_tokens = 512;     // rows of a step
  int max_queue = 256;       // waiting to run
  int block_tokens = 16;
  uint32_t blocks = 0;       // KV pool; at least what one sequence of `context` tokens needs
  DType kv_dtype = DType::kF32;
  bool prefix_cache = true;
  std::vector<TokenId> eos;  // end tokens of the model
  BlockKey fingerprint;      // of the model, see hashing/fingerprint.h
};

// Upper bounds of the buckets that EngineHistogram counts, in seconds; the last bucket has none.
inline constexpr std::array<double, 19> kLatencyBuckets = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5,
                                                           0.75,  1,      2.5,   5,    7.5,   10,   25,    50,  100};

struct EngineHistogram {
  std::array<uint64_t, kLatencyBuckets.size() + 1> counts{};
  double sum = 0;
  void Add(double seconds);
};

// A copy of the engine's books as of the end of a step. Counters are monotone.
struct EngineStats {
  int running = 0, waiting = 0;
  uint32_t blocks_free = 0, blocks_cached = 0, blocks_leased = 0;
  uint64_t block_bytes = 0;
  std::array<uint64_t, kTokenSources> prompt_tokens{};  // by source; counted when a request's prompt is complete
  std::array<uint64_t, kMissReasons> miss_tokens{};     // sums to prompt_tokens[computed]
  uint64_t recomputed_tokens = 0;                       // again, after a preemption
  uint64_t generation_tokens = 0;
  uint64_t prefix_queries = 0, prefix_hits = 0;         // prompt tokens asked for, found
  uint64_t preemptions = 0;
  std::array<uint64_t, kFinishReasons> finished{};
  double prefill_tokens_per_second = 0;                 // running estimate
  EngineHistogram time_to_first_token, inter_token, end_to_end, queue_time, step_time;
  PrefixCacheStats cache;
};

class Engine {
 public:
  // `model`, `backend` and `clock` outlive the engine. kInvalidArgument for options that cannot work, kResourceExhausted when the
  // pool cannot be had.
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options, Transformer* model, Backend* backend,
                                                const Clock* clock);
  ~Engine();

  const EngineOptions& options() const;

  // Queues a request. kInvalidArgument: empty prompt, a token or a token's bias outside the vocabulary, prompt over the context (see
  // options().context; callers that have their own words for it check before). kResourceExhausted: the queue is full.
  // kUnavailable: draining.
  Result<RequestId> Submit(Request request);
  // Ends a request at the next step, if it still runs; its listener hears kCancelled.
  void Cancel(RequestId id);
  // From now on Submit refuses; what was accepted goes on.
  void Drain();
  // Nothing queued, nothing running.
  bool idle() const;

  // One round: takes submissions and cancellations, runs at most one model step. False when there was nothing to run.
  bool Step();
  // Sleeps until a request is submitted or cancelled, or `timeout` has passed. May return earlier.
  void WaitForWork(std::chrono::nanoseconds timeout);

  EngineStats Stats() const;

  // Engine thread. Proves the invariants of the engine and its cache.
  void CheckInvariants() const;

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prefixd
