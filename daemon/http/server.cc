#include "daemon/http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <future>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "base/log.h"
#include "daemon/http/error_response.h"
#include "daemon/http/listen.h"
#include "daemon/http/session.h"

namespace prefixd {

namespace asio = boost::asio;

namespace {

// Tells a client without room for it so, as far as its socket takes it at once.
void TurnAway(StreamSocket socket, const std::string& request_id) {
  const std::string body =
      ErrorBody({.type = "server_error",
                 .code = "overloaded",
                 .message = "The server has as many connections as it may. Try again later."});
  const std::string text =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: "
      "close\r\nx-request-id: " +
      request_id + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  char unread[4096];
  (void)!::recv(socket.native_handle(), unread, sizeof unread, MSG_DONTWAIT);
  (void)!::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(socket.native_handle(), SHUT_WR);
}

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

struct HttpServer::Impl {
  Impl(HttpServerOptions options, Handler handler, Listener from)
      : listener(std::move(from)),
        io(options.io_threads),
        acceptor(asio::make_strand(io)),
        retry(acceptor.get_executor()),
        host(std::make_shared<SessionHost>(std::move(options), std::move(handler), RandomSeed())) {
    acceptor.assign(asio::generic::stream_protocol(listener.family, 0), listener.fd);
  }

  void Accept() {
    acceptor.async_accept(
        asio::make_strand(io), [this](boost::system::error_code error, StreamSocket socket) {
          if (!acceptor.is_open()) return;
          if (!error) {
            Welcome(std::move(socket));
            return Accept();
          }
          // Out of descriptors, most likely: those in use must end first.
          Log(LogLevel::kWarning, "cannot accept a connection", {{"error", error.message()}});
          retry.expires_after(std::chrono::milliseconds(100));
          retry.async_wait([this](boost::system::error_code stopped) {
            if (!stopped && acceptor.is_open()) Accept();
          });
        });
  }

  void Welcome(StreamSocket socket) {
    if (host->sessions() >= host->options.max_connections)
      return TurnAway(std::move(socket), host->NextRequestId());
    const int on = 1;  // a token must not wait for the next one
    if (listener.family != AF_UNIX)
      ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    StartSession(std::move(socket), host);
  }

  void CloseAcceptor() {
    std::promise<void> closed;
    asio::post(acceptor.get_executor(), [&] {
      boost::system::error_code ignored;
      acceptor.close(ignored);
      retry.cancel();
      closed.set_value();
    });
    closed.get_future().wait();
  }

  const Listener listener;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor;
  asio::steady_timer retry;
  const std::shared_ptr<SessionHost> host;
  std::vector<std::thread> threads;
  bool accepting = true, running = true;  // of the thread that owns the server
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options, Handler handler) {
  PREFIXD_CHECK(options.io_threads > 0) << "io_threads " << options.io_threads;
  PREFIXD_ASSIGN_OR_RETURN(Listener listener, ListenOn(options.listen));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(handler), std::move(listener));
  asio::post(impl->acceptor.get_executor(), [raw = impl.get()] { raw->Accept(); });
  for (int i = 0; i < impl->host->options.io_threads; ++i) {
    impl->threads.emplace_back([&io = impl->io] { io.run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

const std::string& HttpServer::url() const { return impl_->listener.url; }
int HttpServer::connections() const { return impl_->host->sessions(); }
bool HttpServer::WaitIdle(double seconds) { return impl_->host->WaitNoExchange(seconds); }

void HttpServer::StopAccepting() {
  if (!std::exchange(impl_->accepting, false)) return;
  impl_->CloseAcceptor();
  if (!impl_->listener.unix_path.empty()) ::unlink(impl_->listener.unix_path.c_str());
  impl_->host->CloseIdleSessions();
}

void HttpServer::Stop() {
  if (!std::exchange(impl_->running, false)) return;
  StopAccepting();
  impl_->host->AbortSessions();
  impl_->host->StopWorkers();
  impl_->work.reset();
  impl_->io.stop();
  for (std::thread& thread : impl_->threads) thread.join();
}

}  // namespace prefixd
