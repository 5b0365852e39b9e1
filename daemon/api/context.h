// What the API handlers work with: the loaded model's text side, the engine behind a port, limits and names.
// Filled by the lifecycle, read by io threads.
//
// The upper part is set before the server starts. The part marked "model" is set before the phase leaves
// kLoading and not changed any more: handlers look at the phase first.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "daemon/server_state.h"
#include "engine/request.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

class ChatTemplate;

// The engine, as far as the API needs it. Any thread; errors as Engine::Submit.
class TokenService {
 public:
  virtual ~TokenService() = default;
  virtual Result<RequestId> Submit(Request request) = 0;
  virtual void Cancel(RequestId id) = 0;
};

struct ApiLimits {
  int max_logprobs = 20;  // -1: the vocabulary
  int max_n = 16;         // choices of one prompt
  int max_choices = 128;  // of one request, over all its prompts
  int max_stops = 16;
  size_t max_logit_biases = 1024;         // tokens of a request's logit_bias
  size_t max_prompt_logprobs = 1u << 18;  // entries of one answer
  size_t max_word_bytes = 1024;  // of a stop string or a cache salt: every choice holds its own copy
};

// What /ready tells of one part: ("disk", "ok"), ("host", "off"), ("disk", "failed: ...").
using ReadyChecks = std::vector<std::pair<std::string, std::string>>;

struct ApiContext {
  const ServerState* state = nullptr;
  const Clock* clock = nullptr;
  std::string version;
  std::vector<std::string> model_names;  // accepted as `model`; the first is the one that lists and logs show
  std::vector<std::string> api_keys;     // none: everybody may ask
  ApiLimits limits;
  int64_t started = 0;                     // Unix seconds; `created` of the model
  std::function<std::string()> metrics;    // the text of /metrics
  std::function<ReadyChecks()> checks;     // may be empty
  std::atomic<uint64_t>* seeds = nullptr;  // counts requests that bring no seed; starts anywhere

  // Model.
  TokenService* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none
  std::string fingerprint;                      // "fp_..." of weights and build
  int context_length = 0;
  size_t max_prompt_bytes = 0;  // a longer text has more tokens than the context; 0: that cannot be told
  int vocab_size = 0;
  int cache_block_tokens = 0;  // 0: no prefix cache
  std::vector<TokenId> eos;
  SamplingParams defaults;  // temperature, top_p, top_k, min_p where a request says nothing
};

}  // namespace prefixd
