// Exchange: one HTTP request and the means to respond to it. This is all that the API code sees of HTTP. The
// header includes no Boost, so that only the server's own .cc files compile Boost.Beast.
//
// Threads: a Handler runs on an io thread and must not block. Any thread may call any member except
// ReleaseBody and the setters at any time; the server orders the calls. For example, the engine thread posts
// jobs that write tokens.
//
// After the client has disconnected, Respond, StartStream, Write and EndStream do nothing. After the response
// is complete, Write, EndStream and OnDisconnect do nothing. Post and PostAfter still run their jobs for as
// long as the server runs, so that the last events of the engine are processed too.
//
// Invariants
//   1. A handler gives an exchange exactly one response: it calls Respond once, or it calls StartStream once,
//      then Write any number of times, then EndStream.
//   2. OnDisconnect is called at most once per exchange. Its callback runs at most once, and never after the
//      response is complete.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/http/byte_budget.h"

namespace prefixd {

struct ErrorStyle;  // error_response.h
struct Caller;      // whose request it is: the handlers know

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // upper case
  std::string path;     // percent-decoded, without the query
  std::string query;    // raw, without '?'
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::shared_ptr<const Caller> caller = nullptr;  // see SetCaller
  // Returns the value of the first header with this lower-case name, or "" when there is none.
  std::string_view header(std::string_view name) const;
};

// A long body that is written while it is sent, so that only a compact form of it is in memory. The owner of
// the response destroys it when the body is complete or the client has disconnected.
//
// Threads: one at a time.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // Appends the next part of the body to `out`: about `bytes` bytes, or less at the end, and nothing when the
  // body is complete.
  virtual void Next(size_t bytes, std::string* out) = 0;
};

struct HttpResponse {
  int status = 200;
  HttpHeaders headers;
  std::string content_type = "application/json";
  std::string body;
  std::shared_ptr<BodySource> source = nullptr;  // writes the rest of the body, after `body`; for Respond
  // Of the use kAnswer, for `body`; for Respond, which reserves what is missing.
  ByteBudget::Reservation reserved = {};
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;
  virtual const std::string& request_id() const = 0;  // also sent as x-request-id
  virtual const ErrorStyle& errors() const = 0;       // of the API that the request was sent to
  // Replaces the id. For the handler, before it responds or lets another thread use the exchange.
  virtual void SetRequestId(std::string id) = 0;
  // Notes whose request it is, and sets headers that its response has besides its own; those of a later call
  // replace them. For the handler, as above.
  virtual void SetCaller(std::shared_ptr<const Caller> caller) = 0;
  virtual void SetHeaders(HttpHeaders headers) = 0;
  // Sends the response. A body for which the byte budget has no room is replaced by a 503.
  virtual void Respond(HttpResponse response) = 0;
  // Sends status, headers and content type. The body of `head` is the first piece of the stream.
  virtual void StartStream(HttpResponse head) = 0;
  // Requires StartStream. Returns false when the client has disconnected, its backlog exceeded the limit, or
  // the byte budget has no room for the piece; the caller then stops producing. Unless disconnected(), the
  // caller writes one more piece of at most 4 KiB, which tells the client why, and ends the stream.
  [[nodiscard]] virtual bool Write(std::string piece) = 0;
  // Write, with a reservation of the use kAnswer for the piece. What it lacks is reserved.
  [[nodiscard]] virtual bool WriteReserved(std::string piece, ByteBudget::Reservation reserved) = 0;
  virtual void EndStream() = 0;
  // The client has disconnected, or its backlog exceeded the limit: it gets nothing more.
  virtual bool disconnected() const = 0;
  // The server has ended the response itself, because it stops. The callback of OnDisconnect runs then, too.
  virtual bool interrupted() const = 0;
  // Registers a callback that runs when the client disconnects before the response is complete. When the
  // client has disconnected already, posts the callback.
  virtual void OnDisconnect(std::function<void()> callback) = 0;
  // Runs `job` on an io thread. The posted jobs of one exchange run one after the other, in the order of the
  // calls.
  virtual void Post(std::function<void()> job) = 0;
  // Says that a job that was posted still waits. From now on it does not wait for long jobs of others.
  virtual void Nudge() = 0;
  // Runs `job` on a worker thread, in no particular order. For work that would block an io thread for too
  // long. Returns false, and drops the job, when the queue of the workers is full.
  [[nodiscard]] virtual bool PostWork(std::function<void()> job) = 0;
  // Frees the body of the request and returns its bytes to the byte budget. No other thread may use request()
  // at the same time.
  virtual void ReleaseBody() = 0;
  // The account of the bytes in flight. Whoever makes something large for this exchange reserves its bytes
  // first. It lives as long as the exchange does.
  virtual ByteBudget& budget() = 0;
  // Runs `job` like Post, but after `seconds`. Calling the returned function cancels the job.
  virtual std::function<void()> PostAfter(double seconds, std::function<void()> job) = 0;
};

// Runs a job and logs what it throws: an exception must not end an io thread or a worker.
void RunAndCatch(const std::function<void()>& job);

using Handler = std::function<void(std::shared_ptr<Exchange>)>;

// The style of the errors of a path. Any thread.
using ErrorStyleOf = std::function<const ErrorStyle&(std::string_view path)>;

// Whether the handler has a use for the body of a request, of which it sees the head only. When it returns
// false, the server does not read a body above kSmallBodyBytes (server.h): the handler gets the request
// without its body and answers it, and the connection closes. Runs on an io thread, and must not block.
using BodyFilter = std::function<bool(const HttpRequest&)>;

}  // namespace prefixd
