#include "daemon/admin/admin_client.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

#include "daemon/http/listen.h"
#include "daemon/limit_table.h"

namespace prefixd {
namespace {

constexpr time_t kSeconds = 10;
constexpr size_t kMostBytes = Limit<size_t>("admin-answer");

class Socket {
 public:
  explicit Socket(int family) : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const timeval longest{.tv_sec = kSeconds, .tv_usec = 0};  // also that of connect
    (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
    (void)::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Status Failed(const std::string& address, int error) {
  const bool late = error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS;
  return Unavailable("no answer from " + address + ": " +
                     (late ? "nothing for " + std::to_string(kSeconds) + " s" : std::strerror(error)) +
                     "; it has to be the --admin-listen of a daemon that runs");
}

Result<Socket> ConnectUnix(const std::string& address) {
  PREFIXD_ASSIGN_OR_RETURN(const sockaddr_un name, UnixName(address, "--live"));
  Socket socket(AF_UNIX);
  if (socket.get() < 0 || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
    return Failed(address, errno);
  return socket;
}

Result<Socket> ConnectTcp(const std::string& address) {
  PREFIXD_ASSIGN_OR_RETURN(const HostPort to, SplitAddress(address, "--live"));
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(to.host.c_str(), to.port.c_str(), &hints, &found); error != 0)
    return Unavailable("--live " + address + ": " + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  int error = 0;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    Socket socket(at->ai_family);
    if (socket.get() >= 0 && ::connect(socket.get(), at->ai_addr, at->ai_addrlen) == 0) return socket;
    error = errno;
  }
  return Failed(address, error);
}

// The status and the body of an answer after which the connection ended.
Result<AdminAnswer> ParseAnswer(const std::string& address, const std::string& text) {
  const Status not_http = Corrupt("what answers at " + address + " does not speak HTTP");
  AdminAnswer answer;
  const size_t blank = text.find("\r\n\r\n"), space = text.find(' ');
  if (!text.starts_with("HTTP/1.") || blank == std::string::npos || space > blank) return not_http;
  const char* const begin = text.data() + space + 1;
  if (std::from_chars(begin, text.data() + blank, answer.status).ec != std::errc()) return not_http;
  answer.body = text.substr(blank + 4);
  return answer;
}

}  // namespace

Result<AdminAnswer> GetFromDaemon(const std::string& address, const std::string& path,
                                  const std::string& key) {
  constexpr std::string_view kScheme = "http://";
  const bool local = address.starts_with("unix:");
  const std::string host =
      local ? "localhost" : address.substr(address.starts_with(kScheme) ? kScheme.size() : 0);
  const Result<Socket> socket = local ? ConnectUnix(address) : ConnectTcp(host);
  if (!socket.ok()) return socket.status();
  // The end of an answer to HTTP/1.0 is the end of the connection.
  std::string request = "GET " + path + " HTTP/1.0\r\nHost: " + host + "\r\n";
  if (!key.empty()) request += "Authorization: Bearer " + key + "\r\n";
  request += "\r\n";
  for (size_t sent = 0; sent < request.size();) {
    const ssize_t n = ::send(socket->get(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (n < 0) return Failed(address, errno);
    sent += static_cast<size_t>(n);
  }
  std::string text;
  char part[16384];
  while (true) {
    const ssize_t n = ::recv(socket->get(), part, sizeof part, 0);
    if (n < 0) return Failed(address, errno);
    if (n == 0) return ParseAnswer(address, text);
    text.append(part, static_cast<size_t>(n));
    if (text.size() > kMostBytes) return Corrupt("the answer of " + address + " is too long");
  }
}

std::string PercentEncoded(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

}  // namespace prefixd
