// HttpServer: HTTP/1.1 on a TCP address or a Unix socket. Coroutines on `io_threads` threads, one strand per
// connection.
//
// Threads: Start, the members and the destructor may be called from any thread that is not one of the
// server's own. The handler runs on io threads; it must not block or throw.
//
// Invariants
//   1. Nothing grows without a limit: headers, bodies, the bodies of all requests together, connections, pipelined bytes, the backlog of a stream;
//   each wait has an end
//      (header, body, idle, write), except the wait for a handler's answer, which ends when the client goes.
//   2. A request whose framing is not certain (two lengths, a length and a transfer coding, an unknown
//   coding, a bad chunk) is
//      answered 400 and its connection closed: nothing after it on that connection is taken for a request.
//   3. A connection carries one exchange at a time, in the order of its requests.
//   4. Exchanges do not outlive the server: whoever keeps them (the engine's listeners) goes first.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/status.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// Bodies up to here always find room: max_connections of them is their limit.
inline constexpr size_t kBriefBodyBytes = 16 << 10;

struct HttpServerOptions {
  std::string listen = "127.0.0.1:8080";  // ADDR:PORT or unix:PATH; port 0 takes a free one
  int io_threads = 2;
  int worker_threads = 2;  // for PostWork
  int max_connections = 1024;
  size_t max_header_bytes = 32 << 10;  // request line and headers
  size_t max_body_bytes = 16 << 20;
  size_t max_bodies_bytes = 256 << 20;  // of all bodies longer than kBriefBodyBytes together; at least one fits
  size_t max_backlog_bytes = 1 << 20;  // of a stream that the client does not read
  double header_seconds = 10;          // from its first byte on
  double body_seconds = 60;
  double idle_seconds = 75;   // between requests
  double write_seconds = 30;  // for 64 KiB
};

class HttpServer {
 public:
  // Listens and serves at once. Errors as ListenOn.
  static Result<std::unique_ptr<HttpServer>> Start(HttpServerOptions options, Handler handler);
  ~HttpServer();  // Stop()

  const std::string& url() const;  // "http://127.0.0.1:8080" with the real port, or "unix:PATH"
  int connections() const;

  // No new connections; idle ones close now, the others after their answer.
  void StopAccepting();
  // Waits until no exchange is under way; false when `seconds` passed before.
  bool WaitIdle(double seconds);
  // Closes everything, also what is under way, and joins the threads.
  void Stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prefixd
