// LoopbackListener: a listening socket on a free port of the loopback interface. One thread may call Accept
// while another calls Stop; the rest is for one.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "base/check.h"

namespace prefixd {

inline sockaddr_in LoopbackAddress(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

class LoopbackListener {
 public:
  LoopbackListener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = LoopbackAddress(0);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    PREFIXD_CHECK(::bind(socket_, any, size) == 0 && ::listen(socket_, 8) == 0 &&
                  ::getsockname(socket_, any, &size) == 0);
    port_ = ntohs(address.sin_port);
  }
  ~LoopbackListener() { ::close(socket_); }
  LoopbackListener(const LoopbackListener&) = delete;
  LoopbackListener& operator=(const LoopbackListener&) = delete;

  uint16_t port() const { return port_; }
  // The socket of the next client, for the caller to close; below 0 after Stop.
  int Accept() const { return ::accept(socket_, nullptr, nullptr); }
  void Stop() const { ::shutdown(socket_, SHUT_RDWR); }

 private:
  const int socket_;
  uint16_t port_ = 0;
};

}  // namespace prefixd
