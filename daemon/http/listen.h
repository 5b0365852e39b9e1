// Listening sockets by address: "ADDR:PORT", "[IPV6]:PORT", or "unix:PATH". Any thread.
#pragma once

#include <sys/un.h>

#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

struct Listener {
  int fd = -1;            // owned by the caller; listening, non-blocking, close-on-exec
  int family = 0;         // AF_INET, AF_INET6, AF_UNIX
  std::string url;        // "http://127.0.0.1:8080" with the real port, or "unix:/run/prefixd.sock"
  std::string unix_path;  // the owner removes it at the end; empty for TCP
};

// Port 0 selects a free port. Returns kInvalidArgument when `address` is not an address, kUnavailable when it
// is in use (the message names the address, the option and the remedy), and kIo for other errors of the
// operating system. `unix_mode`: the permissions of a Unix socket, from which the umask takes.
Result<Listener> ListenOn(const std::string& address, std::string_view option = "--listen",
                          unsigned unix_mode = 0777);

// Whether only processes of this machine reach the address: a Unix socket, 127.0.0.0/8, ::1 or localhost.
bool IsLocalAddress(const std::string& address);

struct HostPort {
  std::string host;  // without brackets
  std::string port;
};
// The name of the socket "unix:PATH". kInvalidArgument: the path is empty, or too long for a name.
Result<sockaddr_un> UnixName(const std::string& address, std::string_view option);
// The parts of "ADDR:PORT" or "[IPV6]:PORT". kInvalidArgument: it is something else.
Result<HostPort> SplitAddress(const std::string& address, std::string_view option);

bool IsListening(int fd);

// Takes over a socket that ListenOn(address) has made, in this process or in one before it. Requires that
// `fd` is a listening socket.
Listener AdoptListener(int fd, const std::string& address);

// Whether `fd`, a listening socket, is one that ListenOn(address) could have made: its address is the same.
// Returns kInvalidArgument when `address` is not an address.
Result<bool> ListensOn(int fd, const std::string& address, std::string_view option = "--listen");

// Closes a listening socket that nobody takes over; the file of a Unix socket goes with it. The same
// requirement.
void CloseListener(int fd);

}  // namespace prefixd
