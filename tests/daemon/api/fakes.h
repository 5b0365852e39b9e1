// Stand-ins for what the API handlers stand on: a tokenizer of single bytes, an engine that says what the
// test tells it, and an exchange in memory. One thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "daemon/api/context.h"
#include "daemon/api/routes.h"
#include "daemon/http/router.h"
#include "text/chat_template.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::testing_support {

// Ids 0 to 255 are bytes; then special tokens.
inline constexpr TokenId kEndToken = 256;   // "<|end|>", the model's end token
inline constexpr TokenId kUserToken = 257;  // "<|user|>"
inline constexpr TokenId kAssistantToken = 258;
inline constexpr TokenId kBeginToken = 259;  // "<|begin|>", put before a text
inline constexpr int kToyVocab = 260;

std::unique_ptr<Tokenizer> MakeByteTokenizer();
// Names of tools, titles of documents, then "<|user|>role:text" for every message and "<|assistant|>"; refuses a message that says
// "refuse".
std::unique_ptr<ChatTemplate> MakeToyTemplate();
std::vector<TokenId> Bytes(std::string_view text);

// Takes requests and answers nothing by itself.
class ScriptedEngine final : public TokenService {
 public:
  Result<RequestId> Submit(Request request) override;
  void Cancel(RequestId id) override { cancelled.push_back(id); }

  // Request number `index` (from 0) generates the tokens; with `finish` it ends. The first time it tells of its prompt too,
  // where asked: token i of it has logprob -i / 8 and rank i.
  void Say(size_t index, std::vector<TokenId> tokens, std::optional<FinishReason> finish = std::nullopt);
  void Say(size_t index, std::string_view text, std::optional<FinishReason> finish = std::nullopt) {
    Say(index, Bytes(text), finish);
  }
  void Fail(size_t index, Status error);
  const Request& request(size_t index) const { return requests_[index]; }
  size_t submitted() const { return requests_.size(); }

  std::vector<RequestId> cancelled;
  std::vector<Status> refusals;  // of the next submissions; ok passes
  int cached_tokens = 0;         // of every prompt
  double queue_seconds = 0;      // that every request waited

 private:
  PromptUsage Usage(const Request& request) const;
  std::vector<GeneratedToken> PromptLogprobs(Request& request) const;
  std::vector<Request> requests_;
};

class MemoryExchange final : public Exchange {
 public:
  explicit MemoryExchange(HttpRequest request) : request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }
  const std::string& request_id() const override { return id_; }
  void Respond(HttpResponse response) override;
  void StartStream(HttpResponse head) override;
  [[nodiscard]] bool Write(std::string piece) override;
  void EndStream() override;
  void OnDisconnect(std::function<void()> callback) override { on_disconnect_ = std::move(callback); }
  void Post(std::function<void()> job) override { jobs_.push_back(std::move(job)); }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override;
  bool PostWork(std::function<void()> job) override;
  void DropBody() override { request_.body.clear(); }

  // Runs what was posted, until nothing is left.
  void RunJobs();
  // Lets time pass: runs the timers that are due.
  void Pass(double seconds);
  void Disconnect();

  std::string header(std::string_view name) const;
  const std::string& body() const { return response.body; }

  HttpResponse response;  // body: of a stream, what was written
  int answers = 0;        // Respond or StartStream
  bool ended = false;     // complete
  bool streaming = false;
  bool accepting = true;  // false: Write refuses, as with a full backlog
  bool workers = true;    // false: PostWork refuses, as with a full queue
  int works = 0;          // jobs for them

 private:
  struct Timer {
    double due;
    std::function<void()> job;
  };
  HttpRequest request_;
  const std::string id_ = "req_0123456789abcdef";
  std::deque<std::function<void()>> jobs_;
  std::map<int, Timer> timers_;
  int next_timer_ = 0;
  double now_ = 0;
  std::function<void()> on_disconnect_;
};

// All of it together, behind the real routes.
class ApiWorld {
 public:
  ApiWorld();
  // An exchange that the routes have taken; posted jobs were run.
  std::shared_ptr<MemoryExchange> Request(std::string method, std::string path, std::string body = "",
                                          HttpHeaders headers = {});
  std::shared_ptr<MemoryExchange> Post(std::string path, std::string body) {
    return Request("POST", std::move(path), std::move(body));
  }

  ScriptedEngine engine;
  ServerState state;
  ManualClock clock;
  ApiContext context;
  Router router;

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_;
  std::atomic<uint64_t> seeds_{1};
};

}  // namespace prefixd::testing_support
