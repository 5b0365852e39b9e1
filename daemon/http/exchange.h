// Exchange: one HTTP request and the means to answer it. This is all that the API code sees of HTTP. The
// header includes no Boost, so only the server's own source files pay for Beast.
//
// Threads: a Handler runs on an io thread and must not block. Any thread may call the members of an Exchange
// (the engine thread reports tokens); the server orders the calls. After the response is complete, or after
// the client has disconnected, Write, EndStream and OnDisconnect do nothing. Post and PostAfter still run
// their jobs for as long as the server runs, so that the last events of the engine are processed too.
//
// Invariants
//   1. An exchange gets exactly one response: Respond once, or StartStream once, then Write, then EndStream.
//   2. OnDisconnect is called at most once per exchange. Its callback runs at most once, and never after the
//      response was complete.
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
  std::string method;   // upper case
  std::string path;     // percent-decoded, without the query
  std::string query;    // raw, without '?'
  HttpHeaders headers;  // names in lower case
  std::string body;
  // The first header with that lower-case name, or "".
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
  // Sends status, headers and content type. The body of `head` is the first piece of the stream.
  virtual void StartStream(HttpResponse head) = 0;
  // Requires StartStream. Returns false when the client has disconnected or its backlog exceeded the limit;
  // the caller then stops producing.
  [[nodiscard]] virtual bool Write(std::string piece) = 0;
  virtual void EndStream() = 0;
  // Registers a callback that runs, as a posted job, when the client disconnects before the response is
  // complete.
  virtual void OnDisconnect(std::function<void()> callback) = 0;
  // Runs `job` on this exchange's io thread, in order with the other jobs of this exchange.
  virtual void Post(std::function<void()> job) = 0;
  // Runs `job` on a worker thread, in no order. Used for work that would keep an io thread from other
  // requests. Returns false, and drops the job, when the queue of the workers is full.
  [[nodiscard]] virtual bool PostWork(std::function<void()> job) = 0;
  // Frees the body of the request and returns its bytes to the limit on all bodies. No other thread may use
  // request() at the same time.
  virtual void DropBody() = 0;
  // Like Post, after `seconds`. The returned function cancels the job.
  virtual std::function<void()> PostAfter(double seconds, std::function<void()> job) = 0;
};

using Handler = std::function<void(std::shared_ptr<Exchange>)>;

}  // namespace prefixd
