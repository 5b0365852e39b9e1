// Sends a workload to a server and collects one result per request. One thread per request in flight.
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
  // Open loop: requests per second, Poisson arrivals drawn from `seed`. 0: closed loop, workload.clients at
  // once.
  double rate = 0;
  uint64_t seed = 0;
  // Called after each request, from the thread that sent it, one call at a time; may be empty.
  std::function<void(int done)> progress;
};

struct LoadResult {
  std::vector<RequestResult> requests;  // workload.requests() of them, in the order in which they ended
  double seconds = 0;                   // from the first request to the last answer
};

// Sends each turn of a conversation after the answer to its previous turn. Conversations that are ready wait
// in a first-in, first-out queue. When a turn fails, the later turns of its conversation are not sent and
// count as failed. In an open loop, each arrival sends the first request in the queue; it waits while the
// queue is empty.
LoadResult RunLoad(const Workload& workload, const LoadOptions& options);

// The JSON body of a request: a greedy stream of exactly options.output_tokens tokens. `answers` are those of
// the turns before `turn`.
std::string RequestBody(const Conversation& conversation, size_t turn,
                        const std::vector<std::string>& answers, const LoadOptions& options);

}  // namespace prefixd::bench
