// ServerSocket: a connection to a server, plain or with TLS, on which each call takes at most until its
// deadline. Threads: one at a time.
//
// Invariants
//   1. No call takes longer than until its deadline, which is a time of the clock in nanoseconds.
//   2. After a call that failed the connection is of no use.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "storage/tls_client.h"

namespace prefixd {

class ServerSocket {
 public:
  // Tries the addresses of the host one after the other, and does the handshake with the first one that
  // accepts the connection. `tls` may be null: then the connection is plain. It and the clock must outlive
  // the socket. kUnavailable says why there is no connection.
  static Result<std::unique_ptr<ServerSocket>> Connect(const std::string& host, uint16_t port,
                                                       const TlsClient* tls, const Clock* clock,
                                                       int64_t deadline);
  ~ServerSocket();
  ServerSocket(const ServerSocket&) = delete;
  ServerSocket& operator=(const ServerSocket&) = delete;

  // kIo: the connection is lost, or the time is up.
  Status Send(std::string_view bytes, int64_t deadline);
  // Returns how many bytes it has read, at least one.
  Result<size_t> Receive(std::span<char> bytes, int64_t deadline);
  // Whether the server has neither closed it nor sent something that was not received.
  bool IsQuiet();

 private:
  explicit ServerSocket(const Clock* clock) : clock_(clock) {}
  Status ConnectTo(const std::string& host, uint16_t port, int64_t deadline);
  Status Handshake(const TlsClient& tls, const std::string& host, int64_t deadline);
  // What a call to the socket or to the session has done. -1: it waits for `events`.
  Result<ptrdiff_t> TrySend(std::string_view bytes, short* events);
  Result<ptrdiff_t> TryReceive(std::span<char> bytes, short* events);
  Result<ptrdiff_t> Progress(ssize_t result, short waits, short* events) const;
  Status Lost(std::string reason) const;
  Status WaitFor(short events, int64_t deadline) const;

  const Clock* const clock_;
  int socket_ = -1;
  bool has_received_ = false;
  std::unique_ptr<TlsSession> tls_;  // null: it is plain
};

}  // namespace prefixd
