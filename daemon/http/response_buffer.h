// ResponseBuffer: the bytes of one HTTP response between the code that produces them and the connection that
// sends them. HttpExchange is the Exchange that handlers hold. No Boost: the connection is an interface here.
//
// Threads: any; guarded by a mutex. The buffer calls its connection without holding the mutex.
//
// Invariants
//   1. The unsent bytes of a stream exceed `backlog_limit` by less than one piece. The next Write aborts the
//      response, as if the client had disconnected. A Write for which the byte budget has no room drops its
//      piece. After it one short piece, which says why, is accepted however full the budget is, then the end.
//      An end without that piece aborts the response.
//   2. The producer calls Respond or StartStream once, and OnDisconnect at most once. Calls after the end of
//      the response or after a disconnect have no effect, except that OnDisconnect after a disconnect before
//      the end posts its callback.
//   3. When an Exchange is destroyed before its response began, the response is a 500. When it is destroyed
//      within a stream, the connection is closed, so that the client sees a broken stream and not a short
//      one.
//   4. A piece of at least the limit of TakeBytes is sent from where the producer left it: its bytes are
//      neither copied nor moved, so that sending takes time in proportion to the size of an answer. Shorter
//      pieces, and the end of a longer one, may be joined; each of their bytes is copied at most once.
//   5. Interrupt ends a response as the producer could have ended it: the pieces before stay whole, and what
//      the producer does later has no effect.
//   6. Every byte from Respond and Write is reserved from the byte budget until its piece is written or
//      dropped. A disconnect drops the pieces. The piece that is being written then stays reserved until
//      MarkWritten reports the end of the write. A source holds a reservation of its own; what it wrote and
//      is not sent yet is one part of at most about the limit of TakeBytes.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "daemon/http/byte_budget.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// What a connection offers to the response that it carries. Any thread.
class Connection {
 public:
  virtual ~Connection() = default;
  // The response has changed: there are bytes to send, or it ended. It may send in the call, so the caller
  // holds no lock.
  virtual void Wake() = 0;
  virtual bool closing() const = 0;  // the server is stopping: no keep-alive
  virtual void Post(std::function<void()> job) = 0;
  virtual void Nudge() = 0;
  virtual std::function<void()> PostAfter(double seconds, std::function<void()> job) = 0;
  virtual bool PostWork(std::function<void()> job) = 0;
  virtual ByteBudget& budget() = 0;
};

struct ResponseOptions {
  std::string request_id;  // see SetRequestId
  HttpHeaders headers;     // of every response, errors included
  const ErrorStyle* errors = &kOpenAiErrors;
  bool http_1_0 = false;     // no chunked coding: closing the connection ends a stream
  bool keep_alive = true;    // the client asked for it
  bool head_only = false;    // HEAD: the body is not sent
  size_t backlog_limit = 0;  // bytes
};

// Bytes for the operating system. They live as long as `owner` does, also after a disconnect.
struct OutgoingBytes {
  std::shared_ptr<const std::string> owner;
  std::string_view bytes;
};

class ResponseBuffer {
 public:
  ResponseBuffer(ResponseOptions options, std::shared_ptr<Connection> connection);

  // For the producer; see Exchange.
  void Respond(HttpResponse response) EXCLUDES(mutex_);
  void StartStream(HttpResponse head) EXCLUDES(mutex_);
  [[nodiscard]] bool Write(std::string piece, ByteBudget::Reservation reserved = {}) EXCLUDES(mutex_);
  void EndStream() EXCLUDES(mutex_);
  void OnDisconnect(std::function<void()> callback) EXCLUDES(mutex_);
  // Responds in place of a producer that failed. Does nothing when the response has begun.
  void RespondIfUnanswered(HttpResponse response) EXCLUDES(mutex_);
  // The producer will not call again (invariant 3).
  void Abandon() EXCLUDES(mutex_);
  // Replaces the id that the response shows, or the headers besides its own. No effect after its head.
  void SetRequestId(std::string id) EXCLUDES(mutex_);
  void SetHeaders(HttpHeaders headers) EXCLUDES(mutex_);

  // For the server: ends a response that the producer has not ended. `error` is the response, or the last
  // event of a stream of events; another stream is cut. For the producer it is as if the client had
  // disconnected, but interrupted() is true.
  void Interrupt(const ApiError& error) EXCLUDES(mutex_);
  bool interrupted() const EXCLUDES(mutex_);
  // Sends bytes that mean nothing to the client, so that the system of one that has gone refuses them: an
  // interim response before the head, a comment in a stream of events. Returns false when the client does
  // not understand such bytes (HTTP/1.0).
  bool Probe() EXCLUDES(mutex_);

  // For the connection. TakeBytes returns at most `limit` bytes, and none when there are none now; requires
  // limit > 0. MarkWritten reports that the bytes taken last were handed to the operating system, or that the
  // write failed; the caller has dropped their owner.
  OutgoingBytes TakeBytes(size_t limit) EXCLUDES(mutex_);
  void MarkWritten(size_t bytes) EXCLUDES(mutex_);
  bool ended() const EXCLUDES(mutex_);    // the producer has ended the response
  bool drained() const EXCLUDES(mutex_);  // nothing is left to take, now or later
  bool aborted() const EXCLUDES(mutex_);  // disconnected, or the backlog was exceeded: nothing more is sent
  bool large() const EXCLUDES(mutex_);    // it keeps more than a short answer in memory
  bool keep_alive() const EXCLUDES(mutex_);  // sent in full, and the connection may carry another request
  // The client has disconnected. Runs the disconnect callback unless the response had ended.
  void MarkDisconnected() EXCLUDES(mutex_);

  std::string request_id() const EXCLUDES(mutex_);
  const ErrorStyle& errors() const { return *options_.errors; }
  Connection* connection() const { return connection_.get(); }

 private:
  void RespondLocked(HttpResponse response) REQUIRES(mutex_);
  // A piece, and how many bytes of the budget are reserved for it.
  struct Piece {
    std::shared_ptr<const std::string> text;
    size_t reserved;
  };
  enum class Room : uint8_t { kFound, kMissing, kExplained };
  bool WriteLocked(std::string piece, ByteBudget::Reservation given) REQUIRES(mutex_);
  bool ExplainLocked(std::string piece) REQUIRES(mutex_);
  void PushLocked(std::string bytes, size_t reserved) REQUIRES(mutex_);
  void PushSmallLocked(std::string bytes) REQUIRES(mutex_);  // at most some KiB: headers, the end of a stream
  void PopLocked() REQUIRES(mutex_);
  void PullLocked(size_t limit) REQUIRES(mutex_);
  bool chunked() const { return !options_.http_1_0; }
  HttpResponse ErrorLocked(const ApiError& error) const REQUIRES(mutex_) {
    return ErrorResponse(error, *options_.errors, request_id_);
  }
  std::string HeadLocked(const HttpResponse& response, bool stream) REQUIRES(mutex_);

  const ResponseOptions options_;
  const std::shared_ptr<Connection> connection_;
  mutable Mutex mutex_;
  ByteBudget::Reservation reserved_ GUARDED_BY(mutex_);    // of pieces_ and of what is being written
  size_t reserved_popped_ GUARDED_BY(mutex_) = 0;          // the part of reserved_ that is being written
  std::deque<Piece> pieces_ GUARDED_BY(mutex_);            // none is empty
  std::shared_ptr<BodySource> source_ GUARDED_BY(mutex_);  // writes what follows the pieces
  size_t front_taken_ GUARDED_BY(mutex_) = 0;   // bytes taken of the front piece; less than its size
  size_t unsent_bytes_ GUARDED_BY(mutex_) = 0;  // in pieces_, or taken and not yet written
  bool writing_ GUARDED_BY(mutex_) = false;     // bytes were taken and are not reported by MarkWritten
  bool keep_alive_ GUARDED_BY(mutex_);
  std::string request_id_ GUARDED_BY(mutex_);
  HttpHeaders headers_ GUARDED_BY(mutex_);        // of SetHeaders
  bool event_stream_ GUARDED_BY(mutex_) = false;  // StartStream with the content type of events
  bool interrupted_ GUARDED_BY(mutex_) = false;
  bool answered_ GUARDED_BY(mutex_) = false;  // the producer called Respond or StartStream
  bool started_ GUARDED_BY(mutex_) = false;   // the head was pushed
  bool ended_ GUARDED_BY(mutex_) = false;
  bool overflow_ GUARDED_BY(mutex_) = false;     // the backlog exceeded its limit, or the producer gave up
  Room room_ GUARDED_BY(mutex_) = Room::kFound;  // for the pieces of a stream
  bool disconnected_ GUARDED_BY(mutex_) = false;
  bool has_callback_ GUARDED_BY(mutex_) = false;  // OnDisconnect was called
  std::function<void()> on_disconnect_ GUARDED_BY(mutex_);
};

class HttpExchange final : public Exchange {
 public:
  // `body_bytes` is the reservation of the request's body; it may be empty.
  HttpExchange(HttpRequest request, ByteBudget::Reservation body_bytes,
               std::shared_ptr<ResponseBuffer> response)
      : request_(std::move(request)),
        response_(std::move(response)),
        request_id_(response_->request_id()),
        body_bytes_(std::move(body_bytes)) {}
  ~HttpExchange() override { response_->Abandon(); }

  const HttpRequest& request() const override { return request_; }
  const std::string& request_id() const override { return request_id_; }
  const ErrorStyle& errors() const override { return response_->errors(); }
  void SetRequestId(std::string id) override {
    response_->SetRequestId(id);
    request_id_ = std::move(id);
  }
  void SetCaller(std::shared_ptr<const Caller> caller) override { request_.caller = std::move(caller); }
  void SetHeaders(HttpHeaders headers) override { response_->SetHeaders(std::move(headers)); }
  void Respond(HttpResponse response) override { response_->Respond(std::move(response)); }
  void StartStream(HttpResponse head) override { response_->StartStream(std::move(head)); }
  bool Write(std::string piece) override { return response_->Write(std::move(piece)); }
  bool WriteReserved(std::string piece, ByteBudget::Reservation reserved) override {
    return response_->Write(std::move(piece), std::move(reserved));
  }
  void EndStream() override { response_->EndStream(); }
  bool disconnected() const override { return response_->aborted(); }
  bool interrupted() const override { return response_->interrupted(); }
  void OnDisconnect(std::function<void()> callback) override { response_->OnDisconnect(std::move(callback)); }
  void Post(std::function<void()> job) override { response_->connection()->Post(std::move(job)); }
  void Nudge() override { response_->connection()->Nudge(); }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override {
    return response_->connection()->PostAfter(seconds, std::move(job));
  }
  bool PostWork(std::function<void()> job) override {
    return response_->connection()->PostWork(std::move(job));
  }
  void ReleaseBody() override {
    std::string().swap(request_.body);
    body_bytes_.ShrinkTo(0);
  }
  ByteBudget& budget() override { return response_->connection()->budget(); }

 private:
  HttpRequest request_;
  const std::shared_ptr<ResponseBuffer> response_;
  std::string request_id_;
  ByteBudget::Reservation body_bytes_;  // last: destroyed before the server that `response_` keeps alive
};

}  // namespace prefixd
