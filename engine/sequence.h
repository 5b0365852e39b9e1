// Sequence: one request while the engine has it: its tokens, its hold on the cache, and the books about both.
// Engine thread only.
//
//   tokens:         0 ........ prompt_tokens ........ tokens.size()
//   KV there:       0 ...... ready()      (< tokens.size() until the step that computes the last token)
//   accounted for:  0 ........ high_water (KV was there once; computing such a token again is "recomputed")
//   told of:        0 ........ high_water (prompt positions whose logits the request asks for)
//
//   kQueued --admit--> kAcquiring --nothing left to take--> kComputing --finish--> gone
//      ^                   |                                     |
//      +-------------------+-------------- preempt --------------+
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "cache/prefix_cache.h"
#include "engine/logit_adjustment.h"
#include "engine/request.h"
#include "engine/token_counts.h"

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
        prompt_tokens(static_cast<int>(tokens.size())) {
    if (request.sampling.repetition_penalty != 1.0f) counts.AddPrompt(tokens);
  }

  const RequestId id;  // also its age: lower is older
  Request request;  // its prompt has moved into `tokens`
  std::vector<TokenId> tokens;  // prompt, then generated
  const int prompt_tokens;
  TokenCounts counts;  // of `tokens`, as far as a penalty asks for it
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

  void Append(TokenId token) {
    tokens.push_back(token);
    if (HasPenalties(request.sampling)) counts.AddGenerated(token);
  }
  // Prompt positions from high_water on, among the first `until`, whose logits the request asks for: each
  // tells of the token after it.
  int Unscored(int until) const {
    if (request.sampling.prompt_logprobs < 0) return 0;
    return std::max(0, std::min(until, prompt_tokens - 1) - high_water);
  }
  // The logits of cached positions are not there.
  bool reads_cache() const { return request.read_cache && Unscored(prompt_tokens) == 0; }

  int generated() const { return static_cast<int>(tokens.size()) - prompt_tokens; }
  int ready() const { return lease.ready(); }
  int pending() const { return static_cast<int>(tokens.size()) - ready(); }  // tokens whose KV is still to be computed
  bool decoding() const { return phase == SequencePhase::kComputing && pending() == 1 && generated() > 0; }
};

}  // namespace prefixd
