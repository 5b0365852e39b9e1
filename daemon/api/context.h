// ApiContext: what the API handlers use. It holds the tokenizer and chat template of the loaded model, an
// interface to the engine, the limits and the names.
//
// Threads: the main thread fills it, io threads read it. The upper part is set before the server starts. The
// part marked "Model" is set before the phase leaves kLoading and does not change afterwards; handlers check
// the phase first.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "daemon/api/answer_counters.h"
#include "daemon/api/explain/request_memory.h"
#include "daemon/api/generated_ids.h"
#include "daemon/api/key_ring.h"
#include "daemon/api/large_body_queue.h"
#include "daemon/api/responses/response_store.h"
#include "daemon/api/submission_queue.h"
#include "daemon/http/byte_budget.h"
#include "daemon/limit_table.h"
#include "daemon/server_state.h"
#include "engine/request.h"
#include "text/call_writing.h"
#include "text/output/tool_format.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd {

class ChatTemplate;
namespace grammar {
class ConstraintCache;
}

// The part of the engine that the API uses. Any thread. Submit returns the errors of Engine::Submit.
class EngineClient {
 public:
  virtual ~EngineClient() = default;
  virtual Result<RequestId> Submit(Request request) = 0;
  virtual void Cancel(RequestId id) = 0;
};

// The option --max-logprobs, and fixed limits (limit_table.h explains them).
struct ApiLimits {
  int max_logprobs = 20;  // -1: the whole vocabulary
  int max_n = Limit("choices-per-prompt");
  int max_best_of = Limit("best-of");
  int max_choices =
      Limit("choices-per-request");  // sequences of all prompts; also the most prompts of a request
  int max_stops = Limit("stop-strings");
  size_t max_logit_biases = Limit<size_t>("logit-biases");
  size_t max_prompt_logprobs = Limit<size_t>("prompt-logprobs");  // entries of one response
  size_t max_tools = Limit<size_t>("tools");
  size_t max_tool_calls = Limit<size_t>("tool-calls");
  size_t max_stop_or_salt_bytes = Limit<size_t>("stop-or-salt-bytes");
  double stream_head_seconds = Limit<double>("stream-head-seconds");
  double ping_seconds = Limit<double>("ping-seconds");
};

// The checks of /ready: ("disk", "ok"), ("host", "off"), ("disk", "failed: ...").
using ReadyChecks = std::vector<std::pair<std::string, std::string>>;

// What GET /kv_event_sources says: where KV events are published, with ports, and how many are kept.
struct KvEventSource {
  std::string endpoint, replay_endpoint, topic;
  size_t buffered = 0, unread = 0, queued = 0;  // batches, batches, changes; at most
};

struct ApiContext {
  const ServerState* state = nullptr;
  const Clock* clock = nullptr;
  std::string version;
  std::vector<std::string> model_names;  // accepted as `model`; lists and logs show the first
  KeyRing api_keys;                      // empty: no key is required; they may change at any time
  ApiLimits limits;
  int64_t started = 0;  // Unix seconds; `created` of the model
  // The text of /metrics. `operators`: it may tell what tenants must not learn of each other.
  std::function<std::string(const InflightStats&, bool operators)> metrics;
  std::function<ReadyChecks()> checks;  // may be empty
  std::shared_ptr<LargeBodyQueue> large_bodies = std::make_shared<LargeBodyQueue>();
  std::shared_ptr<AnswerCounters> answers = std::make_shared<AnswerCounters>();
  std::shared_ptr<SubmissionQueue> submissions = std::make_shared<SubmissionQueue>();
  std::shared_ptr<ResponseStore> responses = std::make_shared<ResponseStore>();
  std::shared_ptr<RequestMemory> remembered = std::make_shared<RequestMemory>();
  std::shared_ptr<GeneratedIds> generated = std::make_shared<GeneratedIds>();
  std::atomic<uint64_t>* seeds = nullptr;  // counter for requests without a seed; any start value

  // Model.
  EngineClient* engine = nullptr;
  std::optional<KvEventSource> kv_events;
  // What one request may have in the engine beyond one sequence (submission.h): sequences that wait, and
  // prompt tokens.
  int64_t queue_share = std::numeric_limits<int64_t>::max();
  int64_t token_share = std::numeric_limits<int64_t>::max();
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none
  bool has_other_template = false;  // than the daemon before that had the directory of the disk cache
  grammar::ConstraintCache* constraints = nullptr;
  const ToolFormat* tool_format = nullptr;   // how the model writes calls of tools; null: not at all
  std::optional<CallWriting> call_writing;   // of that format
  const ReasoningTags* reasoning = nullptr;  // null: reasoning is part of the content
  std::vector<TokenId> markers;              // control tokens that the parser of the output has to see
  bool reuse_generated_ids = false;          // where a request does not say
  bool special_tokens_in_content = false;    // the contents of messages may spell control tokens
  std::string fingerprint;                   // "fp_..." of weights and build
  int context_length = 0;
  size_t max_prompt_bytes = 0;  // a longer text exceeds the context; 0: unknown
  int vocab_size = 0;
  std::optional<TokenId> bos;  // with which an empty prompt begins
  std::vector<TokenId> eos;
  SamplingParams defaults;  // used where a request does not set temperature, top_p, top_k, min_p
};

}  // namespace prefixd
