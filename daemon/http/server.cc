#include "daemon/http/server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
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

#include "base/check.h"
#include "base/log.h"
#include "daemon/http/error_response.h"
#include "daemon/http/heap.h"
#include "daemon/http/listen.h"
#include "daemon/http/post_queue.h"
#include "daemon/http/session.h"

namespace prefixd {

namespace asio = boost::asio;

namespace {

// Answers 503 as far as the socket accepts the bytes at once, and closes the sending side.
void RejectConnection(StreamSocket socket, const std::string& request_id) {
  const std::string body =
      ErrorBody({.type = "server_error",
                 .code = "overloaded",
                 .message = "The server has reached its limit of connections. Try again later."});
  const std::string text =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: "
      "close\r\nx-request-id: " +
      request_id + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  char unread[4096];
  (void)!::recv(socket.native_handle(), unread, sizeof unread, MSG_DONTWAIT);
  (void)!::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(socket.native_handle(), SHUT_WR);
}

std::shared_ptr<PostQueue> MakePostQueue(asio::io_context& io) {
  return std::make_shared<PostQueue>(io.get_executor(), std::make_unique<SystemClock>());
}

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

struct HttpServer::Impl {
  Impl(HttpServerOptions options, Handler handler, BodyFilter wants_body, Listener from)
      : listener(std::move(from)),
        io(options.io_threads),
        acceptor(asio::make_strand(io)),
        retry(acceptor.get_executor()),
        context(std::make_shared<ServerContext>(std::move(options), std::move(handler), std::move(wants_body),
                                                MakePostQueue(io), RandomSeed())) {
    acceptor.assign(asio::generic::stream_protocol(listener.family, 0), listener.fd);
  }

  void Accept() {
    acceptor.async_accept(
        asio::make_strand(io), [this](boost::system::error_code error, StreamSocket socket) {
          if (!error) OnAccepted(std::move(socket));  // also one that was accepted before the end
          if (!acceptor.is_open()) return;
          if (!error) return Accept();
          // Most likely there are no file descriptors left. Wait until some are closed.
          Log(LogLevel::kWarning, "cannot accept a connection", {{"error", error.message()}});
          retry.expires_after(std::chrono::milliseconds(100));
          retry.async_wait([this](boost::system::error_code stopped) {
            if (!stopped && acceptor.is_open()) Accept();
          });
        });
  }

  void OnAccepted(StreamSocket socket) {
    if (context->session_count() >= context->options.max_connections) {
      if (!takes_tls()) RejectConnection(std::move(socket), context->NextRequestId());
      return;  // a client of TLS could not read an answer
    }
    const int on = 1;  // TCP_NODELAY: a token is sent without waiting for the next one
    if (listener.family != AF_UNIX)
      ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    StartSession(MakeStream(std::move(socket), context->options.tls.get()), context);
  }

  bool takes_tls() const {
    return context->options.tls != nullptr && context->options.tls->files() != nullptr;
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
  std::string url = listener.url;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor;
  asio::steady_timer retry;
  const std::shared_ptr<ServerContext> context;
  std::vector<std::thread> threads;
  bool accepting = true, running = true, handed_over = false;  // used by the owner of the server only
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options, Handler handler,
                                                      BodyFilter wants_body) {
  PREFIXD_CHECK(options.io_threads > 0 && options.worker_threads > 0 && options.max_connections > 0)
      << options.io_threads << " io threads, " << options.worker_threads << " workers, "
      << options.max_connections << " connections";
  PREFIXD_CHECK(handler != nullptr);
  PREFIXD_ASSIGN_OR_RETURN(Listener listener,
                           options.listener < 0
                               ? ListenOn(options.listen, options.listen_option, options.unix_mode)
                               : AdoptListener(options.listener, options.listen));
  LimitKeptHeap();
  auto impl = std::make_unique<Impl>(std::move(options), std::move(handler), std::move(wants_body),
                                     std::move(listener));
  impl->handed_over = impl->context->options.listener_stays;
  if (impl->takes_tls() && impl->url.starts_with("http:")) impl->url.insert(4, "s");
  asio::post(impl->acceptor.get_executor(), [raw = impl.get()] { raw->Accept(); });
  for (int i = 0; i < impl->context->options.io_threads; ++i) {
    impl->threads.emplace_back([&io = impl->io] { io.run(); });
    pthread_setname_np(impl->threads.back().native_handle(), "prefixd-io");
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

const std::string& HttpServer::url() const { return impl_->url; }
int HttpServer::connections() const { return impl_->context->session_count(); }
InflightStats HttpServer::inflight() const { return impl_->context->budget.stats(); }
bool HttpServer::WaitIdle(double seconds) { return impl_->context->WaitUntilIdle(seconds); }

int HttpServer::HandOverListener() {
  PREFIXD_CHECK(impl_->accepting) << "the listening socket is closed";
  const int copy = ::fcntl(impl_->listener.fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  impl_->handed_over |= copy >= 0;
  return copy;
}

void HttpServer::StopAccepting() {
  if (!std::exchange(impl_->accepting, false)) return;
  impl_->CloseAcceptor();
  if (!impl_->listener.unix_path.empty() && !impl_->handed_over) ::unlink(impl_->listener.unix_path.c_str());
  impl_->context->CloseIdleSessions();
}

void HttpServer::InterruptExchanges() {
  StopAccepting();
  impl_->context->InterruptSessions();
}

void HttpServer::Stop() {
  if (!std::exchange(impl_->running, false)) return;
  for (const std::thread& thread : impl_->threads)
    PREFIXD_CHECK(thread.get_id() != std::this_thread::get_id()) << "Stop on a thread of the server";
  StopAccepting();
  impl_->context->AbortSessions();
  impl_->context->StopWorkers();
  impl_->work.reset();
  impl_->io.stop();
  for (std::thread& thread : impl_->threads) thread.join();
  impl_->context->posts->Close();
}

}  // namespace prefixd
