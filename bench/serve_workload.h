// The prompts of bench/serve: conversations of made-up words. They are a function of the seed. Pure values;
// any thread.
//
// workload  requests  clients  prompt
// shared    24        8        one opening of 1,500 words; context of 60 and question of 40 words each
// cold      12        4        an opening of 400 words and a question of 40; no two begin with the same word
// turns     24        4        4 conversations of 6 turns: opening of 300 words, 80 per turn, the answers
// tenants   48        8        the opening (400 words) of one of 16 tenants and a question of 40
//
// tenants draws the tenant of each request by Zipf's law with exponent 1. The words are those of two
// syllables in bench/word_tokenizer.h: each is one token of a model that make_model writes.
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
  // 0: as in the table above.
  int requests = 0;
  int clients = 0;
  int prefix_words = 0;    // of the opening
  int question_words = 0;  // of each user message
};

// The names, in the order in which `all` runs them.
std::vector<std::string> WorkloadNames();
// `name` is one of WorkloadNames(). Each workload draws from a seed of its own: seed, + 1010, + 2010, + 3010
// for shared, cold, turns, tenants.
Workload MakeWorkload(const std::string& name, const WorkloadOptions& options);

// Requests that leave a server's cache in a used state: for every distinct opening of `workload`, one request
// for each of 1, 7, 15, 16, 17 and 40 that shares that many first words and then differs, and 8 that share
// nothing.
//
// The tree of a server that has just started is empty: no block matches in part, no path branches. The tree
// of a server that has run for a while has both. Some faults show only there: for example, requests that
// arrive together may each copy a partly matching block and then each compute the rest of a prefix that one
// could compute for all. The lengths lie around the ends of blocks of 8 and 16 tokens.
Workload MakeUsedTree(const Workload& workload, uint64_t seed);

// Times of `count` Poisson arrivals at `rate` per second, in seconds from the start; the first is at 0.
std::vector<double> PoissonArrivals(int count, double rate, uint64_t seed);

}  // namespace prefixd::bench
