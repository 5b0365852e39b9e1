// Fakes for tests of the API handlers: a tokenizer of single bytes, an engine that generates the tokens that
// the test gives it, and an exchange in memory.
//
// Threads: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "daemon/api/context.h"
#include "daemon/api/routes.h"
#include "daemon/http/error_response.h"
#include "daemon/http/router.h"
#include "grammar/constraint_cache.h"
#include "text/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::testing_support {

// Ids 0 to 255 are bytes. Special tokens follow.
inline constexpr TokenId kEndToken = 256;   // "<|end|>", the model's end token
inline constexpr TokenId kUserToken = 257;  // "<|user|>"
inline constexpr TokenId kAssistantToken = 258;
inline constexpr TokenId kBeginToken = 259;  // "<|begin|>", added at the front of a text
inline constexpr int kToyVocab = 260;

std::unique_ptr<Tokenizer> MakeByteTokenizer();
// A template that renders the names of the tools, the titles of the documents, "<|user|>role:text" for every
// message and "<|assistant|>". It rejects a message with the text "refuse".
std::unique_ptr<ChatTemplate> MakeToyTemplate();
std::vector<TokenId> Bytes(std::string_view text);

// Accepts requests. It generates nothing by itself.
class ScriptedEngine final : public EngineClient {
 public:
  Result<RequestId> Submit(Request request) override;
  void Cancel(RequestId id) override { cancelled.push_back(id); }

  // Request number `index` (from 0) generates the tokens; with `finish` it ends. The first call also reports
  // the log probabilities of the prompt if the request asks for them: token i has logprob -i / 8 and rank i.
  void Generate(size_t index, std::vector<TokenId> tokens, std::optional<FinishReason> finish = std::nullopt);
  void Generate(size_t index, std::string_view text, std::optional<FinishReason> finish = std::nullopt) {
    Generate(index, Bytes(text), finish);
  }
  void Fail(size_t index, Status error);
  const Request& request(size_t index) const { return requests_[index]; }
  size_t submitted() const { return requests_.size(); }

  std::vector<RequestId> cancelled;
  std::vector<Status> submit_results;  // results of the next submissions; an ok one is accepted
  int cached_tokens = 0;               // of every prompt
  int written_tokens = 0;              // by every request
  FirstMiss miss;                      // of every prompt, at the token after those that are cached
  size_t places = SIZE_MAX;            // sequences that may wait; one waits until it generates or fails
  size_t waiting() const { return waiting_.size(); }
  double queue_seconds = 0;  // that every request waited

 private:
  PromptUsage Usage(const Request& request) const;
  MissReport Misses(const Request& request) const;
  std::vector<GeneratedToken> PromptLogprobs(Request& request) const;
  std::vector<Request> requests_;
  std::set<size_t> waiting_;
  std::set<size_t> begun_;  // requests that have generated
};

// The entries of keys that are in a file as they are.
inline KeyRing::Keys PlainKeys(std::initializer_list<std::string_view> keys) {
  KeyRing::Keys entries;
  for (const std::string_view key : keys) entries.push_back(PlainKey(key));
  return entries;
}

class MemoryExchange final : public Exchange {
 public:
  // `budget` outlives the exchange.
  MemoryExchange(HttpRequest request, ByteBudget* budget) : request_(std::move(request)), budget_(budget) {}

  const HttpRequest& request() const override { return request_; }
  const std::string& request_id() const override { return id_; }
  const ErrorStyle& errors() const override { return *style; }
  void SetRequestId(std::string id) override { id_ = std::move(id); }
  void SetCaller(std::shared_ptr<const Caller> caller) override { request_.caller = std::move(caller); }
  void SetHeaders(HttpHeaders headers) override { headers_ = std::move(headers); }
  void Respond(HttpResponse response) override;
  void StartStream(HttpResponse head) override;
  [[nodiscard]] bool Write(std::string piece) override;
  [[nodiscard]] bool WriteReserved(std::string piece, ByteBudget::Reservation) override {
    return Write(std::move(piece));
  }
  void EndStream() override;
  bool disconnected() const override { return !accepting; }
  bool interrupted() const override { return stopped; }
  void OnDisconnect(std::function<void()> callback) override;
  void Post(std::function<void()> job) override { jobs_.push_back(std::move(job)); }
  void Nudge() override { ++nudges; }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override;
  bool PostWork(std::function<void()> job) override;
  void ReleaseBody() override { request_.body.clear(); }
  ByteBudget& budget() override { return *budget_; }

  // Runs the posted jobs, and those that they post, until none is left.
  void RunJobs();
  // Advances the time and runs the timers that are due.
  void AdvanceTime(double seconds);
  void Disconnect();

  std::string header(std::string_view name) const;
  const std::string& body() const { return response.body; }

  HttpResponse response;  // for a stream the body is all that was written
  int answers = 0;        // Respond or StartStream
  bool ended = false;     // complete
  bool streaming = false;
  bool stopped = false;   // by the server; set before Disconnect
  bool accepting = true;  // false: Write fails, as with a full backlog
  bool room = true;       // false: the next Write fails, as with a full budget
  bool workers = true;    // false: PostWork fails, as with a full queue
  int works = 0;          // jobs given to PostWork
  int nudges = 0;
  const ErrorStyle* style = &kOpenAiErrors;

 private:
  struct Timer {
    double due;
    std::function<void()> job;
  };
  HttpRequest request_;
  ByteBudget* const budget_;
  std::string id_ = "req_0123456789abcdef";
  HttpHeaders headers_;
  std::deque<std::function<void()>> jobs_;
  std::map<int, Timer> timers_;
  int next_timer_ = 0;
  double now_ = 0;
  bool has_callback_ = false;  // OnDisconnect was called
  std::function<void()> on_disconnect_;
};

// An API with the real routes on these fakes.
class ApiHarness {
 public:
  ApiHarness();
  // Passes a request to the routes and runs the posted jobs.
  std::shared_ptr<MemoryExchange> Request(std::string method, std::string path, std::string body = "",
                                          HttpHeaders headers = {});
  std::shared_ptr<MemoryExchange> Post(std::string path, std::string body) {
    return Request("POST", std::move(path), std::move(body));
  }

  // Before the engine, whose listeners hold reservations. A test may replace it before its first request.
  std::unique_ptr<ByteBudget> budget = std::make_unique<ByteBudget>(512 << 20, 16 << 20);
  ScriptedEngine engine;
  ServerState state;
  ManualClock clock;
  ApiContext context;
  Router router;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_;
  std::unique_ptr<grammar::ConstraintCache> constraints_;
  std::atomic<uint64_t> seeds_{1};
};

}  // namespace prefixd::testing_support
