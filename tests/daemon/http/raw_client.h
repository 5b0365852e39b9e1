// RawClient: sends arbitrary bytes to a server and reads its responses, for tests of misbehaving clients.
//
// Threads: one owner.
#pragma once

#include <string>
#include <string_view>

namespace prefixd::testing_support {

class RawClient {
 public:
  // `url` is a result of HttpServer::url(). A read waits at most 10 seconds.
  explicit RawClient(const std::string& url);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool Send(std::string_view bytes);  // false: the server has closed the connection
  void FinishSending();               // FIN; it can still read
  void Close();                       // FIN; what arrives later is refused
  void Reset();                       // RST

  // Reads one response: head and body, by its Content-Length or its chunks (joined, without framing). Returns
  // "" at the end of the connection.
  std::string ReadResponse(bool head_only = false);
  // Reads until `text` was received. Returns false at the end of the connection.
  bool ReadUntil(std::string_view text);
  // Reads and drops what one call returns, up to 16 KiB.
  void ReadSome();
  // Reads until the server closes the connection.
  std::string ReadToEnd();
  // Returns true when the server closes the connection without sending more.
  bool AtEnd() { return ReadToEnd().empty(); }

 private:
  bool Fill();

  int fd_;
  std::string buffer_;
};

// The text of a request with a Host header, and with Content-Length when `body` is not empty.
std::string HttpText(std::string_view method, std::string_view path, std::string_view body = "",
                     std::string_view more_headers = "");
int StatusOf(std::string_view response);
// The first value of a header, matched without case; "" when absent.
std::string HeaderOf(std::string_view response, std::string_view name);
std::string BodyOf(std::string_view response);

}  // namespace prefixd::testing_support
