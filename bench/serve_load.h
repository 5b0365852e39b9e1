// Sends a workload to a server and collects one result per request. It uses one thread for each request in
// flight.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/serve_client.h"
#include "bench/serve_statistics.h"
#include "bench/serve_workload.h"

namespace prefixd::bench {

struct LoadOptions {
  Server server;
  std::string model;
  bool chat = true;  // /v1/chat/completions; false: /v1/completions
  int64_t output_tokens = 32;
  // Above 0: an open loop with that many requests per second, as Poisson arrivals drawn from `seed`. 0: a
  // closed loop with workload.clients requests in flight.
  double rate = 0;
  uint64_t seed = 0;
  // Called after each request, from the thread that sent it, one call at a time. `done` is the number of
  // results so far. May be empty.
  std::function<void(int done)> progress;
};

struct LoadResult {
  std::vector<RequestResult> requests;  // one per request of the workload, in the order in which they ended
  double seconds = 0;                   // from the first request to the last answer
};

// Sends each turn of a conversation after the answer to its previous turn. A conversation that can send its
// next turn waits in a first-in, first-out queue. When a turn fails, the later turns of its conversation are
// not sent and count as failed. In an open loop, each arrival sends the next turn of the first conversation
// in the queue. While the queue is empty, this arrival and all later ones are delayed.
LoadResult RunLoad(const Workload& workload, const LoadOptions& options);

// Returns the JSON body of a request that asks for a stream of exactly options.output_tokens greedy tokens.
// `answers` are the server's answers to the turns before `turn`.
std::string RequestBody(const Conversation& conversation, size_t turn,
                        const std::vector<std::string>& answers, const LoadOptions& options);

}  // namespace prefixd::bench
