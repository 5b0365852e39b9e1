// The prompts of bench/serve: conversations of made-up words, a function of the seed. Pure values; any thread.
//
// workload  requests  clients  prompt
// shared    24        8        one opening of 1,500 words for all; 60 words of context and a question of 40 words each
// cold      12        4        an opening of 400 words and a question of 40 words; nothing is shared, from the first word
// turns     24        4        conversations of 6 turns; an opening of 300 words, then 80 words per turn and the answers
// tenants   48        8        openings of 400 words of 16 tenants, drawn by Zipf's law (exponent 1); a question of 40 words
//
// The words are those of two syllables of bench/word_tokenizer.h: one token each for a model of bench/make_model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace prefixd::bench {

struct Conversation {
  std::string opening;  // the system message
  std::vector<std::string>
      questions;  // the user message of each turn; the server's answers come between them
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
// `name` is one of WorkloadNames(). Each workload draws from a seed of its own: seed, + 1010, + 2010, + 3010 for
// shared, cold, turns, tenants.
Workload MakeWorkload(const std::string& name, const WorkloadOptions& options);

// The requests that leave a server's cache in a used state: for every distinct opening of `workload` one that shares its
// first 1, 7, 15, 16, 17 and 40 words and then differs, and some that share nothing.
//
// A cache that has just started has an empty tree: nothing matches in part, no path branches, nothing is evicted. A
// server that has run for a while has all of that, and a fault there (a partly matching block that keeps requests from
// sharing one computation of the prefix) shows only then. The lengths lie around the ends of blocks of 8 and 16 tokens.
Workload MakeUsedTree(const Workload& workload, uint64_t seed);

// Times of `count` Poisson arrivals at `rate` per second, in seconds from the start; the first is at 0.
std::vector<double> PoissonArrivals(int count, double rate, uint64_t seed);

}  // namespace prefixd::bench
