// Answer: the bytes of one HTTP answer on their way from whoever produces them to the connection that sends
// them, and the Exchange that handlers hold. No Boost here: the connection is an ExchangeHost.
//
// Threads: any; a mutex inside. The host's callbacks run outside of it.
//
// Invariants
//   1. The bytes of a stream that wait to be sent pass `backlog_limit` by less than one piece: the next piece ends the exchange as
//      if the client had gone.
//   2. Respond and StartStream count once; what comes after the end, or after the client has gone, changes
//   nothing.
//   3. An Exchange that is dropped before its answer began answers 500; one dropped within a stream breaks
//   the connection, so
//      that the client sees a torn stream and not a short one.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/http/byte_budget.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// What a connection does for the exchange that it carries. Any thread.
class ExchangeHost {
 public:
  virtual ~ExchangeHost() = default;
  virtual void Wake() = 0;           // the answer has changed
  virtual bool closing() const = 0;  // the server is about to stop: no keep-alive
  virtual void Post(std::function<void()> job) = 0;
  virtual std::function<void()> PostAfter(double seconds, std::function<void()> job) = 0;
  virtual bool PostWork(std::function<void()> job) = 0;
};

struct AnswerTraits {
  std::string request_id;
  bool http_1_0 = false;   // no chunks: the end of a stream is the end of the connection
  bool keep_alive = true;  // asked for by the client
  bool head_only = false;  // HEAD
  size_t backlog_limit = 0;
};

class Answer {
 public:
  Answer(AnswerTraits traits, std::shared_ptr<ExchangeHost> host);

  // The producer's side; see Exchange.
  void Respond(HttpResponse response);
  void StartStream(HttpResponse head);
  [[nodiscard]] bool Write(std::string piece);
  void EndStream();
  void OnDisconnect(std::function<void()> callback);
  // The producer will say no more (invariant 3).
  void Abandon();

  // The connection's side. Take: at most about `limit` bytes, "" when there are none now; Written: they are
  // with the system.
  std::string Take(size_t limit);
  void Written(size_t bytes);
  // Nothing more will come: everything was taken, or the client is gone.
  bool finished() const;
  bool cut() const;         // the client is gone, or did not read
  bool ended() const;       // the producer is done
  bool keep_alive() const;  // complete, and the connection may carry another request
  // The client is gone. Runs the disconnect callback, if the answer had not ended.
  void MarkGone();

  const std::string& request_id() const { return traits_.request_id; }
  ExchangeHost* host() const { return host_.get(); }

 private:
  void PushLocked(std::string bytes);
  std::string Head(const HttpResponse& response, bool stream);

  const AnswerTraits traits_;
  const std::shared_ptr<ExchangeHost> host_;
  mutable std::mutex mutex_;
  std::deque<std::string> pieces_;
  size_t waiting_bytes_ = 0;  // in pieces_ or taken, not yet written
  bool keep_alive_;
  bool started_ = false, ended_ = false, overflow_ = false, gone_ = false;
  std::function<void()> on_disconnect_;
};

class HttpExchange final : public Exchange {
 public:
  // `held`: what the body counts for.
  HttpExchange(HttpRequest request, ByteBudget::Share held, std::shared_ptr<Answer> answer)
      : request_(std::move(request)), answer_(std::move(answer)), held_(std::move(held)) {}
  ~HttpExchange() override { answer_->Abandon(); }

  const HttpRequest& request() const override { return request_; }
  const std::string& request_id() const override { return answer_->request_id(); }
  void Respond(HttpResponse response) override { answer_->Respond(std::move(response)); }
  void StartStream(HttpResponse head) override { answer_->StartStream(std::move(head)); }
  bool Write(std::string piece) override { return answer_->Write(std::move(piece)); }
  void EndStream() override { answer_->EndStream(); }
  void OnDisconnect(std::function<void()> callback) override { answer_->OnDisconnect(std::move(callback)); }
  void Post(std::function<void()> job) override { answer_->host()->Post(std::move(job)); }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override {
    return answer_->host()->PostAfter(seconds, std::move(job));
  }
  bool PostWork(std::function<void()> job) override { return answer_->host()->PostWork(std::move(job)); }
  void DropBody() override {
    std::string().swap(request_.body);
    ByteBudget::Share freed = std::move(held_);
  }

 private:
  HttpRequest request_;
  const std::shared_ptr<Answer> answer_;
  ByteBudget::Share held_;  // goes before the server that the answer keeps
};

}  // namespace prefixd
