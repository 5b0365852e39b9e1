// Session: one connection while it is open. session.cc reads requests and calls the handler; session_send.cc
// sends the responses and watches for the end of the connection. Only these two files include this header.
//
// Threads: the strand of the connection, except for the members of Connection.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "daemon/http/post_queue.h"
#include "daemon/http/reader_deadline.h"
#include "daemon/http/response_buffer.h"
#include "daemon/http/server.h"
#include "daemon/http/session.h"
#include "daemon/http/session_request.h"
#include "daemon/limit_table.h"

namespace prefixd {

namespace asio = boost::asio;

inline constexpr size_t kReadBytes = Limit<size_t>("read-chunk");
inline constexpr size_t kPipelinedBytes = Limit<size_t>("pipelined-bytes");

class Session final : public Connection, public std::enable_shared_from_this<Session> {
 public:
  using ErrorCode = boost::system::error_code;
  using Clock = std::chrono::steady_clock;

  Session(std::unique_ptr<Stream> stream, std::shared_ptr<ServerContext> server)
      : stream_(std::move(stream)),
        socket_(stream_->socket),
        deadline_(socket_.get_executor()),
        wake_(socket_.get_executor()),
        end_check_(socket_.get_executor()),
        server_(std::move(server)),
        id_(server_->NextSessionId()),
        buffer_(server_->options.max_header_bytes + kReadBytes + kPipelinedBytes) {}

  void Start();

  // Connection:
  void Wake() override {
    asio::dispatch(socket_.get_executor(), [self = shared_from_this()] { self->OnWake(); });
  }
  bool closing() const override { return server_->closing(); }
  void Post(std::function<void()> job) override {
    server_->posts->Post(socket_.get_executor(),
                         [self = shared_from_this(), job = std::move(job)] { self->RunJob(job); });
  }
  void Nudge() override { server_->posts->Nudge(); }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override;
  bool PostWork(std::function<void()> job) override {
    return server_->PostWork([job = std::move(job)] { RunAndCatch(job); });
  }
  ByteBudget& budget() override { return server_->budget; }

 private:
  struct Watched {
    ErrorCode error;
    size_t bytes = 0;
  };
  enum class Sent : uint8_t { kAll, kPart, kLast };                   // kLast: all, and nothing follows
  enum class ReadResult { kRequest, kHeadOnly, kRejected, kClosed };  // kHeadOnly: the body was not read

  asio::awaitable<void> Run();
  asio::awaitable<bool> Handshake();
  asio::awaitable<ReadResult> ReadRequest();
  asio::awaitable<ReadResult> ReadHead();
  asio::awaitable<void> ReadHeadBytes(ErrorCode& error);
  asio::awaitable<ReadResult> ReadBody();
  asio::awaitable<void> SendContinue();
  asio::awaitable<bool> SendResponse();  // true: the connection may carry another request
  Sent SendNow();
  asio::awaitable<bool> SendRest();
  void EndPart();
  bool GivesRoom();
  void CountSlowReader(size_t sent_bytes);
  asio::awaitable<void> StopWatching();
  asio::awaitable<void> Linger();

  const ErrorStyle& ErrorsOf(std::string_view target) const;
  ResponseOptions MakeResponseOptions(bool framed);
  bool WantsBody();
  bool BodyMayFit();
  double SecondsForBody(const ReaderDeadline& pace, double passed);
  ReadResult Reject(ApiError error);
  ReadResult RejectOrClose(ErrorCode error, const char* what);
  std::optional<HttpRequest> TakeRequest();
  void CallHandler(HttpRequest request);
  void WatchForDisconnect();
  asio::awaitable<Watched> Watch();
  void WatchForEnd();
  void WatchHalfClosed(int checks);
  void OnBytesWatched(ErrorCode error, size_t bytes);
  void StartDeadline(double seconds);
  void CancelDeadline();
  void RunJob(const std::function<void()>& job);
  void OnWake();
  void CloseIfIdle();
  void Interrupt();
  void Abort();

  const std::unique_ptr<Stream> stream_;
  StreamSocket& socket_;  // of the stream
  asio::steady_timer deadline_;
  asio::steady_timer wake_;
  asio::steady_timer end_check_;
  asio::cancellation_signal watch_cancel_;
  const std::shared_ptr<ServerContext> server_;
  const uint64_t id_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<BudgetedBody>> parser_;
  ByteBudget::Reservation body_bytes_;
  ApiError rejection_;
  std::shared_ptr<ResponseBuffer> response_;
  std::optional<ReaderDeadline> pace_;  // of the client, with this response
  OutgoingBytes part_;                  // of the response, that is being sent
  size_t part_sent_ = 0;                // bytes of it
  uint64_t deadline_number_ = 0;        // counts deadlines, so that an expired one cannot end a later wait
  bool timed_out_ = false;
  bool writing_ = false;      // the rest of a part, which the system did not take at once
  bool starved_ = false;      // SendResponse waits for more of the response
  bool in_job_ = false;       // of Post or PostAfter: what it writes is sent after it, together
  bool woken_ = false;        // by the job
  bool idle_ = false;         // waits for the first byte of a request
  bool fresh_ = true;         // no byte has arrived yet
  bool last_chance_ = false;  // it is fresh, and must send its first byte within kFirstRequestSeconds
  bool reading_ = false;      // the rest of a request
  bool interrupted_ = false;  // while reading
  bool half_closed_ = false;  // the end was read: asio would wait for bytes after it until a deadline
  bool watching_ = false, watch_stopped_ = false;
};

}  // namespace prefixd
