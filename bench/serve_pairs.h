// What a match of one token costs: pairs of requests beside a running load. One request of a pair shares its
// first token with a cached prompt, the other shares none; otherwise they are alike. Each pair is sent in a
// random order, one request after the other.
#pragma once

#include <vector>

#include "bench/serve_load.h"

namespace prefixd::bench {

struct PairOptions {
  int pairs = 100;       // > 0
  int words = 60;        // of each prompt of a pair; > 1
  int load_clients = 2;  // > 0; requests of the load in flight at once
  int load_words = 400;  // of each prompt of the load; > 0
  uint64_t seed = 11;
};

struct PairResult {
  std::vector<double> shared, unshared;  // times to the first token, in seconds
  int failed = 0;
  // Pairs whose usage does not say that one token was cached for the first kind and none for the second.
  int unlike = 0;
  std::string first_error;
};

// `load` says where the server is and how to ask it; of its other members only `progress` counts, which gets
// the number of pairs done. Requests go to /v1/completions and ask for one token.
PairResult RunPairs(const PairOptions& options, const LoadOptions& load);

}  // namespace prefixd::bench
