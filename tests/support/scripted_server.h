// ScriptedServer: a server on a free port of the loopback interface that answers whatever it is sent with one
// text, and then closes the connection. One thread may use it; it has one of its own.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>

#include "base/check.h"

namespace prefixd {

class ScriptedServer {
 public:
  explicit ScriptedServer(std::string answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    PREFIXD_CHECK(::bind(socket_, any, size) == 0 && ::listen(socket_, 8) == 0 &&
                  ::getsockname(socket_, any, &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~ScriptedServer() {
    ::shutdown(socket_, SHUT_RDWR);  // ends accept
    thread_.join();
    ::close(socket_);
  }
  uint16_t port() const { return port_; }

 private:
  void Run() {
    for (int client = ::accept(socket_, nullptr, nullptr); client >= 0;
         client = ::accept(socket_, nullptr, nullptr)) {
      char bytes[4096];
      if (::recv(client, bytes, sizeof bytes, 0) > 0) {
        size_t sent = 0;
        while (sent < answer_.size()) {
          const ssize_t some = ::send(client, answer_.data() + sent, answer_.size() - sent, MSG_NOSIGNAL);
          if (some <= 0) break;
          sent += static_cast<size_t>(some);
        }
      }
      ::close(client);
    }
  }

  const std::string answer_;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace prefixd
