#include "daemon/http/session.h"

#include <poll.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "base/log.h"
#include "daemon/http/reader_deadline.h"
#include "daemon/http/request_head.h"
#include "daemon/http/response_buffer.h"
#include "daemon/http/session_request.h"
#include "daemon/limit_table.h"

namespace prefixd {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using ErrorCode = boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = Limit<size_t>("read-chunk");
constexpr size_t kWriteBytes = Limit<size_t>("write-chunk");
constexpr size_t kPipelinedBytes = Limit<size_t>("pipelined-bytes");
constexpr auto kEndCheckPeriod = std::chrono::seconds(1);
// After an error response the session reads and drops what the client still sends. Most clients send the
// whole request before they read, and would not see the response if that failed.
constexpr size_t kLingerBytes = Limit<size_t>("linger-bytes");
constexpr double kLingerSeconds = Limit<double>("linger-seconds");

double Seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

class Session final : public Connection, public std::enable_shared_from_this<Session> {
 public:
  Session(StreamSocket socket, std::shared_ptr<ServerContext> server)
      : socket_(std::move(socket)),
        deadline_(socket_.get_executor()),
        wake_(socket_.get_executor()),
        end_check_(socket_.get_executor()),
        server_(std::move(server)),
        id_(server_->NextSessionId()),
        buffer_(server_->options.max_header_bytes + kReadBytes + kPipelinedBytes) {}

  void Start();

  // Connection:
  void Wake() override {
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->OnWake(); });
  }
  bool closing() const override { return server_->closing(); }
  void Post(std::function<void()> job) override {
    asio::post(socket_.get_executor(), [job = std::move(job)] { RunAndCatch(job); });
  }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override;
  bool PostWork(std::function<void()> job) override {
    return server_->PostWork([job = std::move(job)] { RunAndCatch(job); });
  }
  ByteBudget& budget() override { return server_->budget; }

 private:
  enum class ReadResult { kRequest, kHeadOnly, kRejected, kClosed };  // kHeadOnly: the body was not read

  asio::awaitable<void> Run();
  asio::awaitable<ReadResult> ReadRequest();
  asio::awaitable<ReadResult> ReadHead();
  asio::awaitable<ReadResult> ReadBody();
  asio::awaitable<void> SendContinue();
  asio::awaitable<bool> SendResponse();  // true: the connection may carry another request
  asio::awaitable<bool> SendPart(std::string_view bytes, ReaderDeadline* deadline);
  bool GivesRoom(const ReaderDeadline& deadline);
  void CountSlowReader(size_t sent_bytes);
  asio::awaitable<void> StopWatching();
  asio::awaitable<void> Linger();

  ResponseOptions MakeResponseOptions(bool framed);
  bool WantsBody();
  bool BodyMayFit();
  double SecondsForBody(const ReaderDeadline& pace, double passed);
  ReadResult Reject(ApiError error);
  ReadResult RejectOrClose(ErrorCode error, const char* what);
  std::optional<HttpRequest> TakeRequest();
  void CallHandler(HttpRequest request);
  void WatchForDisconnect();
  void WatchForEnd();
  void OnBytesWatched(ErrorCode error, size_t bytes);
  void StartDeadline(double seconds);
  void CancelDeadline();
  void OnWake();
  void CloseIfIdle();
  void Abort();

  StreamSocket socket_;
  asio::steady_timer deadline_;
  asio::steady_timer wake_;
  asio::steady_timer end_check_;
  asio::cancellation_signal watch_cancel_;
  const std::shared_ptr<ServerContext> server_;
  const uint64_t id_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<BudgetedBody>> parser_;
  ByteBudget::Reservation body_bytes_;
  ApiError rejection_;
  std::shared_ptr<ResponseBuffer> response_;
  uint64_t deadline_number_ = 0;  // counts deadlines, so that an expired one cannot end a later wait
  bool timed_out_ = false;
  bool writing_ = false;  // a part of the response
  bool idle_ = false;     // waits for the first byte of a request
  bool watching_ = false, watch_stopped_ = false;
};

void Session::Start() {
  const auto post = [weak = weak_from_this()](void (Session::*member)()) {
    return [weak, member] {
      const auto self = weak.lock();
      if (self) asio::post(self->socket_.get_executor(), [self, member] { ((*self).*member)(); });
    };
  };
  if (!server_->AddSession(id_, {post(&Session::CloseIfIdle), post(&Session::Abort)})) return;
  asio::co_spawn(socket_.get_executor(), Run(), [self = shared_from_this()](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
      Log(LogLevel::kError, "a connection ended with an exception", {{"what", thrown.what()}});
      if (self->response_) self->response_->MarkDisconnected();
    }
    ErrorCode ignored;
    self->socket_.close(ignored);
    self->server_->RemoveSession(self->id_);
  });
}

asio::awaitable<void> Session::Run() {
  bool another = true;
  while (another) {
    const ReadResult reading = co_await ReadRequest();
    if (reading == ReadResult::kClosed) co_return;
    response_ = std::make_shared<ResponseBuffer>(MakeResponseOptions(reading == ReadResult::kRequest),
                                                 shared_from_this());
    std::optional<HttpRequest> request;
    if (reading != ReadResult::kRejected) request = TakeRequest();
    const ScopedExchangeCount count(*server_);
    if (request) {
      CallHandler(*std::move(request));
    } else {
      response_->Respond(ErrorResponse(rejection_));
    }
    another = co_await SendResponse();
    response_.reset();
  }
  co_await Linger();
}

// `framed`: the end of the request is known, so another request can follow it.
ResponseOptions Session::MakeResponseOptions(bool framed) {
  const auto& head = parser_->get();
  return {.request_id = server_->NextRequestId(),
          .http_1_0 = head.version() == 10,
          .keep_alive = framed && head.keep_alive(),
          .head_only = head.method() == http::verb::head,
          .backlog_limit = server_->options.max_backlog_bytes};
}

asio::awaitable<Session::ReadResult> Session::ReadRequest() {
  parser_.emplace();
  parser_->get().body().reserved = ByteBudget::Reservation(server_->budget, ByteBudget::Use::kBody);
  parser_->get().body().most = server_->options.max_body_bytes;
  parser_->header_limit(static_cast<uint32_t>(server_->options.max_header_bytes));
  parser_->body_limit(server_->options.max_body_bytes);
  if (buffer_.size() == 0) {
    if (server_->closing()) co_return ReadResult::kClosed;
    ErrorCode error;
    idle_ = true;
    StartDeadline(server_->options.idle_seconds);
    const size_t bytes = co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                          asio::redirect_error(asio::use_awaitable, error));
    CancelDeadline();
    idle_ = false;
    buffer_.commit(bytes);
    if (error) co_return ReadResult::kClosed;
  }
  const ReadResult head = co_await ReadHead();
  if (head != ReadResult::kRequest || parser_->is_done()) co_return head;
  co_return co_await ReadBody();
}

asio::awaitable<Session::ReadResult> Session::ReadHead() {
  ErrorCode error;
  StartDeadline(server_->options.header_seconds);
  co_await http::async_read_header(socket_, buffer_, *parser_,
                                   asio::redirect_error(asio::use_awaitable, error));
  CancelDeadline();
  if (error) co_return RejectOrClose(error, "the headers");
  const Framing framing = FramingOf(parser_->get());
  if (std::optional<ApiError> wrong = CheckFraming(framing)) co_return Reject(*std::move(wrong));
  if (!WantsBody()) co_return ReadResult::kHeadOnly;
  if (!BodyMayFit()) co_return Reject(NoRoomError(server_->budget));
  if (!framing.expect.empty() && framing.version == 11 && !parser_->is_done() && buffer_.size() == 0)
    co_await SendContinue();
  co_return ReadResult::kRequest;
}

// Whether to read the body. A request without a key, or to a path that does not exist, must not take room.
bool Session::WantsBody() {
  const auto length = parser_->content_length();
  const bool small = length ? *length <= kSmallBodyBytes : !parser_->chunked();
  if (small || !server_->wants_body) return true;
  const std::optional<HttpRequest> head = RequestFromHead(parser_->get());
  return !head || server_->wants_body(*head);
}

// Whether a body of the announced length would find room now. Its bytes are reserved when they arrive.
bool Session::BodyMayFit() {
  const auto length = parser_->content_length();
  if (!length || *length <= kSmallBodyBytes) return true;
  return server_->budget.HasRoomForBody(static_cast<size_t>(*length));
}

asio::awaitable<void> Session::SendContinue() {
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  ErrorCode ignored;  // reading the body reports the error
  StartDeadline(server_->options.reader_seconds);
  co_await asio::async_write(socket_, asio::buffer(kContinue),
                             asio::redirect_error(asio::use_awaitable, ignored));
  CancelDeadline();
}

asio::awaitable<Session::ReadResult> Session::ReadBody() {
  const HttpServerOptions& options = server_->options;
  const size_t most = buffer_.max_size() - kReadBytes;
  ReaderDeadline pace(options.body_stall_seconds, options.body_bytes_per_second);
  const Clock::time_point begun = Clock::now();
  ErrorCode error;
  parser_->eager(true);
  while (true) {
    if (buffer_.size() > 0) buffer_.consume(parser_->put(buffer_.data(), error));
    if (error == http::error::need_more) error = {};
    if (!error && parser_->is_done()) co_return ReadResult::kRequest;
    if (!error && buffer_.size() > most) error = http::error::buffer_overflow;  // a line of a chunk
    if (parser_->get().body().refused) co_return Reject(NoRoomError(server_->budget));
    if (error) co_return RejectOrClose(error, "the body");
    const Clock::time_point before = Clock::now();
    StartDeadline(SecondsForBody(pace, Seconds(before - begun)));
    const size_t bytes = co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                          asio::redirect_error(asio::use_awaitable, error));
    CancelDeadline();
    pace.Record(bytes, Seconds(Clock::now() - before));
    buffer_.commit(bytes);
    if (error == asio::error::eof) parser_->put_eof(error);
  }
}

// The time for the next bytes of the body, when `passed` seconds are over. A body that holds bytes of the
// budget must arrive steadily.
double Session::SecondsForBody(const ReaderDeadline& pace, double passed) {
  const double left = server_->options.body_seconds - passed;
  const bool holds = parser_->get().body().reserved.bytes() > 0;
  return std::max(0.0, holds ? std::min(left, pace.SecondsFor(0)) : left);
}

Session::ReadResult Session::Reject(ApiError error) {
  parser_->get().body() = {};
  rejection_ = std::move(error);
  return ReadResult::kRejected;
}

Session::ReadResult Session::RejectOrClose(ErrorCode error, const char* what) {
  std::optional<ApiError> answer = ReadErrorAnswer(error, timed_out_, what, server_->options);
  return answer ? Reject(*std::move(answer)) : ReadResult::kClosed;
}

std::optional<HttpRequest> Session::TakeRequest() {
  auto message = parser_->release();
  std::optional<HttpRequest> request = RequestFromHead(message);
  if (!request) {
    rejection_ = {.status = 400, .message = "The path of the request is not percent-encoded correctly."};
    return std::nullopt;
  }
  request->body = std::move(message.body().text);
  body_bytes_ = std::move(message.body().reserved);
  return request;
}

void Session::CallHandler(HttpRequest request) {
  auto exchange = std::make_shared<HttpExchange>(std::move(request), std::move(body_bytes_), response_);
  try {
    server_->handler(exchange);
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "a handler threw",
        {{"request_id", response_->request_id()}, {"what", error.what()}});
    response_->RespondIfUnanswered(ErrorResponse({.status = 500,
                                                  .type = "server_error",
                                                  .code = "internal_error",
                                                  .message = "The server failed on this request."}));
  }
}

asio::awaitable<bool> Session::SendResponse() {
  watch_stopped_ = false;
  if (!response_->ended()) WatchForDisconnect();
  ReaderDeadline deadline(server_->options.reader_seconds, server_->options.reader_bytes_per_second);
  bool failed = false;
  while (!failed) {
    ErrorCode error;
    OutgoingBytes taken = response_->TakeBytes(kWriteBytes);
    if (!taken.bytes.empty()) {
      failed = !co_await SendPart(taken.bytes, &deadline) || GivesRoom(deadline);
      taken.owner = nullptr;
      response_->MarkWritten(taken.bytes.size());
    } else if (response_->drained()) {
      break;
    } else {
      // Every change of the response posts a cancel of this wait to the strand, so no change is missed.
      wake_.expires_at(Clock::time_point::max());
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
  co_await StopWatching();
  const bool another = response_->keep_alive() && !failed;
  if (!another) response_->MarkDisconnected();
  co_return another;
}

// Returns false when the client disconnected or was too slow, or the response was aborted. A cancel between
// two writes has no effect, so the state is checked before each.
asio::awaitable<bool> Session::SendPart(std::string_view bytes, ReaderDeadline* deadline) {
  ErrorCode error;
  const double seconds = deadline->SecondsFor(bytes.size());
  const Clock::time_point begun = Clock::now();
  StartDeadline(std::max(seconds, 0.0));
  writing_ = true;
  size_t sent = 0;
  while (sent < bytes.size() && !error && !timed_out_ && !response_->aborted()) {
    sent += co_await socket_.async_write_some(asio::buffer(bytes.substr(sent)),
                                              asio::redirect_error(asio::use_awaitable, error));
  }
  writing_ = false;
  CancelDeadline();
  deadline->Record(bytes.size(), Seconds(Clock::now() - begun));
  if (sent < bytes.size() && timed_out_) {
    CountSlowReader(deadline->taken() - bytes.size());
  }
  co_return sent == bytes.size();
}

// Whether to disconnect a client that reads a large answer slowly while others need its room.
bool Session::GivesRoom(const ReaderDeadline& deadline) {
  if (!deadline.SlowerThan(server_->options.busy_reader_bytes_per_second) || !response_->large() ||
      !server_->budget.NeedsRoom(Clock::now()))
    return false;
  CountSlowReader(deadline.taken());
  return true;
}

void Session::CountSlowReader(size_t sent_bytes) {
  server_->budget.CountSlowReader();
  Log(LogLevel::kWarning, "a client did not read its response",
      {{"request_id", response_->request_id()}, {"sent_bytes", sent_bytes}});
}

// Keeps reading while a request is running, to detect a disconnect. The bytes read may be the next request.
void Session::WatchForDisconnect() {
  if (buffer_.size() >= kPipelinedBytes) return WatchForEnd();
  watching_ = true;
  socket_.async_read_some(
      buffer_.prepare(kReadBytes),
      asio::bind_cancellation_slot(watch_cancel_.slot(),
                                   [self = shared_from_this()](ErrorCode error, size_t bytes) {
                                     self->OnBytesWatched(error, bytes);
                                   }));
}

// Asks for the end of the connection once a second, because a read would reach it only behind bytes for which
// there is no room. An end that waits in the client's system, behind bytes that the kernel has not taken, is
// not seen.
void Session::WatchForEnd() {
  end_check_.expires_after(kEndCheckPeriod);
  end_check_.async_wait([self = shared_from_this()](ErrorCode error) {
    if (error || self->watch_stopped_) return;
    pollfd state{.fd = self->socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
    if (::poll(&state, 1, 0) < 1) return self->WatchForEnd();
    self->response_->MarkDisconnected();
    self->OnWake();
  });
}

void Session::OnBytesWatched(ErrorCode error, size_t bytes) {
  watching_ = false;
  buffer_.commit(bytes);
  if (error && !watch_stopped_) {
    response_->MarkDisconnected();
  } else if (!watch_stopped_) {
    WatchForDisconnect();
  }
  OnWake();
}

asio::awaitable<void> Session::StopWatching() {
  watch_stopped_ = true;
  watch_cancel_.emit(asio::cancellation_type::terminal);
  end_check_.cancel();
  while (watching_) {
    ErrorCode ignored;
    wake_.expires_at(Clock::time_point::max());
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

asio::awaitable<void> Session::Linger() {
  ErrorCode error;
  socket_.shutdown(StreamSocket::shutdown_send, error);
  buffer_.clear();
  StartDeadline(kLingerSeconds);
  for (size_t dropped = 0; !error && dropped < kLingerBytes;) {
    dropped += co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                asio::redirect_error(asio::use_awaitable, error));
    if (timed_out_) break;
  }
  CancelDeadline();
}

std::function<void()> Session::PostAfter(double seconds, std::function<void()> job) {
  auto timer = std::make_shared<asio::steady_timer>(socket_.get_executor());
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  timer->expires_after(std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
  timer->async_wait([timer, cancelled, job = std::move(job)](ErrorCode error) {
    if (!error && !*cancelled) RunAndCatch(job);
  });
  return [timer, cancelled, executor = socket_.get_executor()] {
    *cancelled = true;
    asio::post(executor, [timer] { timer->cancel(); });
  };
}

void Session::StartDeadline(double seconds) {
  timed_out_ = false;
  deadline_.expires_after(std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
  deadline_.async_wait([self = shared_from_this(), number = ++deadline_number_](ErrorCode error) {
    if (error || number != self->deadline_number_) return;
    self->timed_out_ = true;
    ErrorCode ignored;
    self->socket_.cancel(ignored);
  });
}

void Session::CancelDeadline() {
  ++deadline_number_;
  deadline_.cancel();
}

// Cancels the write of an aborted response, which must not wait for a client that does not read, nor hold its
// bytes for a client that has disconnected.
void Session::OnWake() {
  wake_.cancel();
  if (!writing_ || !response_->aborted()) return;
  ErrorCode ignored;
  socket_.cancel(ignored);
}

void Session::CloseIfIdle() {
  ErrorCode ignored;
  if (idle_) socket_.close(ignored);
}

void Session::Abort() {
  ErrorCode ignored;
  socket_.close(ignored);
  if (response_) response_->MarkDisconnected();
  wake_.cancel();
}

}  // namespace

void StartSession(StreamSocket socket, std::shared_ptr<ServerContext> server) {
  std::make_shared<Session>(std::move(socket), std::move(server))->Start();
}

}  // namespace prefixd
