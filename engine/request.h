// What one sequence asks of the engine, and what it hears back. Plain values; a request is built on an io thread, then the
// engine thread owns it.
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

namespace prefixd {

struct LogitBias {
  TokenId token;
  float bias;  // added to its logit
};

struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  float top_p = 1.0f;        // (0, 1]; 1 = off
  int top_k = 0;             // 0 = off
  float min_p = 0.0f;        // [0, 1); 0 = off
  uint64_t seed = 0;         // the token at a position is a function of (seed, earlier tokens, logits) alone
  float repetition_penalty = 1.0f;  // > 0, on tokens of prompt and answer; 1 = off
  float presence_penalty = 0.0f;    // on tokens of the answer, once; 0 = off
  float frequency_penalty = 0.0f;   // on tokens of the answer, each time; 0 = off
  std::vector<LogitBias> logit_bias;  // each token at most once, all in the vocabulary
  int max_tokens = 16;       // 0: the prompt is computed, nothing drawn
  int min_tokens = 0;        // end and stop tokens cannot be drawn before
  bool ignore_eos = false;   // the model's end tokens do not end the sequence
  std::vector<TokenId> stop_token_ids;
  int logprobs = -1;         // -1: none; n: of the drawn token and of the n likeliest
  int prompt_logprobs = -1;  // the same of the prompt's tokens but the first; such a prompt is computed whole
};

// Where the KV of a prompt token came from.
enum class TokenSource : uint8_t { kComputed, kDevice, kHost, kDisk, kShared };
inline constexpr int kTokenSources = 5;

// How a prompt was served; sums to its length. Final with the first generated token.
struct PromptUsage {
  std::array<int, kTokenSources> tokens{};
  int computed() const { return tokens[static_cast<int>(TokenSource::kComputed)]; }
  int total() const {
    int sum = 0;
    for (int n : tokens) sum += n;
    return sum;
  }
  int cached() const { return total() - computed(); }
};

struct TokenLogprob {
  TokenId token;
  float logprob;  // natural log of the softmax of the unmodified logits
};

struct GeneratedToken {
  TokenId token;
  float logprob = 0;              // set when asked for
  std::vector<TokenLogprob> top;  // likeliest first; exactly as many as asked for
  int rank = 0;                   // of the token among all, from 1, in the order of `top`; set with logprob
};

enum class FinishReason : uint8_t {
  kStop,       // an end token or a stop token; it is the last token reported
  kLength,     // max_tokens, or the context is full
  kCancelled,  // by Cancel; the caller knows why
  kError,      // see RequestEvent::error
};
inline constexpr int kFinishReasons = 4;

struct RequestTimes {  // seconds on the engine's clock
  double submitted = 0, scheduled = 0, finished = 0;
};

// One step's news of one sequence.
struct RequestEvent {
  // Of prompt tokens 1, 2, .. in order, over the events up to that of the first generated token (or the finish of a request for none).
  std::vector<GeneratedToken> prompt_logprobs;
  std::vector<GeneratedToken> tokens;
  std::optional<FinishReason> finish;  // the last event of a request has one, and only that
  PromptUsage prompt;                  // valid from the first token on (and at the finish)
  RequestTimes times;
  Status error;
};

// Hears of a request on the engine thread. Must not block, throw, or call the engine's Step; Cancel and Submit are fine.
class RequestListener {
 public:
  virtual ~RequestListener() = default;
  virtual void OnEvent(RequestEvent event) = 0;
};

using RequestId = uint64_t;

struct Request {
  std::vector<TokenId> prompt;  // not empty, all in the vocabulary
  SamplingParams sampling;
  std::string tenant_salt;      // requests share KV only with the same salt
  bool read_cache = true;       // false: nothing cached or computed by others is used; what is computed is shared as ever
  std::shared_ptr<RequestListener> listener;
};

}  // namespace prefixd
