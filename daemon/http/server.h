// HttpServer: HTTP/1.1 on a TCP address or a Unix socket. It runs coroutines on `io_threads` threads, with
// one strand per connection.
//
// Threads: any thread that is not one of the server's own may call Start, the members and the destructor. The
// handler runs on io threads; it must not block or throw.
//
// Invariants
//   1. Everything that can grow has a limit: headers, a body, connections, pipelined bytes, the backlog of a
//      stream, TLS handshakes, and the bytes in flight of all connections together (byte_budget.h). Every
//      wait has a deadline (handshake, header, body, idle, reader), except the wait for the handler's
//      response, which ends when the client disconnects.
//   2. A request with ambiguous framing (two lengths, a length and a transfer coding, an unknown coding, a
//      bad chunk) is answered 400 and its connection is closed. No byte after it is read as a request.
//   3. A connection carries one exchange at a time, in the order of its requests.
//   4. Exchanges do not outlive the server. Owners of exchanges (the engine's listeners) are destroyed first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "daemon/http/cors.h"
#include "daemon/http/exchange.h"
#include "daemon/http/tls.h"
#include "daemon/limit_table.h"

namespace prefixd {

// A body up to this size is always accepted and is parsed on the io thread. max_connections bounds their sum.
// The bytes of a larger one are reserved as they arrive.
inline constexpr size_t kSmallBodyBytes = Limit<size_t>("small-body");

// When the server accepts no more connections, new ones have this time for their first request.
inline constexpr double kFirstRequestSeconds = Limit<double>("first-request-milliseconds") / 1000;

struct HttpServerOptions {
  std::string listen = "127.0.0.1:8080";  // ADDR:PORT or unix:PATH; port 0 selects a free port
  int listener = -1;                      // from HandOverListener, of a server with that `listen`; -1: none
  bool listener_stays = false;            // somebody else keeps `listener`: a Unix socket keeps its file
  std::string_view listen_option = "--listen";  // in messages
  unsigned unix_mode = 0777;                    // permissions of a Unix socket; the umask takes from them
  int io_threads = 2;
  int worker_threads = Limit("worker-threads");             // for PostWork
  int max_connections = 1024;                               // also the length of the workers' queue
  size_t max_header_bytes = Limit<size_t>("header-bytes");  // request line and headers
  size_t max_body_bytes = 16 << 20;
  size_t max_inflight_bytes = 512 << 20;            // of the byte budget
  size_t max_backlog_bytes = 1 << 20;               // of a stream that the client does not read
  std::shared_ptr<const TlsContext> tls = nullptr;  // with files: all connections take TLS
  double handshake_seconds = Limit<double>("tls-handshake-seconds");
  double header_seconds = 10;  // from the first byte of the request
  double body_seconds = 60;    // for all of it
  // A body above kSmallBodyBytes must also arrive steadily; see reader_deadline.h.
  double body_stall_seconds = Limit<double>("body-stall-seconds");
  double body_bytes_per_second = Limit<double>("body-rate");
  double idle_seconds = 75;    // between requests
  ErrorStyleOf errors_of;      // of the paths; empty: all have kOpenAiErrors
  CorsPolicy cors;             // adds headers to all answers and answers preflight requests
  double reader_seconds = 60;  // for one write chunk; see reader_deadline.h
  double reader_bytes_per_second = Limit<double>("reader-rate");
  double busy_reader_bytes_per_second = Limit<double>("busy-reader-rate");  // while others find no room
};

// What a connection may hold at most that the byte budget does not count: the header twice, as it was read
// and as names and values; a small body; bytes of later requests; the chunk to write twice, because a part of
// a source is framed and short pieces are joined; and session, coroutine, timers and exchange.
constexpr size_t ConnectionBytes(const HttpServerOptions& options) {
  constexpr size_t kObjects = 16 << 10;
  return 2 * options.max_header_bytes + Limit<size_t>("read-chunk") + Limit<size_t>("pipelined-bytes") +
         kSmallBodyBytes + 2 * Limit<size_t>("write-chunk") + kObjects;
}

class HttpServer {
 public:
  // Starts to listen and to serve. Returns the errors of ListenOn.
  // Without a filter every body is read.
  static Result<std::unique_ptr<HttpServer>> Start(HttpServerOptions options, Handler handler,
                                                   BodyFilter wants_body = nullptr);
  ~HttpServer();  // Stop()

  // "http://127.0.0.1:8080" or "https://..." with the real port, or "unix:PATH".
  const std::string& url() const;
  int connections() const;
  InflightStats inflight() const;

  // For a server that follows this one, in this process or the next: returns a descriptor of the listening
  // socket, none of the standard ones, which the caller owns. What this server does not accept any more waits
  // for the other, and the file of a Unix socket stays; CloseListener (listen.h) is for a caller who has no
  // other. -1: there is no free descriptor. Call it before StopAccepting.
  int HandOverListener();
  // Accepts no more connections. Idle connections close now, the others after their response. New ones have
  // kFirstRequestSeconds to send their first request.
  void StopAccepting();
  // StopAccepting, and answers what is not answered yet with ShuttingDownError: requests that run, wait or
  // have not arrived in full get it as a response, streams of events as their last event. Connections close
  // when that is sent; connections() tells when.
  void InterruptExchanges();
  // Waits until no exchange is running. Returns false when `seconds` passed first.
  bool WaitIdle(double seconds);
  // Closes all connections, running exchanges included, and joins the threads.
  void Stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prefixd
