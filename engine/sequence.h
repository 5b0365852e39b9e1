// Sequence: one request while the engine runs it: its tokens, its lease and the statistics of both. Engine
// thread only.
//
//   tokens:      0 ........ prompt_tokens ........ tokens.size()
//   KV present:  0 ...... ready()      (< tokens.size() until the step that computes the last token)
//   KV recorded: 0 ........ high_water
// The KV below high_water was present once, and the log probabilities of its prompt positions have been
// reported. A token below high_water that is computed again, after a preemption, counts as recomputed.
//
//   kQueued --admit--> kAcquiring --no block left to take--> kComputing --finish--> removed
//      ^                   |  ^                                  |  |
//      |                   |  +--- before `until`, each step ----+  |
//      +-------------------+-------------- preempt -----------------+
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "cache/prefix_cache.h"
#include "engine/fair_shares.h"
#include "engine/other_models.h"
#include "engine/request.h"
#include "engine/request_trace.h"
#include "engine/tenant_ghost.h"
#include "engine/token_counts.h"

namespace prefixd {

enum class SequencePhase : uint8_t {
  kQueued,     // holds no block
  kAcquiring,  // takes cached blocks, or waits for a lower tier or for blocks that another sequence computes
  kComputing,  // gets chunks as the budget allows
};

struct Sequence {
  // `block_keys` are those of a new sequence in the namespace of the request.
  Sequence(RequestId request_id, Request asked, BlockKeys block_keys)
      : id(request_id),
        request(std::move(asked)),
        tokens(std::move(request.prompt)),
        prompt_tokens(static_cast<int>(tokens.size())),
        keys(std::move(block_keys)) {
    keys.Extend(tokens);
    if (request.sampling.repetition_penalty != 1.0f) counts.AddPrompt(tokens);
    if (request.constraint != nullptr) constraint.emplace(request.constraint, tokens);
    SetAllowed();
  }

  const RequestId id;           // also its age: a lower id is older
  Request request;              // its prompt has been moved into `tokens`
  std::vector<TokenId> tokens;  // prompt, then generated
  const int prompt_tokens;
  BlockKeys keys;                 // of `tokens`
  std::vector<uint64_t> digests;  // of its prompt, for TenantGhost; none without a tenant
  int other_model = 0;            // leading tokens of its prompt that another model has, see OtherModels
  TokenCounts counts;             // counts of `tokens`, as far as a penalty needs them
  std::optional<grammar::ConstraintState> constraint;  // after the answer in `tokens`
  // Its mask; null without a constraint, and where the constraint has none because it is too ambiguous.
  // Nobody changes it while a step in flight draws.
  std::shared_ptr<const grammar::TokenMask> allowed;
  bool awaits_mask = false;  // it is not known yet, and nothing is computed until then (engine/mask_maker.h)
  FairShares::Tenant* tenant = nullptr;  // while a scheduler has it
  SequencePhase phase = SequencePhase::kQueued;
  Lease lease;
  int until = 0;          // while kComputing: the tokens from it on may come from a lower tier
  int shared_blocks = 0;  // blocks that other sequences were expected to provide at its admission
  int high_water = 0;
  uint64_t last_completed = 0;  // number of the plan that computed all its tokens last
  int write_mark = 0;  // full blocks below it, and tokens taken from the cache: they are not written again
  PromptUsage usage;
  std::vector<PrefixCache::MissRun> misses;  // reasons of the prompt tokens from usage.total() on
  std::array<uint64_t, kMissReasons>
      miss_tokens{};                    // computed prompt tokens by reason; sums to usage.computed()
  std::optional<FirstMiss> first_miss;  // of its prompt
  double load_wait_begun = -1;          // below 0: it does not wait for a load
  Tier loads_from = Tier::kHost;        // while it waits
  RequestTimes times;
  double last_token_time = 0;
  bool was_scheduled = false;  // it has been admitted once
  bool has_ended = false;      // it has been removed, and steps in flight still compute it
  // Of the steps in flight: how many tokens from ready() on they compute, how many tokens after `tokens` they
  // draw, and the logit row that draws the last of these, in the step launched last.
  int computing = 0;
  int drawing = 0;
  int draw_row = -1;

  // Finds out what may explain misses of its prompt beside the cache of its namespace.
  void LookElsewhere(const BlockKey& fingerprint, int block_tokens, const OtherModels* other_models) {
    const CacheNamespace& space = request.cache_namespace;
    if (!space.tenant.empty()) digests = TenantGhost::DigestsOf(fingerprint, block_tokens, tokens);
    if (other_models != nullptr) other_model = other_models->FindPrefix(space, tokens);
  }

  void Append(TokenId token) {
    if (until == static_cast<int>(tokens.size())) ++until;
    tokens.push_back(token);
    if (request.sampling.HasPenalties()) counts.AddGenerated(token);
    if (constraint) constraint->Append(token);
  }
  // Sets the mask of the next token. Call it after Append, unless the answer ends, and after Refuses.
  void SetAllowed() {
    if (constraint) allowed = constraint->Mask();
  }
  // Whether the constraint refuses a token that was drawn: then another one is drawn in its place.
  bool Refuses(TokenId token) { return constraint && constraint->Refuses(token); }
  // Whether some token may come next.
  bool has_allowed() const {
    if (!constraint) return true;
    return allowed != nullptr && std::ranges::any_of(*allowed, [](uint32_t word) { return word != 0; });
  }
  // The next token, where no other is allowed: the one that would be drawn, whatever the logits are. Not
  // where its log probability is asked for, which needs them.
  std::optional<TokenId> forced() const {
    if (allowed == nullptr || request.sampling.logprobs >= 0) return std::nullopt;
    std::optional<TokenId> only;
    for (size_t word = 0; word < allowed->size(); ++word) {
      const uint32_t bits = (*allowed)[word];
      if (bits == 0) continue;
      if (only || !std::has_single_bit(bits)) return std::nullopt;
      only = static_cast<TokenId>(word * 32 + static_cast<size_t>(std::countr_zero(bits)));
    }
    return only;
  }
  Status WhyNoneAllowed() const {
    if (allowed == nullptr)
      return InvalidArgument("the requested format is too ambiguous: an answer matches it in many ways");
    return InvalidArgument("no token of the model goes on with an answer that matches the requested format");
  }
  // Returns the number of prompt positions in [high_water, until) whose logits the request needs for prompt
  // log probabilities. The logits of a position give the log probability of the next token.
  int Unscored(int until) const {
    if (request.sampling.prompt_logprobs < 0) return 0;
    return std::max(0, std::min(until, prompt_tokens - 1) - high_water);
  }
  // A request that still needs logits of its prompt does not read the cache: the cache has KV, not logits.
  bool reads_cache() const { return request.read_cache && Unscored(prompt_tokens) == 0; }

  int generated() const { return static_cast<int>(tokens.size()) - prompt_tokens; }
  int ready() const { return lease.ready(); }
  // The number of tokens whose KV is not computed yet.
  int pending() const { return static_cast<int>(tokens.size()) - ready(); }
  bool can_compute() const { return phase == SequencePhase::kComputing && !awaits_mask; }
  // Those of them that can be computed now, where can_compute().
  int computable() const { return std::min(until, static_cast<int>(tokens.size())) - ready(); }
  // Whether its later blocks are loaded while it computes.
  bool computes_part() const {
    return phase == SequencePhase::kComputing && until < static_cast<int>(tokens.size());
  }
  bool decoding() const { return phase == SequencePhase::kComputing && pending() == 1 && generated() > 0; }

  // What the following will be when the steps in flight have ended: its tokens, those of its answer, the
  // tokens with KV, and decoding().
  int coming_tokens() const { return static_cast<int>(tokens.size()) + drawing; }
  int coming_generated() const { return generated() + drawing; }
  int coming_ready() const { return ready() + computing; }
  bool will_decode() const {
    return phase == SequencePhase::kComputing && !computes_part() && coming_generated() > 0 &&
           coming_tokens() - coming_ready() == 1;
  }
};

}  // namespace prefixd
