#include "daemon/http/session.h"

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
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "base/log.h"
#include "daemon/http/answer.h"
#include "daemon/http/request_head.h"

namespace prefixd {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using ErrorCode = boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kWriteBytes = 64 << 10;
constexpr size_t kPipelinedBytes = 64
                                   << 10;  // of later requests, while one is at work; then the client waits
// After a refusal what the client still sends is read and dropped for a while: most clients send all of a
// request before they read, and learn nothing where that fails.
constexpr size_t kLingerBytes = 256 << 20;
constexpr double kLingerSeconds = 2;

void RunGuarded(const std::function<void()>& job) {
  try {
    job();
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "a job of a request threw", {{"what", error.what()}});
  }
}

// Books an exchange for as long as it lives.
class UnderWay {
 public:
  explicit UnderWay(SessionHost& host) : host_(host) { host_.ExchangeStarted(); }
  ~UnderWay() { host_.ExchangeFinished(); }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

 private:
  SessionHost& host_;
};

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

class Session final : public ExchangeHost, public std::enable_shared_from_this<Session> {
 public:
  Session(StreamSocket socket, std::shared_ptr<SessionHost> host)
      : socket_(std::move(socket)),
        deadline_(socket_.get_executor()),
        wake_(socket_.get_executor()),
        host_(std::move(host)),
        id_(host_->NextSessionId()),
        buffer_(host_->options.max_header_bytes + kReadBytes + kPipelinedBytes) {}

  void Start();

  // ExchangeHost
  void Wake() override {
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->OnWake(); });
  }
  bool closing() const override { return host_->closing(); }
  void Post(std::function<void()> job) override {
    asio::post(socket_.get_executor(), [job = std::move(job)] { RunGuarded(job); });
  }
  std::function<void()> PostAfter(double seconds, std::function<void()> job) override;
  bool PostWork(std::function<void()> job) override {
    return host_->PostWork([job = std::move(job)] { RunGuarded(job); });
  }

 private:
  enum class Reading { kRequest, kRefused, kClosed };

  asio::awaitable<void> Run();
  asio::awaitable<Reading> ReadRequest();
  asio::awaitable<Reading> ReadHead();
  asio::awaitable<Reading> ReadBody();
  asio::awaitable<void> SendContinue();
  asio::awaitable<bool> Deliver();  // true: the connection may carry another request
  asio::awaitable<void> StopWatch();
  asio::awaitable<void> Linger();

  AnswerTraits Traits(bool framed);
  bool TakeRoomForBody();
  Reading Refuse(ApiError error);
  Reading RefuseOrClose(ErrorCode error, const char* what);
  std::optional<HttpRequest> TakeRequest();
  void CallHandler(HttpRequest request);
  void Watch();
  void OnWatched(ErrorCode error, size_t bytes);
  void Arm(double seconds);
  void Disarm();
  void OnWake();
  void CloseIfIdle();
  void Abort();

  StreamSocket socket_;
  asio::steady_timer deadline_;
  asio::steady_timer wake_;
  asio::cancellation_signal watch_cancel_;
  const std::shared_ptr<SessionHost> host_;
  const uint64_t id_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  ByteBudget::Share body_room_;
  ApiError refusal_;
  std::shared_ptr<Answer> answer_;
  uint64_t armed_ = 0;  // counts deadlines, so that an expired one cannot end its successor's wait
  bool timed_out_ = false;
  bool writing_ = false;  // a part of the answer
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
  if (!host_->AddSession(id_, {post(&Session::CloseIfIdle), post(&Session::Abort)})) return;
  asio::co_spawn(socket_.get_executor(), Run(), [self = shared_from_this()](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
      Log(LogLevel::kError, "a connection ended with an exception", {{"what", thrown.what()}});
      if (self->answer_) self->answer_->MarkGone();
    }
    ErrorCode ignored;
    self->socket_.close(ignored);
    self->host_->RemoveSession(self->id_);
  });
}

asio::awaitable<void> Session::Run() {
  bool another = true;
  while (another) {
    const Reading reading = co_await ReadRequest();
    if (reading == Reading::kClosed) co_return;
    answer_ = std::make_shared<Answer>(Traits(reading == Reading::kRequest), shared_from_this());
    std::optional<HttpRequest> request;
    if (reading == Reading::kRequest) request = TakeRequest();
    const UnderWay under_way(*host_);
    if (request) {
      CallHandler(*std::move(request));
    } else {
      answer_->Respond(ErrorResponse(refusal_));
    }
    another = co_await Deliver();
    answer_.reset();
  }
  co_await Linger();
}

// `framed`: the end of the request is known, so that another one can follow.
AnswerTraits Session::Traits(bool framed) {
  const auto& head = parser_->get();
  return {.request_id = host_->NextRequestId(),
          .http_1_0 = head.version() == 10,
          .keep_alive = framed && head.keep_alive(),
          .head_only = head.method() == http::verb::head,
          .backlog_limit = host_->options.max_backlog_bytes};
}

asio::awaitable<Session::Reading> Session::ReadRequest() {
  parser_.emplace();
  body_room_ = {};
  parser_->header_limit(static_cast<uint32_t>(host_->options.max_header_bytes));
  parser_->body_limit(host_->options.max_body_bytes);
  if (buffer_.size() == 0) {
    if (host_->closing()) co_return Reading::kClosed;
    ErrorCode error;
    idle_ = true;
    Arm(host_->options.idle_seconds);
    const size_t bytes = co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                          asio::redirect_error(asio::use_awaitable, error));
    Disarm();
    idle_ = false;
    buffer_.commit(bytes);
    if (error) co_return Reading::kClosed;
  }
  const Reading head = co_await ReadHead();
  if (head != Reading::kRequest || parser_->is_done()) co_return head;
  co_return co_await ReadBody();
}

asio::awaitable<Session::Reading> Session::ReadHead() {
  ErrorCode error;
  Arm(host_->options.header_seconds);
  co_await http::async_read_header(socket_, buffer_, *parser_,
                                   asio::redirect_error(asio::use_awaitable, error));
  Disarm();
  if (error) co_return RefuseOrClose(error, "the headers");
  const auto& head = parser_->get();
  const Framing framing{.version = static_cast<int>(head.version()),
                        .content_lengths = static_cast<int>(head.count(http::field::content_length)),
                        .content_length = View(head[http::field::content_length]),
                        .transfer_encodings = static_cast<int>(head.count(http::field::transfer_encoding)),
                        .transfer_encoding = View(head[http::field::transfer_encoding]),
                        .expect = View(head[http::field::expect]),
                        .hosts = static_cast<int>(head.count(http::field::host))};
  if (std::optional<ApiError> wrong = CheckFraming(framing)) co_return Refuse(*std::move(wrong));
  if (!TakeRoomForBody()) {
    co_return Refuse({.status = 503,
                      .type = "server_error",
                      .code = "overloaded",
                      .message = "The server holds as many bytes of requests as it may. Try again later.",
                      .retry_after = 1});
  }
  if (!framing.expect.empty() && framing.version == 11 && !parser_->is_done() && buffer_.size() == 0)
    co_await SendContinue();
  co_return Reading::kRequest;
}

// A body of unknown length counts as the longest.
bool Session::TakeRoomForBody() {
  const size_t most = host_->options.max_body_bytes;
  const auto length = parser_->content_length();
  const size_t bytes = length               ? static_cast<size_t>(std::min<uint64_t>(*length, most))
                       : parser_->chunked() ? most
                                            : 0;
  if (bytes <= kBriefBodyBytes) return true;
  auto room = host_->bodies.Take(bytes);
  if (room) body_room_ = *std::move(room);
  return room.has_value();
}

asio::awaitable<void> Session::SendContinue() {
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  ErrorCode ignored;  // reading the body will tell
  Arm(host_->options.write_seconds);
  co_await asio::async_write(socket_, asio::buffer(kContinue),
                             asio::redirect_error(asio::use_awaitable, ignored));
  Disarm();
}

asio::awaitable<Session::Reading> Session::ReadBody() {
  ErrorCode error;
  Arm(host_->options.body_seconds);
  co_await http::async_read(socket_, buffer_, *parser_, asio::redirect_error(asio::use_awaitable, error));
  Disarm();
  if (error) co_return RefuseOrClose(error, "the body");
  co_return Reading::kRequest;
}

Session::Reading Session::Refuse(ApiError error) {
  refusal_ = std::move(error);
  return Reading::kRefused;
}

Session::Reading Session::RefuseOrClose(ErrorCode error, const char* what) {
  const std::string place(what);
  if (timed_out_) {
    return Refuse({.status = 408,
                   .code = "request_timeout",
                   .message = "The server waited too long for " + place + " of the request."});
  }
  if (error == http::error::body_limit) {
    return Refuse({.status = 413,
                   .code = "request_too_large",
                   .message = "The body is larger than the " + std::to_string(host_->options.max_body_bytes) +
                              " bytes that the server takes."});
  }
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return Refuse({.status = 431,
                   .code = "request_header_fields_too_large",
                   .message = "The headers are larger than the " +
                              std::to_string(host_->options.max_header_bytes) +
                              " bytes that the server takes."});
  }
  if (error == http::error::bad_version) {
    return Refuse({.status = 505, .message = "The server speaks HTTP/1.1 and HTTP/1.0."});
  }
  // Parse errors, a request that breaks off among them; other categories are the connection's.
  if (error.category() != http::make_error_code(http::error::bad_method).category() ||
      error == http::error::end_of_stream) {
    return Reading::kClosed;
  }
  return Refuse({.status = 400,
                 .message = "The request is not HTTP as the server reads it: " + error.message() + " in " +
                            place + "."});
}

std::optional<HttpRequest> Session::TakeRequest() {
  auto message = parser_->release();
  auto target = SplitTarget(View(message.target()));
  if (!target) {
    refusal_ = {.status = 400, .message = "The path of the request is not percent-encoded correctly."};
    return std::nullopt;
  }
  HttpRequest request;
  request.method = std::string(View(message.method_string()));
  request.path = std::move(target->first);
  request.query = std::move(target->second);
  for (const auto& field : message) {
    std::string name(View(field.name_string()));
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    request.headers.emplace_back(std::move(name), std::string(View(field.value())));
  }
  request.body = std::move(message.body());
  return request;
}

void Session::CallHandler(HttpRequest request) {
  auto exchange = std::make_shared<HttpExchange>(std::move(request), std::move(body_room_), answer_);
  try {
    host_->handler(exchange);
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "a handler threw", {{"request_id", answer_->request_id()}, {"what", error.what()}});
    exchange->Respond(ErrorResponse({.status = 500,
                                     .type = "server_error",
                                     .code = "internal_error",
                                     .message = "The server failed on this request."}));
  }
}

asio::awaitable<bool> Session::Deliver() {
  watch_stopped_ = false;
  if (!answer_->ended()) Watch();
  bool failed = false;
  while (!failed) {
    ErrorCode error;
    const std::string bytes = answer_->Take(kWriteBytes);
    if (!bytes.empty()) {
      Arm(host_->options.write_seconds);
      writing_ = true;
      co_await asio::async_write(socket_, asio::buffer(bytes),
                                 asio::redirect_error(asio::use_awaitable, error));
      writing_ = false;
      Disarm();
      answer_->Written(bytes.size());
      failed = static_cast<bool>(error);
    } else if (answer_->finished()) {
      break;
    } else {
      // Whatever changes the answer posts a cancel of this wait to the strand, so none can slip in between.
      wake_.expires_at(std::chrono::steady_clock::time_point::max());
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
  co_await StopWatch();
  const bool another = answer_->keep_alive() && !failed;
  if (!another) answer_->MarkGone();
  co_return another;
}

// Reads on while a request is at work: that is how the end of the connection shows. What comes may be the
// next request.
void Session::Watch() {
  if (buffer_.size() >= kPipelinedBytes) return;
  watching_ = true;
  socket_.async_read_some(
      buffer_.prepare(kReadBytes),
      asio::bind_cancellation_slot(
          watch_cancel_.slot(),
          [self = shared_from_this()](ErrorCode error, size_t bytes) { self->OnWatched(error, bytes); }));
}

void Session::OnWatched(ErrorCode error, size_t bytes) {
  watching_ = false;
  buffer_.commit(bytes);
  if (error && !watch_stopped_) {
    answer_->MarkGone();
  } else if (!watch_stopped_) {
    Watch();
  }
  wake_.cancel();
}

asio::awaitable<void> Session::StopWatch() {
  watch_stopped_ = true;
  watch_cancel_.emit(asio::cancellation_type::terminal);
  while (watching_) {
    ErrorCode ignored;
    wake_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

asio::awaitable<void> Session::Linger() {
  ErrorCode error;
  socket_.shutdown(StreamSocket::shutdown_send, error);
  buffer_.clear();
  Arm(kLingerSeconds);
  for (size_t dropped = 0; !error && dropped < kLingerBytes;) {
    dropped += co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                asio::redirect_error(asio::use_awaitable, error));
    if (timed_out_) break;
  }
  Disarm();
}

std::function<void()> Session::PostAfter(double seconds, std::function<void()> job) {
  auto timer = std::make_shared<asio::steady_timer>(socket_.get_executor());
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  timer->expires_after(std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
  timer->async_wait([timer, cancelled, job = std::move(job)](ErrorCode error) {
    if (!error && !*cancelled) RunGuarded(job);
  });
  return [timer, cancelled, executor = socket_.get_executor()] {
    *cancelled = true;
    asio::post(executor, [timer] { timer->cancel(); });
  };
}

void Session::Arm(double seconds) {
  timed_out_ = false;
  deadline_.expires_after(std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
  deadline_.async_wait([self = shared_from_this(), mine = ++armed_](ErrorCode error) {
    if (error || mine != self->armed_) return;
    self->timed_out_ = true;
    ErrorCode ignored;
    self->socket_.cancel(ignored);
  });
}

void Session::Disarm() {
  ++armed_;
  deadline_.cancel();
}

// A stream that was cut must not wait for a client that does not read.
void Session::OnWake() {
  wake_.cancel();
  if (!writing_ || !answer_->cut()) return;
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
  if (answer_) answer_->MarkGone();
  wake_.cancel();
}

}  // namespace

void StartSession(StreamSocket socket, std::shared_ptr<SessionHost> host) {
  std::make_shared<Session>(std::move(socket), std::move(host))->Start();
}

}  // namespace prefixd
