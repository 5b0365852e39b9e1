// PickyProxy: a proxy before a server on the loopback interface that closes a connection on which it is sent
// one certain word, and passes everything else on. It has one connection at a time. One thread may use it,
// and closes its connections before it ends; it has a thread of its own.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/check.h"
#include "tests/support/loopback_listener.h"

namespace prefixd {

class PickyProxy {
 public:
  // The word must come in one piece.
  PickyProxy(uint16_t server, std::string word)
      : server_(server), word_(std::move(word)), thread_([this] { Run(); }) {}
  ~PickyProxy() {
    listener_.Stop();
    thread_.join();
  }
  uint16_t port() const { return listener_.port(); }
  int closed() const { return closed_; }  // because of the word

 private:
  void Run() {
    for (int client = listener_.Accept(); client >= 0; client = listener_.Accept()) {
      const int server = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = LoopbackAddress(server_);
      PREFIXD_CHECK(::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
      while (PassOn(client, server)) {
      }
      ::close(client);
      ::close(server);
    }
  }
  bool PassOn(int client, int server) {
    std::array<pollfd, 2> ends{pollfd{client, POLLIN, 0}, pollfd{server, POLLIN, 0}};
    if (::poll(ends.data(), ends.size(), -1) < 0) return false;
    const bool from_client = ends[0].revents != 0;
    std::array<char, 4096> bytes;
    const ssize_t got = ::recv(from_client ? client : server, bytes.data(), bytes.size(), 0);
    if (got <= 0) return false;
    const std::string_view text(bytes.data(), static_cast<size_t>(got));
    if (from_client && text.find(word_) != std::string_view::npos) {
      ++closed_;
      return false;
    }
    return ::send(from_client ? server : client, text.data(), text.size(), MSG_NOSIGNAL) == got;
  }

  const LoopbackListener listener_;
  const uint16_t server_;
  const std::string word_;
  std::atomic<int> closed_ = 0;
  std::thread thread_;  // after what it uses
};

}  // namespace prefixd
