// ScriptedServer: a server on a free port of the loopback interface that answers whatever it is sent with one
// text, and then closes the connection, or waits for more. It has one connection at a time. One thread may
// use it, and closes its connections before it ends; it has a thread of its own.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/support/loopback_listener.h"

namespace prefixd {

class ScriptedServer {
 public:
  explicit ScriptedServer(std::string answer)
      : ScriptedServer([&](uint16_t) { return std::move(answer); }, false) {}
  // Answers again and again on one connection, with a text that may name its port.
  explicit ScriptedServer(const std::function<std::string(uint16_t port)>& answer, bool stays = true)
      : stays_(stays), answer_(answer(listener_.port())), thread_([this] { Run(); }) {}
  ~ScriptedServer() {
    listener_.Stop();
    thread_.join();
  }
  uint16_t port() const { return listener_.port(); }
  int answers() const { return answers_; }

 private:
  void Run() {
    for (int client = listener_.Accept(); client >= 0; client = listener_.Accept()) {
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

  const LoopbackListener listener_;
  const bool stays_;
  const std::string answer_;
  std::atomic<int> answers_ = 0;
  std::thread thread_;  // after what it uses
};

}  // namespace prefixd
