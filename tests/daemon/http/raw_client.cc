#include "tests/daemon/http/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace prefixd::testing_support {

RawClient::RawClient(const std::string& url) {
  constexpr std::string_view kTcp = "http://127.0.0.1:";
  if (url.starts_with(kTcp)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(static_cast<uint16_t>(std::atoi(url.c_str() + kTcp.size())));
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    PREFIXD_CHECK(::connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0)
        << url << ": " << std::strerror(errno);
  } else {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, url.c_str() + std::strlen("unix:"), sizeof name.sun_path - 1);
    fd_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    PREFIXD_CHECK(::connect(fd_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0)
        << url << ": " << std::strerror(errno);
  }
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

RawClient::~RawClient() { ::close(fd_); }

bool RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;  // the server may close the connection while a test floods it
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void RawClient::FinishSending() { ::shutdown(fd_, SHUT_WR); }

void RawClient::Close() {
  ::close(fd_);
  fd_ = -1;
}

void RawClient::Reset() {
  const linger hard{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ::close(fd_);
  fd_ = -1;
}

bool RawClient::Fill() {
  char bytes[16384];
  const ssize_t count = ::recv(fd_, bytes, sizeof bytes, 0);
  if (count <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(count));
  return true;
}

bool RawClient::ReadUntil(std::string_view text) {
  while (true) {
    if (const size_t at = buffer_.find(text); at != std::string::npos) {
      buffer_.erase(0, at + text.size());
      return true;
    }
    if (!Fill()) return false;
  }
}

void RawClient::ReadSome() {
  Fill();
  buffer_.clear();
}

std::string RawClient::ReadToEnd() {
  while (Fill()) {
  }
  return std::exchange(buffer_, {});
}

std::string RawClient::ReadResponse(bool head_only) {
  size_t end;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) return {};
  }
  std::string response = buffer_.substr(0, end + 4);
  buffer_.erase(0, end + 4);
  if (head_only || StatusOf(response) == 100) return response;
  if (HeaderOf(response, "Transfer-Encoding") == "chunked") {
    while (true) {
      size_t line;
      while ((line = buffer_.find("\r\n")) == std::string::npos) {
        if (!Fill()) return response;
      }
      const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
      while (buffer_.size() < line + 2 + size + 2) {
        if (!Fill()) return response;
      }
      response += buffer_.substr(line + 2, size);
      buffer_.erase(0, line + 2 + size + 2);
      if (size == 0) return response;
    }
  }
  const size_t size = std::strtoul(HeaderOf(response, "Content-Length").c_str(), nullptr, 10);
  while (buffer_.size() < size) {
    if (!Fill()) return response;
  }
  response += buffer_.substr(0, size);
  buffer_.erase(0, size);
  return response;
}

std::string HttpText(std::string_view method, std::string_view path, std::string_view body,
                     std::string_view more_headers) {
  std::string text = std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" +
                     std::string(more_headers);
  if (!body.empty())
    text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + std::string(body);
}

int StatusOf(std::string_view response) {
  return response.size() > 12 && response.starts_with("HTTP/1.1 ")
             ? std::atoi(std::string(response.substr(9, 3)).c_str())
             : 0;
}

std::string HeaderOf(std::string_view response, std::string_view name) {
  const std::string head(response.substr(0, response.find("\r\n\r\n") + 2));
  for (size_t at = head.find("\r\n"); at != std::string::npos; at = head.find("\r\n", at + 2)) {
    const char* line = head.c_str() + at + 2;
    if (::strncasecmp(line, name.data(), name.size()) == 0 && line[name.size()] == ':') {
      const size_t from = at + 2 + name.size() + 2;
      return head.substr(from, head.find("\r\n", from) - from);
    }
  }
  return {};
}

std::string BodyOf(std::string_view response) {
  const size_t end = response.find("\r\n\r\n");
  return end == std::string_view::npos ? std::string() : std::string(response.substr(end + 4));
}

}  // namespace prefixd::testing_support
