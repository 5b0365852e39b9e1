// What a match of one token costs: pairs of requests beside a running load. One request of a pair shares its
// first token with a cached prompt, the other shares none; otherwise they are alike. Each pair is sent in a
// random order, one request after the other. Prompts are token ids, so nothing comes in front of them; the
// ids are below kPairIds, which the model's vocabulary must have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/serve_load.h"

namespace prefixd::bench {

inline constexpr int kPairIds = 2000;
// Each request that shares nothing begins with an id of its own.
inline constexpr int kMaxPairs = 1500;

struct PairOptions {
  int pairs = 100;        // > 0, at most kMaxPairs
  int tokens = 60;        // of each prompt of a pair; > 1
  int load_clients = 2;   // > 0; requests of the load in flight at once
  int load_tokens = 400;  // of each prompt of the load; > 0
  uint64_t seed = 11;
};

struct PairResult {
  // Times to the first token, in seconds, of the pairs that were as intended: the server reported one cached
  // token for the first kind and none for the second.
  std::vector<double> shared, unshared;
  int failed = 0;  // requests without an answer
  int unlike = 0;  // pairs that were not as intended, or whose token had no text; their times are left out
  std::string first_error;
};

// `load` says where the server is and how to ask it; of its other members only `progress` counts, which gets
// the number of pairs done. Requests go to /v1/completions and ask for one token.
PairResult RunPairs(const PairOptions& options, const LoadOptions& load);

}  // namespace prefixd::bench
