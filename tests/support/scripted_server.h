// ScriptedServer: a server on a free port of the loopback interface that answers whatever it is sent with one
// text, and then closes the connection, or waits for more. It has one connection at a time. One thread may
// use it, and closes its connections before it ends; it has a thread of its own.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "base/check.h"

namespace prefixd {

class ScriptedServer {
 public:
  explicit ScriptedServer(std::string answer)
      : ScriptedServer([&](uint16_t) { return std::move(answer); }, false) {}
  // Answers again and again on one connection, with a text that may name its port.
  explicit ScriptedServer(const std::function<std::string(uint16_t port)>& answer, bool stays = true)
      : stays_(stays) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    PREFIXD_CHECK(::bind(socket_, any, size) == 0 && ::listen(socket_, 8) == 0 &&
                  ::getsockname(socket_, any, &size) == 0);
    port_ = ntohs(address.sin_port);
    answer_ = answer(port_);
    thread_ = std::thread([this] { Run(); });
  }
  ~ScriptedServer() {
    ::shutdown(socket_, SHUT_RDWR);  // ends accept
    thread_.join();
    ::close(socket_);
  }
  uint16_t port() const { return port_; }
  int answers() const { return answers_; }

 private:
  void Run() {
    for (int client = ::accept(socket_, nullptr, nullptr); client >= 0;
         client = ::accept(socket_, nullptr, nullptr)) {
      char bytes[4096];
      while (::recv(client, bytes, sizeof bytes, 0) > 0) {
        ++answers_;
        size_t sent = 0;
        while (sent < answer_.size()) {
          const ssize_t some = ::send(client, answer_.data() + sent, answer_.size() - sent, MSG_NOSIGNAL);
          if (some <= 0) break;
          sent += static_cast<size_t>(some);
        }
        if (!stays_) break;
      }
      ::close(client);
    }
  }

  const bool stays_;
  std::string answer_;
  std::atomic<int> answers_ = 0;
  int socket_ = -1;
  uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace prefixd
