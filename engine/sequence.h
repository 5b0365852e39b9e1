// Sequence: one request while the engine has it: its tokens, its hold on the cache, and the books about both. Engine thread only.
//
//   tokens:   0 ........ prompt_tokens ........ tokens.size()
//   KV there: 0 ...... lease.ready()           (< tokens.size() until the step that computes the last token)
//   accounted for: 0 ........ high_water       (KV was there once; computing such a token again is "recomputed")
//
//   kQueued --admit--> kAcquiring --nothing left to take--> kComputing --finish--> gone
//      ^                   |                                     |
//      +-------------------+-------------- preempt --------------+
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "cache/prefix_cache.h"
#include "engine/request.h"

namespace prefixd {

enum class SequencePhase : uint8_t {
  kQueued,     // holds nothing
  kAcquiring,  // takes blocks that are cached, waits for a copy or for blocks that another sequence computes
  kComputing,  // planned as the budget allows
};

struct Sequence {
  Sequence(RequestId request_id, Request asked)
      : id(request_id),
        request(std::move(asked)),
        tokens(std::move(request.prompt)),
        prompt_tokens(static_cast<int>(tokens.size())) {}

  const RequestId id;  // also its age: lower is older
  Request request;  // its prompt has moved into `tokens`
  std::vector<TokenId> tokens;  // prompt, then generated
  const int prompt_tokens;
  SequencePhase phase = SequencePhase::kQueued;
  Lease lease;
  int shared_blocks = 0;  // of its table, that others were to provide when it was admitted
  int high_water = 0;
  PromptUsage usage;
  std::vector<PrefixCache::MissRun> misses;  // why the prompt tokens from usage.total() on must be computed
  std::array<uint64_t, kMissReasons> miss_tokens{};  // why those that were computed were; sums to usage.computed()
  RequestTimes times;
  double last_token_time = 0;
  bool was_scheduled = false;

  int generated() const { return static_cast<int>(tokens.size()) - prompt_tokens; }
  int ready() const { return lease.ready(); }
  int pending() const { return static_cast<int>(tokens.size()) - ready(); }  // tokens whose KV is still to be computed
  bool decoding() const { return phase == SequencePhase::kComputing && pending() == 1 && generated() > 0; }
};

}  // namespace prefixd
