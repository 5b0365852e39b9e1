// Listening sockets by address: "ADDR:PORT", "[IPV6]:PORT", or "unix:PATH". Any thread.
#pragma once

#include <string>

#include "base/status.h"

namespace prefixd {

struct Listener {
  int fd = -1;            // owned by the caller; listening, non-blocking, close-on-exec
  int family = 0;         // AF_INET, AF_INET6, AF_UNIX
  std::string url;        // "http://127.0.0.1:8080" with the real port, or "unix:/run/prefixd.sock"
  std::string unix_path;  // the owner removes it at the end; empty for TCP
};

// Port 0 selects a free port. Returns kInvalidArgument when `address` is not an address, kUnavailable when it
// is in use (the message names the address and the remedy), and kIo for other errors of the operating system.
Result<Listener> ListenOn(const std::string& address);

// Takes over a socket that ListenOn(address) has made, in this process or in one before it. Requires that
// `fd` is a listening socket.
Listener AdoptListener(int fd, const std::string& address);

// Closes a listening socket that nobody takes over; the file of a Unix socket goes with it. The same
// requirement.
void CloseListener(int fd);

}  // namespace prefixd
