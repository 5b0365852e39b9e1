// Request: what a client asks of the engine for one sequence, and the events that it gets back. Plain values.
// Any thread builds a request; after Submit the engine thread owns it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"
#include "cache/prefix_cache.h"
#include "grammar/constraint.h"
#include "kernels/logit_row.h"
#include "kernels/sampling.h"

namespace prefixd {

struct SamplingParams {
  float temperature = 1.0f;           // 0: greedy
  float top_p = 1.0f;                 // (0, 1]; 1 = off
  int top_k = 0;                      // 0 = off
  float min_p = 0.0f;                 // [0, 1); 0 = off
  uint64_t seed = 0;                  // a drawn token is a function of (seed, earlier tokens, logits)
  float repetition_penalty = 1.0f;    // > 0; for tokens of prompt and answer; 1 = off
  float presence_penalty = 0.0f;      // for tokens of the answer, once; 0 = off
  float frequency_penalty = 0.0f;     // for tokens of the answer, per occurrence; 0 = off
  std::vector<LogitBias> logit_bias;  // each token at most once, all in the vocabulary
  int max_tokens = 16;                // 0: the prompt is computed, no token is drawn
  int min_tokens = 0;                 // before that many, end and stop tokens cannot be drawn
  bool ignore_eos = false;            // the model's end tokens do not end the sequence
  std::vector<TokenId> stop_token_ids;
  int logprobs = -1;  // -1: none; n: for the drawn token and the n likeliest
  int prompt_logprobs =
      -1;  // the same for the prompt's tokens except the first; the whole prompt is computed

  // Returns whether the tokens of the answer must be counted. Only the repetition penalty needs those of the
  // prompt.
  bool HasPenalties() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
};

// The source of the KV of a prompt token.
enum class TokenSource : uint8_t { kComputed, kDevice, kHost, kDisk, kShared, kRemote };
inline constexpr int kTokenSources = 6;

// What a token that became reusable belongs to.
enum class WriteKind : uint8_t {
  kPrompt,  // a block that a prompt fills; PromptUsage::written
  kAnswer,  // a block with generated tokens
  kAgain,   // the request has read or written it before, and it was evicted since
};
inline constexpr int kWriteKinds = 3;

// Lifetimes by which some APIs tell written tokens apart, in seconds: an hour, and half a day.
inline constexpr std::array<double, 2> kLongLifetimes = {3600, 43200};

// The number of prompt tokens by source. The sum is the prompt's length from the first generated token on.
struct PromptUsage {
  std::array<int, kTokenSources> tokens{};
  // Computed tokens that became reusable for other requests, in the blocks that the prompt fills. A block
  // that the prompt begins and the answer fills is not counted: a prompt that comes again writes nothing,
  // whatever its answer is.
  int written = 0;
  // Of these: tokens that are to be kept for at least kLongLifetimes.
  std::array<int, kLongLifetimes.size()> written_for{};
  // How many leading tokens the request has asked to keep, and how many are kept.
  int asked_kept = 0, kept = 0;
  // What was decided for hits in lower tiers, and the time for which the request waited for loads and
  // computed nothing, by the tier of the block that it waited for.
  std::array<int, kLoadDecisions> load_decisions{};
  std::array<double, kTiers> load_wait_seconds{};
  int computed() const { return tokens[static_cast<int>(TokenSource::kComputed)]; }
  int total() const {
    int sum = 0;
    for (int n : tokens) sum += n;
    return sum;
  }
  int cached() const { return total() - computed(); }
  double load_wait() const {
    double sum = 0;
    for (const double seconds : load_wait_seconds) sum += seconds;
    return sum;
  }
  // Those that a tier of the cache had when the request came to them.
  int from_tiers() const { return cached() - tokens[static_cast<int>(TokenSource::kShared)]; }
};

// Why the first token of a prompt that was not in the cache had to be computed.
struct FirstMiss {
  PrefixCache::MissPlace place;
  MissReason reason = MissReason::kNeverSeen;
};

// Why tokens of a prompt were computed.
struct MissReport {
  std::array<uint64_t, kMissReasons> tokens{};  // by MissReason; sums to PromptUsage::computed()
  std::optional<FirstMiss> first;               // nothing: no token was computed
};

enum class FinishReason : uint8_t {
  kStop,       // an end token or a stop token; it is the last token reported
  kLength,     // max_tokens, or the context is full
  kCancelled,  // by Cancel, or the engine was destroyed
  kError,      // see RequestEvent::error
};
inline constexpr int kFinishReasons = 4;

struct RequestTimes {  // seconds on the engine's clock
  double submitted = 0, scheduled = 0, finished = 0;
  double first_token = 0;  // 0: none
};

// What one step did for one request.
struct RequestEvent {
  // Log probabilities of the prompt tokens 1, 2, .. in order, spread over the events up to that of the first
  // generated token, or up to the finish when max_tokens is 0.
  std::vector<GeneratedToken> prompt_logprobs;
  std::vector<GeneratedToken> tokens;
  std::optional<FinishReason> finish;        // set in the last event of a request, and only there
  PromptUsage prompt;                        // valid from the first token on, and at the finish
  std::shared_ptr<const MissReport> misses;  // with the first token, and at the finish; else null
  RequestTimes times;
  Status error;  // not ok when finish is kError
};

// Receives the events of a request on the engine thread. OnEvent must not block, throw, or call the engine's
// Step; it may call Cancel and Submit.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual void OnEvent(RequestEvent event) = 0;
};

using RequestId = uint64_t;

// Requests share KV only when both are equal. Roots are made of them (hashing/block_key.h).
struct CacheNamespace {
  std::string tenant;  // empty: requests without a tenant, which are those of a daemon without API keys
  std::string salt;
  friend bool operator==(const CacheNamespace&, const CacheNamespace&) = default;
};

// Whose work a request is, when steps are divided between tenants (engine/fair_shares.h).
struct TenantShare {
  std::string tenant;  // any text; empty without API keys
  double weight = 1;   // above 0; one with twice the weight gets twice as much
};

struct Request {
  std::string name;             // by which its caller knows it, for EngineView; any text, or none
  std::vector<TokenId> prompt;  // not empty, all in the vocabulary
  SamplingParams sampling;
  CacheNamespace cache_namespace;
  TenantShare share;
  bool read_cache = true;       // false: uses no cached KV; other requests may still use its KV
  PrefixUse prefix_use;         // what is kept of the prompt, and how much of it enters the cache
  bool repeats_prompt = false;  // a further choice of a prompt: EngineStats counts it as repeated
  // What the answer may be; null: anything. Its vocabulary is that of the model. An end token then ends the
  // answer, also with ignore_eos and before min_tokens.
  std::shared_ptr<const grammar::Constraint> constraint;
  std::shared_ptr<RequestListener> listener;  // required
};

}  // namespace prefixd
