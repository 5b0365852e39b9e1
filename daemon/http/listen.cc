#include "daemon/http/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/check.h"
#include "daemon/limit_table.h"

namespace prefixd {

namespace {

constexpr int kBacklog = Limit("listen-backlog");
constexpr std::string_view kUnixPrefix = "unix:";

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

int NewSocket(int family) { return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

Status SystemError(const std::string& what, int error) { return IoError(what + ": " + std::strerror(error)); }

Status CannotBind(const std::string& address, std::string_view option, int error) {
  if (error == EADDRINUSE) {
    return Unavailable(
        "cannot listen on " + address +
        ": the address is in use; stop the process that uses it, or choose another address with " +
        std::string(option) + " (port 0 selects a free port)");
  }
  if (error == EACCES) {
    return IoError("cannot listen on " + address +
                   ": permission denied; choose a port above 1023 or a folder that is writable with " +
                   std::string(option));
  }
  if (error == EADDRNOTAVAIL) {
    return InvalidArgument("cannot listen on " + address +
                           ": no interface of this machine has that address; see " + std::string(option));
  }
  return SystemError("cannot listen on " + address, error);
}

// Returns true when a process still accepts connections on the socket. Removes the file of an ended process.
bool IsServed(const sockaddr_un& name) {
  FileDescriptor probe(NewSocket(AF_UNIX));
  if (probe.get() < 0) return true;
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 || errno == EAGAIN)
    return true;
  if (errno == ECONNREFUSED) ::unlink(name.sun_path);
  return false;
}

Result<Listener> ListenUnix(const std::string& address, std::string_view option, unsigned mode) {
  PREFIXD_ASSIGN_OR_RETURN(const sockaddr_un name, UnixName(address, option));
  if (IsServed(name)) return CannotBind(address, option, EADDRINUSE);
  FileDescriptor fd(NewSocket(AF_UNIX));
  if (fd.get() < 0) return SystemError("cannot open a socket", errno);
  // Linux gives the file of the socket the permissions that the socket has.
  if (::fchmod(fd.get(), mode) != 0) return SystemError("cannot set the permissions of " + address, errno);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
    return CannotBind(address, option, errno);
  if (::listen(fd.get(), kBacklog) != 0) return CannotBind(address, option, errno);
  return AdoptListener(fd.release(), address);
}

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Result<Addresses> Resolve(const std::string& address, std::string_view option) {
  PREFIXD_ASSIGN_OR_RETURN(const HostPort parts, SplitAddress(address, option));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(parts.host.c_str(), parts.port.c_str(), &hints, &found); error != 0)
    return InvalidArgument(std::string(option) + " " + address + ": " + ::gai_strerror(error));
  return Addresses(found, &::freeaddrinfo);
}

// The URL with the port that the operating system assigned.
std::string UrlOf(int fd, const std::string& fallback) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&name), length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "http://" + fallback;
  }
  const std::string text = name.ss_family == AF_INET6 ? "[" + std::string(host) + "]" : std::string(host);
  return "http://" + text + ":" + port;
}

}  // namespace

Result<sockaddr_un> UnixName(const std::string& address, std::string_view option) {
  const std::string path = address.substr(kUnixPrefix.size());
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof name.sun_path) {
    return InvalidArgument(std::string(option) + " " + address + ": the path of a Unix socket has 1 to " +
                           std::to_string(sizeof name.sun_path - 1) + " bytes, this one has " +
                           std::to_string(path.size()));
  }
  std::memcpy(name.sun_path, path.data(), path.size());
  return name;
}

Result<HostPort> SplitAddress(const std::string& address, std::string_view option) {
  const auto bad = [&] {
    return InvalidArgument(std::string(option) + " " + address +
                           ": expected ADDR:PORT, [IPV6]:PORT or unix:PATH, such as 127.0.0.1:8080");
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return bad();
  HostPort parts{address.substr(0, colon), address.substr(colon + 1)};
  int port = -1;
  const char* end = parts.port.data() + parts.port.size();
  const auto parsed = std::from_chars(parts.port.data(), end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end || port < 0 || port > 65535) return bad();
  if (parts.host.size() > 2 && parts.host.front() == '[' && parts.host.back() == ']') {
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  } else if (parts.host.empty() || parts.host.find(':') != std::string::npos) {
    return bad();
  }
  return parts;
}

bool IsLocalAddress(const std::string& address) {
  if (address.starts_with(kUnixPrefix)) return true;
  const Result<HostPort> parts = SplitAddress(address, "");
  if (!parts.ok()) return false;
  in_addr four{};
  in6_addr six{};
  if (::inet_pton(AF_INET, parts->host.c_str(), &four) == 1) return (ntohl(four.s_addr) >> 24) == 127;
  if (::inet_pton(AF_INET6, parts->host.c_str(), &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
  return parts->host == "localhost";
}

bool IsListening(int fd) {
  int listens = 0;
  socklen_t length = sizeof listens;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens == 1;
}

Listener AdoptListener(int fd, const std::string& address) {
  PREFIXD_CHECK(IsListening(fd)) << fd;
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  PREFIXD_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) == 0) << fd;
  if (name.ss_family != AF_UNIX) return {.fd = fd, .family = name.ss_family, .url = UrlOf(fd, address)};
  return {.fd = fd,
          .family = AF_UNIX,
          .url = address,
          .unix_path = reinterpret_cast<const sockaddr_un&>(name).sun_path};
}

Result<bool> ListensOn(int fd, const std::string& address, std::string_view option) {
  const Listener listener = AdoptListener(fd, address);
  if (address.starts_with(kUnixPrefix)) {
    PREFIXD_ASSIGN_OR_RETURN(const sockaddr_un name, UnixName(address, option));
    return listener.family == AF_UNIX && listener.unix_path == name.sun_path;
  }
  PREFIXD_ASSIGN_OR_RETURN(const Addresses found, Resolve(address, option));
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0)
    return SystemError("cannot read the address of a socket", errno);
  return length == found->ai_addrlen && std::memcmp(&name, found->ai_addr, length) == 0;
}

void CloseListener(int fd) {
  const Listener listener = AdoptListener(fd, "");
  ::close(fd);
  if (!listener.unix_path.empty()) ::unlink(listener.unix_path.c_str());
}

Result<Listener> ListenOn(const std::string& address, std::string_view option, unsigned unix_mode) {
  if (address.starts_with(kUnixPrefix)) return ListenUnix(address, option, unix_mode);
  PREFIXD_ASSIGN_OR_RETURN(const Addresses found, Resolve(address, option));
  FileDescriptor fd(NewSocket(found->ai_family));
  if (fd.get() < 0) return SystemError("cannot open a socket", errno);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0) return CannotBind(address, option, errno);
  if (::listen(fd.get(), kBacklog) != 0) return CannotBind(address, option, errno);
  return AdoptListener(fd.release(), address);
}

}  // namespace prefixd
