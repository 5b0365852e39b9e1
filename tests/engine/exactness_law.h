// What the tests of the law share: cache on == cache off, bit for bit. Random prompt trees, random setups of
// an engine, and a run of one on the other. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/prng.h"
#include "engine/engine.h"
#include "tests/support/engine_driver.h"

namespace prefixd::exactness {

struct Workload {
  std::vector<Request> requests;  // without listeners
};

// Prompts of up to `longest` tokens that share prefixes, cut anywhere, some repeated whole. Answers end with
// their length.
Workload MakeWorkload(uint64_t seed, int requests, int longest, int vocab);

struct Setup {
  int context = 192;
  int block_tokens = 16;
  uint32_t blocks = 1000;
  int step_tokens = 200;
  int max_sequences = 8;
  int prompt_logit_rows = 64;
  KvType kv_dtype;
  std::span<const TokenId> eos;
  bool prefix_cache = true;
  uint64_t seed = 0;  // of the moments of submission
  bool one_by_one = false;
  // Of lower tiers. A run with them needs the code that moves KV.
  uint32_t host_blocks = 0;
  bool disk = false;
  LoadPolicy load_policy = LoadPolicy::kAuto;

  std::string ToString() const;
};

// A setup within limits: `most` has the context, and the most rows and sequences of a step.
Setup RandomSetup(Prng& prng, const Setup& most, KvType type);
// The setup for requests alone: one by one, each in one chunk, without a cache.
Setup Alone(const Setup& most, KvType type);

struct Outcome {
  std::vector<std::shared_ptr<testing_support::Recorder>> heard;  // by request
  EngineStats stats;
};
// Runs all requests to their end, and waits for the transfers. `fingerprint` tells the records of one run on
// the disk from those of another.
Outcome Run(const testing_support::LoadedRunner& loaded, const Workload& workload, const Setup& setup,
            const LowerTiers& lower_tiers = {}, const BlockKey& fingerprint = {});

// Expects the same bits and the same ends in both, and no error.
void ExpectSame(const Workload& workload, const Outcome& expected, const Outcome& got);

// What the runs of a test have gone through.
struct Coverage {
  uint64_t preemptions = 0, recomputed = 0, evictions = 0, partial_copies = 0;
  uint64_t hits = 0, shared = 0, host = 0, disk = 0;
  void Add(const EngineStats& stats);
};

}  // namespace prefixd::exactness
