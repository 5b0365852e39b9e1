#include <poll.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "base/log.h"
#include "daemon/http/session_impl.h"

namespace prefixd {

namespace {

constexpr size_t kWriteBytes = Limit<size_t>("write-chunk");
// A part up to this size, as of a stream, is sent without a deadline if the system takes it at once. Longer
// ones wait for their turn among the connections.
constexpr size_t kShortPart = 16 << 10;
constexpr auto kEndCheckPeriod = std::chrono::seconds(1);
// Most answers need no probe: a stream sends soon, and a short answer is there before.
constexpr auto kHalfClosedCheckPeriod = std::chrono::milliseconds(50);
constexpr int kChecksBeforeProbe = 5, kChecksPerProbe = 200;
// After an error response the session reads and drops what the client still sends. Most clients send the
// whole request before they read, and would not see the response if that failed.
constexpr size_t kLingerBytes = Limit<size_t>("linger-bytes");
constexpr double kLingerSeconds = Limit<double>("linger-seconds");

double Seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

asio::awaitable<bool> Session::SendResponse() {
  watch_stopped_ = false;
  if (!response_->ended()) WatchForDisconnect();
  pace_.emplace(server_->options.reader_seconds, server_->options.reader_bytes_per_second);
  bool failed = false;
  while (!failed) {
    const Sent sent = SendNow();
    if (sent == Sent::kLast) break;
    if (sent == Sent::kAll) {
      // Every change of the response calls OnWake on the strand, so no change is missed.
      ErrorCode ignored;
      starved_ = true;
      wake_.expires_at(Clock::time_point::max());
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      starved_ = false;
    }
    if (part_.bytes.empty()) continue;
    failed = !co_await SendRest() || GivesRoom();
    EndPart();
  }
  co_await StopWatching();
  const bool another = response_->keep_alive() && !failed;
  if (!another) response_->MarkDisconnected();
  co_return another;
}

// Sends what the response has now, as far as the system takes it at once. kPart: the rest of part_ is left.
// It calls nothing of the producer, so that it may run within a call of Write.
Session::Sent Session::SendNow() {
  while (true) {
    part_ = response_->TakeBytes(kWriteBytes);
    part_sent_ = 0;
    if (part_.bytes.empty()) return response_->drained() ? Sent::kLast : Sent::kAll;
    if (part_.bytes.size() <= kShortPart) part_sent_ = stream_->WriteNow(part_.bytes);
    if (part_sent_ < part_.bytes.size()) return Sent::kPart;
    pace_->Record(part_.bytes.size(), 0);
    EndPart();
  }
}

// Nobody needs the bytes of part_ any more.
void Session::EndPart() {
  const size_t bytes = part_.bytes.size();
  part_ = {};
  response_->MarkWritten(bytes);
}

// Returns false when the client disconnected or was too slow, or the response was aborted. A cancel between
// two writes has no effect, so the state is checked before each.
asio::awaitable<bool> Session::SendRest() {
  const std::string_view bytes = part_.bytes;
  ErrorCode error;
  const double seconds = pace_->SecondsFor(bytes.size());
  const Clock::time_point begun = Clock::now();
  StartDeadline(std::max(seconds, 0.0));
  writing_ = true;
  while (part_sent_ < bytes.size() && !error && !timed_out_ && !response_->aborted()) {
    part_sent_ += co_await stream_->WriteSome(asio::buffer(bytes.substr(part_sent_)), error);
  }
  writing_ = false;
  CancelDeadline();
  const size_t sent_before = pace_->taken();
  pace_->Record(bytes.size(), Seconds(Clock::now() - begun));
  if (part_sent_ < bytes.size() && timed_out_) CountSlowReader(sent_before);
  co_return part_sent_ == bytes.size();
}

// Whether to disconnect a client that reads a large answer slowly while others need its room.
bool Session::GivesRoom() {
  if (!pace_->SlowerThan(server_->options.busy_reader_bytes_per_second) || !response_->large() ||
      !server_->budget.NeedsRoom(Clock::now()))
    return false;
  CountSlowReader(pace_->taken());
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
  asio::co_spawn(
      socket_.get_executor(), Watch(),
      asio::bind_cancellation_slot(watch_cancel_.slot(),
                                   [self = shared_from_this()](std::exception_ptr failed, Watched watched) {
                                     // Cancelled before it began, it throws.
                                     if (failed) watched = {asio::error::operation_aborted, 0};
                                     self->OnBytesWatched(watched.error, watched.bytes);
                                   }));
}

asio::awaitable<Session::Watched> Session::Watch() {
  Watched watched;
  watched.bytes = co_await stream_->ReadSome(buffer_.prepare(kReadBytes), watched.error);
  co_return watched;
}

// Asks for the end of the connection once a second, because a read would reach it only behind bytes for which
// there is no room. An end that waits in the client's system, behind bytes that the kernel has not taken, is
// not seen.
void Session::WatchForEnd() {
  end_check_.expires_after(kEndCheckPeriod);
  end_check_.async_wait([self = shared_from_this()](ErrorCode error) {
    if (error || self->watch_stopped_) return;
    pollfd state{.fd = self->socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
    ::poll(&state, 1, 0) < 1 ? self->WatchForEnd() : self->WatchHalfClosed(0);
  });
}

// The client has closed its sending side. It may have gone, or may wait for its answer; both look the same
// until its system gets bytes, which that of a client that has gone refuses. `checks` counts the calls.
void Session::WatchHalfClosed(int checks) {
  if (checks % kChecksPerProbe == kChecksBeforeProbe && !response_->Probe()) {
    response_->MarkDisconnected();
    return OnWake();
  }
  end_check_.expires_after(kHalfClosedCheckPeriod);
  end_check_.async_wait([self = shared_from_this(), checks](ErrorCode error) {
    if (error || self->watch_stopped_) return;
    pollfd state{.fd = self->socket_.native_handle(), .events = 0, .revents = 0};
    if (::poll(&state, 1, 0) < 1) return self->WatchHalfClosed(checks + 1);
    self->response_->MarkDisconnected();  // POLLERR or POLLHUP
    self->OnWake();
  });
}

void Session::OnBytesWatched(ErrorCode error, size_t bytes) {
  watching_ = false;
  buffer_.commit(bytes);
  half_closed_ = half_closed_ || error == asio::error::eof;
  if (half_closed_ && !watch_stopped_) {
    WatchHalfClosed(0);
  } else if (error && !watch_stopped_) {
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
  buffer_.clear();
  StartDeadline(kLingerSeconds);
  co_await stream_->Shutdown(error);
  for (size_t dropped = 0; !error && dropped < kLingerBytes && !timed_out_;) {
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
  timer->async_wait([weak = weak_from_this(), timer, cancelled, job = std::move(job)](ErrorCode error) {
    if (error || *cancelled) return;
    if (const auto self = weak.lock()) return self->RunJob(job);
    RunAndCatch(job);
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

void Session::RunJob(const std::function<void()>& job) {
  in_job_ = true;
  RunAndCatch(job);
  in_job_ = false;
  if (std::exchange(woken_, false)) OnWake();
}

// The response has changed. Sends what it has, while SendResponse waits for that: then a piece of a stream
// takes no turn of the coroutine and no timer. Otherwise SendResponse goes on.
//
// Cancels the write of an aborted response, which must not wait for a client that does not read, nor hold its
// bytes for a client that has disconnected.
void Session::OnWake() {
  if (in_job_) {
    woken_ = true;
    return;
  }
  if (std::exchange(starved_, false)) {
    std::optional<Sent> sent;
    RunAndCatch([&] { sent = SendNow(); });
    if (!sent) response_->MarkDisconnected();
    starved_ = sent == Sent::kAll;
    if (starved_) return;
  }
  wake_.cancel();
  if (!writing_ || !response_->aborted()) return;
  ErrorCode ignored;
  socket_.cancel(ignored);
}

void Session::CloseIfIdle() {
  if (!idle_ || last_chance_) return;
  // The client of a new connection has likely sent its request, which is to be answered, not dropped.
  if (fresh_) {
    last_chance_ = true;
    return StartDeadline(kFirstRequestSeconds);
  }
  ErrorCode ignored;
  socket_.close(ignored);
}

void Session::Interrupt() {
  if (response_) return response_->Interrupt(ShuttingDownError());
  CloseIfIdle();
  if (!reading_) return;
  interrupted_ = true;
  ErrorCode ignored;
  socket_.cancel(ignored);
}

void Session::Abort() {
  ErrorCode ignored;
  socket_.close(ignored);
  if (response_) response_->MarkDisconnected();
  wake_.cancel();
}

}  // namespace prefixd
