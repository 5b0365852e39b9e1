// One HTTP request and the means to answer it: what the API code sees of HTTP. No Boost here, so that only the server's own
// source files pay for it.
//
// Threads: a Handler runs on an io thread and must not block. Exchange members may be called from any thread (the engine
// thread reports tokens); the server orders them. After the answer is complete or the client is gone they do nothing,
// but for Post and PostAfter: their jobs run as long as the server does, so that the engine's last news are worked on too.
//
// Invariants
//   1. An exchange gets exactly one answer: Respond, or StartStream, Write..., EndStream.
//   2. The handler's on_disconnect is called at most once, and never after the answer was complete.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prefixd {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // upper case
  std::string path;    // percent-decoded, without the query
  std::string query;   // raw, without '?'
  HttpHeaders headers; // names in lower case
  std::string body;
  // First header of that (lower-case) name, or "".
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  HttpHeaders headers;
  std::string content_type = "application/json";
  std::string body;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual const std::string& request_id() const = 0;  // also sent as x-request-id
  virtual void Respond(HttpResponse response) = 0;
  virtual void StartStream(HttpResponse head) = 0;    // status, headers, content type; the body is the first piece
  // False when the client is gone or its backlog passed the limit; the caller then stops producing.
  [[nodiscard]] virtual bool Write(std::string piece) = 0;
  virtual void EndStream() = 0;
  // Called, as a job of Post would be, when the client goes away before the answer is complete.
  virtual void OnDisconnect(std::function<void()> callback) = 0;
  // Runs `job` on this exchange's io thread, in order with others of the same exchange: where the engine's news is worked on.
  virtual void Post(std::function<void()> job) = 0;
  // Runs `job` on a worker thread, in no order: for what would keep an io thread from other requests. False when as many jobs
  // wait as there may be; the job is dropped then.
  [[nodiscard]] virtual bool PostWork(std::function<void()> job) = 0;
  // The body was read: it is empty from now on, and no longer counts as held. Not at the same time as other uses
  // of request().
  virtual void DropBody() = 0;
  // As Post, after `seconds`; the returned function cancels it.
  virtual std::function<void()> PostAfter(double seconds, std::function<void()> job) = 0;
};

using Handler = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace prefixd
