#include "storage/server_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "storage/host_lookup.h"

namespace prefixd {
namespace {

std::string Reason(int error) { return std::system_category().message(error); }

Status TimeIsUp() { return IoError("it has not answered in time"); }

short EventOf(TlsSession::Wants wants) { return wants == TlsSession::Wants::kToRead ? POLLIN : POLLOUT; }

Result<ptrdiff_t> ProgressOf(const Result<TlsSession::Step>& step, short* events) {
  PREFIXD_RETURN_IF_ERROR(step.status());
  if (step->wants == TlsSession::Wants::kNothing) return static_cast<ptrdiff_t>(step->bytes);
  *events = EventOf(step->wants);
  return ptrdiff_t{-1};
}

}  // namespace

Result<std::unique_ptr<ServerSocket>> ServerSocket::Connect(const std::string& host, uint16_t port,
                                                            const TlsClient* tls, const Clock* clock,
                                                            int64_t deadline) {
  std::unique_ptr<ServerSocket> socket(new ServerSocket(clock));
  PREFIXD_RETURN_IF_ERROR(socket->ConnectTo(host, port, deadline));
  if (tls != nullptr) PREFIXD_RETURN_IF_ERROR(socket->Handshake(*tls, host, deadline));
  return socket;
}

ServerSocket::~ServerSocket() {
  tls_.reset();
  if (socket_ >= 0) ::close(socket_);
}

Status ServerSocket::ConnectTo(const std::string& host, uint16_t port, int64_t deadline) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<HostAddress> addresses,
                           LookUpHost(host, port, *clock_, deadline));
  Status failed = Status::Ok();
  for (size_t i = 0; i < addresses.size(); ++i) {
    const HostAddress& one = addresses[i];
    const int64_t now = clock_->NowNanos();
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    socket_ = ::socket(one.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) {
      failed = Unavailable("no socket: " + Reason(errno));
      continue;
    }
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&one.address), one.size) != 0 &&
        errno != EINPROGRESS) {
      failed = Unavailable("cannot connect: " + Reason(errno));
      continue;
    }
    // One that is silent leaves time for the others.
    const auto left = static_cast<int64_t>(addresses.size() - i);
    failed = WaitFor(POLLOUT, now + (deadline - now) / left);
    if (!failed.ok()) continue;
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) {
      failed = Unavailable("cannot connect: " + Reason(error));
      continue;
    }
    const int on = 1;
    (void)::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return Status::Ok();
  }
  return failed;
}

Status ServerSocket::Handshake(const TlsClient& tls, const std::string& host, int64_t deadline) {
  PREFIXD_ASSIGN_OR_RETURN(tls_, tls.Begin(socket_, host));
  while (true) {
    PREFIXD_ASSIGN_OR_RETURN(const TlsSession::Step step, tls_->Handshake());
    if (step.wants == TlsSession::Wants::kNothing) return Status::Ok();
    if (!WaitFor(EventOf(step.wants), deadline).ok())
      return Unavailable("the TLS handshake has not ended in time; a server without TLS is redis://");
  }
}

bool ServerSocket::IsQuiet() {
  if (tls_ != nullptr) return tls_->IsQuiet();
  char byte = 0;
  return ::recv(socket_, &byte, 1, MSG_PEEK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

Status ServerSocket::WaitFor(short events, int64_t deadline) const {
  pollfd waits{.fd = socket_, .events = events, .revents = 0};
  while (true) {
    const int64_t left = deadline - clock_->NowNanos();
    if (left <= 0) return TimeIsUp();
    const timespec time{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    const int ready = ::ppoll(&waits, 1, &time, nullptr);
    if (ready > 0) return Status::Ok();
    if (ready < 0 && errno != EINTR) return IoError("poll: " + Reason(errno));
  }
}

Result<ptrdiff_t> ServerSocket::Progress(ssize_t result, short waits, short* events) const {
  if (result >= 0) return ptrdiff_t{result};
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
    *events = waits;
    return ptrdiff_t{-1};
  }
  return Lost("the connection is lost: " + Reason(errno));
}

Status ServerSocket::Lost(std::string reason) const {
  if (tls_ == nullptr && !has_received_) reason += "; a server with TLS is rediss://";
  return IoError(std::move(reason));
}

Result<ptrdiff_t> ServerSocket::TrySend(std::string_view bytes, short* events) {
  if (tls_ != nullptr) return ProgressOf(tls_->Write(bytes), events);
  return Progress(::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL), POLLOUT, events);
}

Result<ptrdiff_t> ServerSocket::TryReceive(std::span<char> bytes, short* events) {
  if (tls_ != nullptr) return ProgressOf(tls_->Read(bytes), events);
  return Progress(::recv(socket_, bytes.data(), bytes.size(), 0), POLLIN, events);
}

Status ServerSocket::Send(std::string_view bytes, int64_t deadline) {
  while (!bytes.empty()) {
    short events = 0;
    PREFIXD_ASSIGN_OR_RETURN(const ptrdiff_t sent, TrySend(bytes, &events));
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (sent == 0) {
      return Lost("the server has closed the connection");
    } else {
      PREFIXD_RETURN_IF_ERROR(WaitFor(events, deadline));
    }
  }
  return Status::Ok();
}

Result<size_t> ServerSocket::Receive(std::span<char> bytes, int64_t deadline) {
  while (true) {
    short events = 0;
    PREFIXD_ASSIGN_OR_RETURN(const ptrdiff_t got, TryReceive(bytes, &events));
    if (got == 0) return Lost("the server has closed the connection");
    // A server that never ceases to send must not outlast the deadline either.
    if (clock_->NowNanos() >= deadline) return TimeIsUp();
    if (got > 0) {
      has_received_ = true;
      return static_cast<size_t>(got);
    }
    PREFIXD_RETURN_IF_ERROR(WaitFor(events, deadline));
  }
}

}  // namespace prefixd
