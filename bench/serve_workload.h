// The prompts of bench/serve: conversations of made-up words. Equal options give equal prompts. Pure values;
// any thread.
//
// workload  requests  clients  prompt
// shared    24        8        one opening of 1,500 words for all; 100 own words (context 60, question 40)
// cold      12        4        own opening of 400 words, question of 40; all openings begin differently
// turns     24        4        4 conversations of 6 turns: own opening of 300 words; 80 per turn; the answers
// tenants   48        8        the opening (400 words) of one of 16 tenants; question of 40
//
// The workload `tenants` draws the tenant of each request by Zipf's law with exponent 1. The words are those
// of two syllables in bench/word_tokenizer.h: each, after a space, is one token of a model that make_model
// writes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace prefixd::bench {

struct Conversation {
  std::string opening;                 // the system message
  std::vector<std::string> questions;  // the user message of each turn, without the server's answers
};

struct Workload {
  std::string name;
  int clients = 0;  // requests in flight at once
  std::vector<Conversation> conversations;

  int requests() const;  // one per question
};

struct WorkloadOptions {
  uint64_t seed = 11;
  // For each of these, 0 means the value in the table above.
  int requests = 0;
  int clients = 0;
  int prefix_words = 0;    // of the opening
  int question_words = 0;  // of each user message
  int tenants = 0;         // openings of which the conversations share one; no effect on turns and cold
};

// Returns the names in the order in which `bench/serve --workload all` runs them.
std::vector<std::string> WorkloadNames();
// Requires that `name` is one of WorkloadNames(). Each workload draws from a seed of its own: options.seed
// plus 0 for shared, 1010 for cold, 2010 for turns and 3010 for tenants.
Workload MakeWorkload(const std::string& name, const WorkloadOptions& options);

// Returns requests that bring a server's cache into the state of a cache that has served other traffic. For
// every distinct opening of `workload` and each n of 1, 7, 15, 16, 17 and 40, one request begins with the
// first n words of the opening and then differs. An opening of n words or fewer has no such request. Another
// 8 requests have openings that are unrelated to the workload.
//
// The radix tree of a server that has just started is empty: no block matches in part, and no path branches.
// The tree of a server that has run for a while has both. Some faults occur only with such a tree. For
// example, requests that arrive together may each copy a partly matching block and then each compute the rest
// of a prefix that one of them could compute for all. The values of n lie around the ends of blocks of 8 and
// 16 tokens.
Workload MakeCacheWarmup(const Workload& workload, uint64_t seed);

// Returns the times of `count` Poisson arrivals at `rate` per second, in seconds from the start. The first
// arrival is at 0.
std::vector<double> PoissonArrivals(int count, double rate, uint64_t seed);

}  // namespace prefixd::bench
