#include <boost/asio/co_spawn.hpp>
#include <boost/beast/http/error.hpp>
#include <exception>
#include <utility>

#include "base/log.h"
#include "daemon/http/request_head.h"
#include "daemon/http/session_impl.h"

namespace prefixd {

namespace http = boost::beast::http;

namespace {

constexpr std::string_view kRequestIdHeader = "X-Request-Id";

std::string_view View(boost::beast::string_view text) { return {text.data(), text.size()}; }

double Seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

void Session::Start() {
  const auto post = [weak = weak_from_this()](void (Session::*member)()) {
    return [weak, member] {
      const auto self = weak.lock();
      if (self) asio::post(self->socket_.get_executor(), [self, member] { ((*self).*member)(); });
    };
  };
  if (!server_->AddSession(id_,
                           {post(&Session::CloseIfIdle), post(&Session::Interrupt), post(&Session::Abort)}))
    return;
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

// Returns false when the connection is to be closed: there is no answer that its client could read.
asio::awaitable<bool> Session::Handshake() {
  if (!stream_->needs_handshake()) co_return true;
  const ScopedHandshake handshake(*server_);
  if (!handshake.has_place()) co_return false;
  ErrorCode error;
  StartDeadline(server_->options.handshake_seconds);
  co_await stream_->Handshake(error);
  CancelDeadline();
  co_return !error;
}

asio::awaitable<void> Session::Run() {
  bool another = co_await Handshake();
  if (!another) co_return;
  while (another) {
    const ReadResult reading = co_await ReadRequest();
    reading_ = false;
    if (reading == ReadResult::kClosed) co_return;
    response_ = std::make_shared<ResponseBuffer>(MakeResponseOptions(reading == ReadResult::kRequest),
                                                 shared_from_this());
    std::optional<HttpRequest> request;
    if (reading != ReadResult::kRejected) request = TakeRequest();
    const ScopedExchangeCount count(*server_);
    if (request) {
      CallHandler(*std::move(request));
    } else {
      response_->Respond(ErrorResponse(rejection_, response_->errors(), response_->request_id()));
    }
    another = co_await SendResponse();
    response_.reset();
  }
  co_await Linger();
}

// The head may be incomplete, and its target malformed.
const ErrorStyle& Session::ErrorsOf(std::string_view target) const {
  const auto path = SplitTarget(target);
  return path && server_->options.errors_of ? server_->options.errors_of(path->first) : kOpenAiErrors;
}

// `framed`: the end of the request is known, so another request can follow it.
ResponseOptions Session::MakeResponseOptions(bool framed) {
  const auto& head = parser_->get();
  const std::string_view id = View(head[kRequestIdHeader]);
  return {.request_id = IsRequestId(id) ? std::string(id) : server_->NextRequestId(),
          .headers = server_->options.cors.ResponseHeaders(View(head[http::field::origin])),
          .errors = &ErrorsOf(View(head.target())),
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
    if ((server_->closing() && !fresh_) || half_closed_) co_return ReadResult::kClosed;
    ErrorCode error;
    idle_ = true;
    StartDeadline(server_->closing() ? kFirstRequestSeconds : server_->options.idle_seconds);
    const size_t bytes = co_await stream_->ReadSome(buffer_.prepare(kReadBytes), error);
    CancelDeadline();
    idle_ = fresh_ = false;
    buffer_.commit(bytes);
    if (error) co_return ReadResult::kClosed;
  }
  reading_ = true;
  const ReadResult head = co_await ReadHead();
  if (head != ReadResult::kRequest || parser_->is_done()) co_return head;
  co_return co_await ReadBody();
}

asio::awaitable<Session::ReadResult> Session::ReadHead() {
  ErrorCode error;
  StartDeadline(server_->options.header_seconds);
  co_await ReadHeadBytes(error);
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

// Feeds the parser until the head is complete.
asio::awaitable<void> Session::ReadHeadBytes(ErrorCode& error) {
  while (true) {
    if (buffer_.size() > 0) buffer_.consume(parser_->put(buffer_.data(), error));
    if (error == http::error::need_more) error = {};
    if (error || parser_->is_header_done()) co_return;
    if (buffer_.size() + kReadBytes > buffer_.max_size()) {
      error = http::error::buffer_overflow;
      co_return;
    }
    if (!half_closed_) {
      const size_t bytes = co_await stream_->ReadSome(buffer_.prepare(kReadBytes), error);
      buffer_.commit(bytes);
      half_closed_ = error == asio::error::eof;
      if (!error) continue;
      if (!half_closed_) co_return;
      error = {};
      if (bytes > 0) continue;
    }
    parser_->put_eof(error);
    if (!error) error = http::error::end_of_stream;
    co_return;
  }
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
  for (std::string_view left = kContinue; !left.empty() && !ignored && !timed_out_;)
    left.remove_prefix(co_await stream_->WriteSome(asio::buffer(left), ignored));
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
    if (!error && buffer_.size() > 0) buffer_.consume(parser_->put(buffer_.data(), error));
    if (error == http::error::need_more) error = {};
    if (!error && parser_->is_done()) co_return ReadResult::kRequest;
    if (!error && buffer_.size() > most) error = http::error::buffer_overflow;  // a line of a chunk
    if (parser_->get().body().refused) co_return Reject(NoRoomError(server_->budget));
    if (error) co_return RejectOrClose(error, "the body");
    if (half_closed_) {
      parser_->put_eof(error);
      continue;
    }
    if (interrupted_) co_return Reject(ShuttingDownError());  // while it sent 100-continue
    const Clock::time_point before = Clock::now();
    StartDeadline(SecondsForBody(pace, Seconds(before - begun)));
    const size_t bytes = co_await stream_->ReadSome(buffer_.prepare(kReadBytes), error);
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
  if (interrupted_) return Reject(ShuttingDownError());
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
  if (std::optional<HttpResponse> preflight = server_->options.cors.PreflightResponse(request))
    return response_->Respond(*std::move(preflight));
  auto exchange = std::make_shared<HttpExchange>(std::move(request), std::move(body_bytes_), response_);
  try {
    server_->handler(exchange);
  } catch (const std::exception& error) {
    Log(LogLevel::kError, "a handler threw",
        {{"request_id", response_->request_id()}, {"what", error.what()}});
    response_->RespondIfUnanswered(ErrorResponse({.status = 500,
                                                  .type = "server_error",
                                                  .code = "internal_error",
                                                  .message = "The server failed on this request."},
                                                 response_->errors(), response_->request_id()));
  }
}

void StartSession(std::unique_ptr<Stream> stream, std::shared_ptr<ServerContext> server) {
  std::make_shared<Session>(std::move(stream), std::move(server))->Start();
}

}  // namespace prefixd
